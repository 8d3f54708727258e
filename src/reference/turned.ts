import { roundTo, type FloatDType } from '../core/dtype.js';
import { turnHead } from '../core/kvFormats.js';
import type { AttentionResult } from './attend.js';
import { lastSizes, type HostTensor } from './hostTensor.js';

/** Multiplies every head of a tensor [..., heads, D] by the Hadamard matrix: H[i][j] = (−1)^popcount(i & j) / √D. */
export function turnHeads(tensor: HostTensor): HostTensor {
  const [, headDim] = lastSizes(tensor);
  const data = Float64Array.from(tensor.data);
  for (let from = 0; from < data.length; from += headDim) turnHead(data.subarray(from, from + headDim));
  return { data, shape: tensor.shape };
}

/** Turns the output of attention to turned values back. The lse is that of q · k, which does not change. */
export function turnBack<Result extends AttentionResult>(
  result: Result,
  storage: FloatDType = 'f32',
): Result {
  const out = turnHeads(result.out);
  if (storage !== 'f32') out.data.forEach((x, i) => (out.data[i] = roundTo(storage, x)));
  return { ...result, out };
}
