/** When a part of a kernel is in a variant: any of these lists of names has to hold, of which `!A` is that A is not set. */
export type Condition = readonly (readonly string[])[];

export function both(a: Condition, b: Condition): Condition {
  return a.flatMap((first) =>
    b.flatMap((second) => {
      const all = [...new Set([...first, ...second])];
      return all.some((name) => all.includes(`!${name}`)) ? [] : [all];
    }),
  );
}

export function either(a: Condition, b: Condition): Condition {
  return [...a, ...b];
}

export function not(condition: Condition): Condition {
  const refuted = condition.map((all) =>
    all.map((name) => [name.startsWith('!') ? name.slice(1) : `!${name}`]),
  );
  return refuted.reduce<Condition>(both, [[]]);
}

/** As marks of templates have it: `A&!B|C`. */
export function conditionText(condition: Condition): string {
  return condition.map((all) => all.join('&')).join('|');
}
