import { bytesPerElement, type FloatDType } from '../core/dtype.js';
import { fail } from '../core/errors.js';
import { checkCounts, describe } from './check.js';

/** How a weight is stored: an element type, or bits per weight, such as 4.5 for 4 bits and an f16 scale every 32. */
export type WeightPrecision = FloatDType | number;

/**
 * Bytes of so many weights, rounded up to a whole one. For a file of mixed precision, add its parts up.
 *
 * @throws PageflashError `argument`
 * @example
 * const { embedding, total } = parameterCounts(llama3);
 * weightBytes(embedding, 'f16') + weightBytes(total - embedding, 4.5); // 5 272 193 280
 */
export function weightBytes(nWeights: number, precision: WeightPrecision): number {
  checkCounts('weightBytes', { nWeights }, 0);
  return bytesOfWeights(nWeights, checkPrecision('weightBytes', 'precision', precision));
}

/** Bits per weight. */
export function checkPrecision(caller: string, name: string, precision: WeightPrecision): number {
  if (precision === 'f32' || precision === 'f16' || precision === 'bf16')
    return 8 * bytesPerElement(precision);
  if (!Number.isFinite(precision) || precision <= 0) {
    fail(
      'argument',
      caller,
      `${name} must be 'f32', 'f16', 'bf16' or a number of bits > 0, not ${describe(precision)}.`,
    );
  }
  return precision;
}

export function bytesOfWeights(nWeights: number, bits: number): number {
  return Math.ceil((nWeights * bits) / 8);
}
