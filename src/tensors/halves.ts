import { describe, fail } from '../core/errors.js';
import { decode, encode } from '../core/dtype.js';
import { isHostArray } from '../check/checkNumbers.js';
import { checkNumbers } from './tensorData.js';

/**
 * Numbers as f16 or bf16, each in the 16 bits that a tensor stores: the nearest, ties to even, too large ones as
 * infinity, every NaN as the quiet one. From f64 they are rounded once.
 *
 * @throws PageflashError `argument`, `dtype`
 * @example
 * const bits = toHalves('bf16', weights); // Float32Array → Uint16Array
 */
export function toHalves(dtype: 'f16' | 'bf16', values: ArrayLike<number>): Uint16Array<ArrayBuffer> {
  const caller = 'toHalves';
  checkHalfType(caller, dtype);
  if (!isHostArray(values))
    fail('argument', caller, `values must be an array of numbers, not ${describe(values)}.`);
  checkNumbers(caller, 'values', values);
  return encode(dtype, values);
}

/**
 * Stored f16 or bf16 as f32, which holds each of them exactly.
 *
 * @throws PageflashError `argument`, `dtype`
 */
export function fromHalves(dtype: 'f16' | 'bf16', bits: Uint16Array): Float32Array<ArrayBuffer> {
  const caller = 'fromHalves';
  checkHalfType(caller, dtype);
  if (!(bits instanceof Uint16Array))
    fail('argument', caller, `bits must be a Uint16Array, not ${describe(bits)}.`);
  return decode(dtype, bits);
}

function checkHalfType(caller: string, dtype: unknown): void {
  if (dtype === 'f16' || dtype === 'bf16') return;
  fail('dtype', caller, `the first argument must be 'f16' or 'bf16', not ${describe(dtype)}.`);
}
