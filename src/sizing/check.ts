import { describe as describeValue } from '../core/describe.js';
import { fail } from '../core/errors.js';

/** Checks that something is an object, and that it has no other names, if it matters which it has. */
export function checkObject(caller: string, name: string, value: unknown, names?: readonly string[]): void {
  if (typeof value !== 'object' || value === null)
    fail('argument', caller, `${name} must be an object, not ${describe(value)}.`);
  const unknown = names && Object.keys(value).find((key) => !names.includes(key));
  if (unknown !== undefined)
    fail('argument', caller, `${name} cannot have ${describe(unknown)}. It has ${names!.join(', ')}.`);
}

/** Whole numbers, by name. Beyond 2^53 a number is no longer a count. */
export function checkCounts(caller: string, counts: Readonly<Record<string, unknown>>, least = 1): void {
  for (const [name, value] of Object.entries(counts)) {
    if (!Number.isSafeInteger(value) || (value as number) < least)
      fail('argument', caller, `${name} must be a whole number ≥ ${least}, not ${describe(value)}.`);
  }
}

/** Amounts of something that can be divided, by name. */
export function checkAmounts(
  caller: string,
  amounts: Readonly<Record<string, unknown>>,
  { above = false }: { readonly above?: boolean } = {},
): void {
  for (const [name, value] of Object.entries(amounts)) {
    if (!Number.isFinite(value) || (value as number) < 0 || (above && value === 0))
      fail(
        'argument',
        caller,
        `${name} must be a finite number ${above ? '>' : '≥'} 0, not ${describe(value)}.`,
      );
  }
}

export function checkChoice<Choice extends string | number | boolean>(
  caller: string,
  name: string,
  value: unknown,
  choices: readonly Choice[],
): void {
  if (choices.some((choice) => choice === value)) return;
  const words = choices.map(describe);
  fail(
    'argument',
    caller,
    `${name} must be ${words.slice(0, -1).join(', ')} or ${words.at(-1)}, not ${describe(value)}.`,
  );
}

/** A value in a few words. */
export function describe(value: unknown): string {
  const words = describeValue(value);
  return typeof value === 'string' ? `'${words.slice(1, -1)}'` : words;
}
