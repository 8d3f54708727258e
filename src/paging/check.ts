import { checkNames } from '../core/checkNames.js';
import { describe } from '../core/describe.js';
import { fail } from '../core/errors.js';

/** Checks that an argument is a whole number in a range, both ends included. */
export function checkCount(caller: string, name: string, value: number, least = 0, most = MAX_COUNT): void {
  if (Number.isInteger(value) && value >= least && value <= most) return;
  const range = most === MAX_COUNT && !(value > most) ? `≥ ${least}` : `from ${least} to ${most}`;
  fail('argument', caller, `${name} must be a whole number ${range}, not ${describe(value)}.`);
}

/** Checks that a pool can be made, and that its slots can be numbered. */
export function checkPoolSize(caller: string, nPages: number, pageSize: number): void {
  checkCount(caller, 'nPages', nPages, 1);
  checkCount(caller, 'pageSize', pageSize, 1);
  checkCount(caller, 'nPages · pageSize', nPages * pageSize, 1);
}

/** Checks the names of a pool's options. An object of a class, as a cache is, is taken for the pages that it has. */
export function checkPoolNames(caller: string, options: object, names: readonly string[]): void {
  if (options instanceof Promise)
    fail('argument', caller, 'the arguments must be one object, not a promise. Await it first.');
  const prototype: unknown = options && Object.getPrototypeOf(options);
  const isPlain = !prototype || Object.getPrototypeOf(prototype) === null;
  checkNames(caller, isPlain || Array.isArray(options) ? options : {}, names);
}

/** Checks that an argument is a list of something, without a look at what is in it. */
export function checkList(caller: string, name: string, list: ArrayLike<number>): void {
  const isList =
    typeof list === 'object' && list !== null && Number.isInteger(list.length) && list.length >= 0;
  if (!isList) fail('argument', caller, `${name} must be an array of numbers, not ${describe(list)}.`);
}

/** Checks that tokens are what an Int32Array can hold. */
export function checkTokens(caller: string, tokens: ArrayLike<number>): void {
  checkList(caller, 'tokens', tokens);
  for (let i = 0; i < tokens.length; i++)
    if (!isInt32(tokens[i])) refuseInt32(caller, `tokens[${i}]`, tokens[i]);
}

/** Checks that an argument is a whole number of 32 bits. */
export function checkInt32(caller: string, name: string, value: number): void {
  if (!isInt32(value)) refuseInt32(caller, name, value);
}

/** Checks that an argument is true or false. */
export function checkBoolean(caller: string, name: string, value: boolean): void {
  if (typeof value !== 'boolean')
    fail('argument', caller, `${name} must be true or false, not ${describe(value)}.`);
}

/** Checks that an argument is one of a few words. */
export function checkOneOf(caller: string, name: string, value: string, words: readonly string[]): void {
  if (words.includes(value)) return;
  fail('argument', caller, `${name} must be '${words.join(`' or '`)}', not ${describe(value)}.`);
}

function isInt32(value: unknown): boolean {
  return typeof value === 'number' && value === (value | 0);
}

function refuseInt32(caller: string, name: string, value: unknown): never {
  fail('argument', caller, `${name} must be a whole number of 32 bits, not ${describe(value)}.`);
}

// Slots, which are page · pageSize + offset, and token counts are i32 on the GPU.
const MAX_COUNT = 2 ** 31 - 1;
