import { checkNames } from '../../core/checkArguments.js';
import { describe, fail } from '../../core/errors.js';

// Checks of arguments that allocator, page manager and planner share. `caller` is the function that an error names.

/** Refuses a value. `wanted` completes the sentence "`name` must be …". */
export function refuseValue(caller: string, name: string, wanted: string, value: unknown): never {
  fail('argument', caller, `${name} must be ${wanted}, not ${describe(value)}.`);
}

/** Checks that an argument is a whole number from `min` to `max`. */
export function checkCount(caller: string, name: string, value: number, min = 0, max = MAX_COUNT): void {
  if (Number.isInteger(value) && value >= min && value <= max) return;
  const range = max === MAX_COUNT && !(value > max) ? `≥ ${min}` : `from ${min} to ${max}`;
  refuseValue(caller, name, `a whole number ${range}`, value);
}

/**
 * Checks the options of a pool: their names, and that its slots can be numbered. An object of a class, such as a
 * `PagedKvCache`, may have other properties besides.
 */
export function checkPool(
  caller: string,
  options: { readonly nPages: number; readonly pageSize: number },
  names: readonly string[],
): void {
  if (options instanceof Promise)
    fail('argument', caller, 'the arguments must be one object, not a promise. Await it first.');
  const prototype: unknown = options && Object.getPrototypeOf(options);
  const isPlain = !prototype || Object.getPrototypeOf(prototype) === null;
  checkNames(caller, isPlain || Array.isArray(options) ? options : {}, names);
  const { nPages, pageSize } = options;
  checkCount(caller, 'nPages', nPages, 1);
  checkCount(caller, 'pageSize', pageSize, 1);
  checkCount(caller, 'nPages · pageSize', nPages * pageSize, 1);
}

/** Checks that an argument is an array, or like one. Does not look at its entries. */
export function checkList(caller: string, name: string, list: ArrayLike<number>): void {
  const isList =
    typeof list === 'object' && list !== null && Number.isInteger(list.length) && list.length >= 0;
  if (!isList) refuseValue(caller, name, 'an array of numbers', list);
}

/** Checks that tokens are an array of 32-bit integers. */
export function checkTokens(caller: string, tokens: ArrayLike<number>): void {
  checkList(caller, 'tokens', tokens);
  for (let i = 0; i < tokens.length; i++)
    if (!isInt32(tokens[i])) checkInt32(caller, `tokens[${i}]`, tokens[i]!);
}

/** Checks that an argument is a 32-bit integer. */
export function checkInt32(caller: string, name: string, value: number): void {
  if (!isInt32(value)) refuseValue(caller, name, 'a whole number of 32 bits', value);
}

/** Checks that an argument is true or false. */
export function checkBoolean(caller: string, name: string, value: boolean): void {
  if (typeof value !== 'boolean') refuseValue(caller, name, 'true or false', value);
}

/** Checks that an argument is one of a few words. */
export function checkOneOf(caller: string, name: string, value: string, words: readonly string[]): void {
  if (!words.includes(value)) refuseValue(caller, name, `'${words.join(`' or '`)}'`, value);
}

function isInt32(value: unknown): boolean {
  return typeof value === 'number' && value === (value | 0);
}

// Slots, which are page · pageSize + offset, and token counts are i32 on the GPU.
const MAX_COUNT = 2 ** 31 - 1;
