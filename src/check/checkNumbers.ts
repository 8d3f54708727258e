import { describe, fail } from '../core/errors.js';
import type { DeviceTraits } from '../core/deviceTraits.js';
import { isTensor, type Floats, type Ints, type Tensor } from '../core/tensor.js';
import { checkTensor, isCount } from './checkTensor.js';

/** The sizes that an argument may have, with its dimensions in words. */
export interface SizeRule {
  readonly dims: readonly string[];
  readonly sizes: readonly number[];
}

/** Whole numbers in 32 bits, of the size given. On the GPU they are i32 or u32. */
export function checkInts(
  caller: string,
  name: string,
  ints: Ints,
  rule: SizeRule,
  traits: DeviceTraits,
): Tensor | Int32Array {
  if (isTensor(ints)) {
    checkTensor(caller, name, ints, { dims: rule.dims, dtypes: INTS }, traits);
    checkSizes(caller, name, ints, rule);
    return ints;
  }
  const numbers = hostNumbers(caller, name, ints, rule);
  const wrong = numbers.findIndex((value) => !Number.isInteger(value) || value < MIN_INT || value > MAX_INT);
  if (wrong >= 0) {
    fail(
      'argument',
      caller,
      `${name}[${wrong}] must be a whole number of 32 bits, not ${describe(numbers[wrong])}.`,
    );
  }
  return Int32Array.from(numbers);
}

export const INTS = ['i32', 'u32'] as const;

export const MAX_INT = 2 ** 31 - 1;
const MIN_INT = -(2 ** 31);

/** Real numbers, of the size given. */
export interface FloatRule extends SizeRule {
  /** Default false. */
  readonly mayBeMinusInfinity?: boolean;
}

/** Finite real numbers, or also −∞ where the rule says so. On the GPU they are f32, f16 or bf16. */
export function checkFloats(
  caller: string,
  name: string,
  floats: Floats,
  rule: FloatRule,
  traits: DeviceTraits,
): Tensor | Float32Array {
  if (isTensor(floats)) {
    checkTensor(caller, name, floats, { dims: rule.dims, dtypes: ['f32', 'f16', 'bf16'] }, traits);
    checkSizes(caller, name, floats, rule);
    return floats;
  }
  const numbers = hostNumbers(caller, name, floats, rule);
  const { mayBeMinusInfinity = false } = rule;
  const wrong = numbers.findIndex(
    (value) => !isFinite32(value) && !(mayBeMinusInfinity && value === -Infinity),
  );
  if (wrong >= 0) {
    const range = mayBeMinusInfinity ? 'a finite number or -Infinity' : 'a finite number';
    fail('argument', caller, `${name}[${wrong}] must be ${range}, not ${describe(numbers[wrong])}.`);
  }
  return Float32Array.from(numbers);
}

/** Checks that a tensor has the sizes that other arguments ask for. */
export function checkSizes(caller: string, name: string, { shape }: Tensor, { dims, sizes }: SizeRule): void {
  if (sizes.every((size, axis) => shape[axis] === size)) return;
  fail(
    'shape',
    caller,
    `${name} must be [${dims.join(', ')}] = [${sizes.join(', ')}], not [${shape.join(', ')}].`,
  );
}

/** Whether a value is a number, and not too large for an f32. */
export function isFinite32(value: unknown): value is number {
  return typeof value === 'number' && Number.isFinite(Math.fround(value));
}

/** Whether a value is a plain or a typed array. */
export function isHostArray(value: unknown): value is ArrayLike<number> {
  return Array.isArray(value) || (ArrayBuffer.isView(value) && 'length' in value);
}

function hostNumbers(
  caller: string,
  name: string,
  numbers: unknown,
  { dims, sizes }: SizeRule,
): readonly number[] {
  if (!isHostArray(numbers)) {
    fail('argument', caller, `${name} must be a tensor or an array of numbers, not ${describe(numbers)}.`);
  }
  // Plain or typed, it has the methods that are used of it; block tables are too long to be copied for nothing.
  const list = numbers as readonly number[];
  const length = sizes.reduce((product, size) => product * size, 1);
  if (list.length !== length) {
    fail(
      'shape',
      caller,
      `${name} must have ${length} numbers, [${dims.join(', ')}] = [${sizes.join(', ')}], not ${list.length}.`,
    );
  }
  return list;
}

/** A whole number ≥ 0, or what it is by default. */
export function checkCount(
  caller: string,
  name: string,
  value: number | undefined,
  otherwise: number,
): number {
  if (value === undefined) return otherwise;
  if (!isCount(value) || value > MAX_INT) {
    fail('argument', caller, `${name} must be a whole number ≥ 0, not ${describe(value)}.`);
  }
  return value;
}
