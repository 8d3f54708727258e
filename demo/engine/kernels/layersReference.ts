import { fromHalves } from 'pageflash';
import { SCALE_UNIT } from '../model/quantize.js';
import { GROUP, groupsOf, type EncodedWeights, type WeightFormat } from '../model/weightFormats.js';

// The twins of the layers' kernels, in f64 and by definition. Arrays are [rows, size], row after row.

/** linear_vector, linear_tiled: x · weightsᵀ + bias, [rows, nIn] → [rows, nOut]. */
export function linear({ x, weights, nIn, bias }: LinearArrays): Float64Array {
  const nOut = weights.length / nIn;
  const nRows = x.length / nIn;
  const y = new Float64Array(nRows * nOut);
  for (let row = 0; row < nRows; row++) {
    for (let out = 0; out < nOut; out++) {
      let sum = bias?.[out] ?? 0;
      for (let i = 0; i < nIn; i++) sum += x[row * nIn + i]! * weights[out * nIn + i]!;
      y[row * nOut + out] = sum;
    }
  }
  return y;
}

interface LinearArrays {
  readonly x: ArrayLike<number>;
  /** [nOut, nIn] */
  readonly weights: ArrayLike<number>;
  readonly nIn: number;
  readonly bias?: ArrayLike<number> | undefined;
}

/** weights_f32, weights_f16, weights_bf16, weights_i8, weights_i4: the numbers that stored weights are, [nOut, nIn]. */
export function decodeWeights(
  format: WeightFormat,
  { weights, scales }: EncodedWeights,
  nIn: number,
): Float64Array {
  const size = groupsOf(nIn) * GROUP;
  const stored = storedNumbers(format, weights);
  const scalesPerRow = Math.ceil(groupsOf(nIn) / 2) * 2;
  const numbers = new Float64Array((stored.length / size) * nIn);
  const halves = scales && fromHalves('f16', scales);
  for (let i = 0; i < numbers.length; i++) {
    const row = Math.floor(i / nIn);
    const column = i % nIn;
    const scale = halves ? halves[row * scalesPerRow + Math.floor(column / GROUP)]! / SCALE_UNIT : 1;
    numbers[i] = stored[row * size + column]! * scale;
  }
  return numbers;
}

function storedNumbers(
  format: WeightFormat,
  { buffer, byteOffset, byteLength }: ArrayBufferView,
): ArrayLike<number> {
  const bytes = new Uint8Array(buffer, byteOffset, byteLength).slice();
  if (format === 'f32') return new Float32Array(bytes.buffer);
  if (format === 'f16' || format === 'bf16') return fromHalves(format, new Uint16Array(bytes.buffer));
  if (format === 'i8') return Float64Array.from(bytes, (byte) => byte - 128);
  return Float64Array.from(
    { length: 2 * bytes.length },
    (_, i) => ((bytes[i >> 1]! >> (4 * (i % 2))) & 15) - 8,
  );
}
