import { describe } from '../core/errors.js';
import { FLOATS, INTS } from '../core/dtype.js';
import { isTensor, type Floats, type Ints, type Tensor } from '../core/tensor.js';
import { isHostArray, MAX_INT, type Call } from './call.js';
import { checkSizedTensor, sizesInWords, type SizeRule } from './checkTensor.js';

/**
 * Checks whole numbers of 32 bits, of the size given. On the GPU they are i32 or u32. Those on the host are copied, into an
 * array that the call remembers by the name.
 */
export function checkInts(
  call: Call,
  name: string,
  ints: Ints,
  rule: SizeRule,
): Tensor | Int32Array<ArrayBuffer> {
  if (isTensor(ints)) {
    checkSizedTensor(call, name, ints, { ...rule, dtypes: INTS });
    return ints;
  }
  const numbers = hostNumbers(call, name, ints, rule);
  if (!isInt32Array(numbers)) checkEntries(call, name, numbers, isInt, 'a whole number of 32 bits');
  const copy = call.memory.ints(name, numbers.length);
  copy.set(numbers);
  return copy;
}

function isInt32Array(numbers: unknown): boolean {
  return numbers instanceof Int32Array;
}

/** What real numbers must be. */
export interface FloatRule extends SizeRule {
  /** Default false. */
  readonly mayBeMinusInfinity?: boolean;
}

/** Checks finite real numbers, or also −∞ where the rule says so. On the GPU they are f32, f16 or bf16. */
export function checkFloats(
  call: Call,
  name: string,
  floats: Floats,
  rule: FloatRule,
): Tensor | Float32Array {
  if (isTensor(floats)) {
    checkSizedTensor(call, name, floats, { ...rule, dtypes: FLOATS });
    return floats;
  }
  const numbers = hostNumbers(call, name, floats, rule);
  if (rule.mayBeMinusInfinity) {
    const isRight = (value: unknown): boolean => isFinite32(value) || value === -Infinity;
    checkEntries(call, name, numbers, isRight, 'a finite number or -Infinity');
  } else checkEntries(call, name, numbers, isFinite32, 'a finite number');
  return Float32Array.from(numbers);
}

function checkEntries(
  call: Call,
  name: string,
  numbers: readonly number[],
  isRight: (value: unknown) => boolean,
  wanted: string,
): void {
  call.each(
    'argument',
    numbers,
    isRight,
    (i) => `${name}[${i}] must be ${wanted}, not ${describe(numbers[i])}.`,
  );
}

function isInt(value: unknown): boolean {
  return Number.isInteger(value) && (value as number) >= -MAX_INT - 1 && (value as number) <= MAX_INT;
}

/** Whether a value is a number, and not too large for an f32. */
export function isFinite32(value: unknown): value is number {
  return typeof value === 'number' && Number.isFinite(Math.fround(value));
}

/** Checks that something is an array, before it is known what its entries are. */
export function checkIsNumbers(call: Call, name: string, value: unknown): asserts value is ArrayLike<number> {
  if (!isHostArray(value)) call.refuseValue(name, 'a tensor or an array of numbers', value);
}

function hostNumbers(call: Call, name: string, numbers: unknown, rule: SizeRule): readonly number[] {
  checkIsNumbers(call, name, numbers);
  // Plain or typed, it has the methods that are used of it; block tables are too long to be copied for nothing.
  const list = numbers as readonly number[];
  const length = rule.sizes.reduce((product, size) => product * size, 1);
  if (list.length !== length)
    call.refuse('shape', `${name} must have ${length} numbers, ${sizesInWords(rule)}, not ${list.length}.`);
  return list;
}
