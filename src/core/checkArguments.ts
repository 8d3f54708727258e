import { describe, fail, shortened } from './errors.js';

// Checks of arguments that are plain values: names, counts, amounts, choices. All throw `PageflashError` in the name of
// the function that was called, `caller`. Several values at once come as an object, so that messages have their names.

interface NameOptions {
  /** The argument that the object is, for messages. Default: the arguments of the call themselves. */
  readonly of?: string;
  /** Names that are accepted as well, but that no message offers. */
  readonly alsoTaken?: readonly string[];
  /** What to do instead, in a sentence. */
  readonly hint?: string;
}

const NONE: readonly string[] = [];

/**
 * Checks that arguments, or an argument that has fields, are an object, and that it has no other names than these. An
 * unknown name is most often a typing error, and it would be ignored.
 *
 * @param names undefined to accept any
 * @throws PageflashError `argument`
 */
export function checkNames(
  caller: string,
  args: object,
  names: readonly string[] | undefined,
  { of, alsoTaken = NONE, hint }: NameOptions = {},
): void {
  if (typeof args !== 'object' || args === null || Array.isArray(args) || ArrayBuffer.isView(args))
    fail(
      'argument',
      caller,
      `${of ? `${of} must be an` : 'the arguments must be one'} object, not ${describe(args)}.`,
    );
  const unknown = names && unknownName(args, names, alsoTaken);
  if (unknown === undefined) return;
  const name = `${of ? `${of}.` : ''}${shortened(unknown)}`;
  const remedy = hint ? ` ${hint}` : '';
  fail('argument', caller, `there is no argument ${name}. There are ${names!.join(', ')}.${remedy}`);
}

function unknownName(
  args: object,
  names: readonly string[],
  alsoTaken: readonly string[],
): string | undefined {
  // Unlike `Object.keys`, it leaves no garbage: every recorded layer comes here.
  for (const name in args)
    if (!names.includes(name) && !alsoTaken.includes(name) && Object.hasOwn(args, name)) return name;
  return undefined;
}

/** Returns the names of all fields of a type. They come as a record, so that the compiler asks for a forgotten one. */
/* @__NO_SIDE_EFFECTS__ */
export function namesOf<T extends object>(
  names: Readonly<Record<keyof T, true>>,
): readonly (keyof T & string)[] {
  return Object.keys(names) as (keyof T & string)[];
}

type Values = Readonly<Record<string, unknown>>;

/** Checks whole numbers, `least` or more. From 2⁵³ on a number is no longer exact, so it is no count. */
export function checkCounts(caller: string, counts: Values, least = 1): void {
  for (const [name, value] of Object.entries(counts)) {
    if (!Number.isSafeInteger(value) || (value as number) < least)
      fail('argument', caller, `${name} must be a whole number ≥ ${least}, not ${describe(value)}.`);
  }
}

/** Checks finite numbers, at least 0, or above 0 if `above`. */
export function checkAmounts(caller: string, amounts: Values, { above = false } = {}): void {
  for (const [name, value] of Object.entries(amounts)) {
    if (Number.isFinite(value) && (value as number) >= 0 && !(above && value === 0)) continue;
    const rule = above ? '> 0' : '≥ 0';
    fail('argument', caller, `${name} must be a finite number ${rule}, not ${describe(value)}.`);
  }
}

/** Checks that a value is one of a few. */
export function checkChoice<Choice extends string | number | boolean>(
  caller: string,
  name: string,
  value: unknown,
  choices: readonly Choice[],
): void {
  if (choices.some((choice) => choice === value)) return;
  const words = choices.map((choice) => (typeof choice === 'string' ? `'${choice}'` : choice));
  const last = words.pop();
  const others = words.length > 0 ? `${words.join(', ')} or ` : '';
  fail('argument', caller, `${name} must be ${others}${last}, not ${describe(value)}.`);
}

/** Checks options that are true or false. */
export function checkFlags(caller: string, flags: Values): void {
  for (const [name, value] of Object.entries(flags)) checkChoice(caller, name, value, [true, false]);
}

/**
 * Checks that running sums of lengths begin with 0. The commonest mistakes are to leave that 0 out, and to pass the
 * lengths themselves; the numbers tell which of the two it was.
 *
 * @param total tokens of the tensor that the sums divide; undefined where the tensor has pages instead
 * @throws PageflashError `length`
 */
export function checkBeginsWithZero(
  caller: string,
  name: string,
  cuSeqlens: ArrayLike<number>,
  total: number | undefined,
): void {
  const first = cuSeqlens[0];
  if (!Number.isInteger(first) || first === 0) return;
  const numbers = Array.from(cuSeqlens);
  // Another check has its own message for numbers that are not whole.
  if (!numbers.every(Number.isInteger)) return;
  fail('length', caller, `${name} must begin with 0, not ${first}: ${cuSeqlensRemedy(numbers, total)}.`);
}

function cuSeqlensRemedy(numbers: readonly number[], total: number | undefined): string {
  const withZero = [0, ...numbers];
  const falls = numbers.some((number, i) => number < withZero[i]!);
  if (!falls && numbers.at(-1) === total)
    return `it looks like sums without the leading 0. Pass ${describe(withZero)}`;
  const sums = [0];
  for (const length of numbers) sums.push(sums.at(-1)! + length);
  const areLengths = falls ? numbers.every((length) => length >= 0) : sums.at(-1) === total;
  if (areLengths) return `it looks like lengths. Pass their running sums, ${describe(sums)}`;
  return 'pass the running sums of the lengths, with a 0 before the first';
}
