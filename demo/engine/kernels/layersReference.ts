import { fromHalves } from 'pageflash';
import { SCALE_UNIT } from '../model/quantize.js';
import {
  GROUP,
  groupsOf,
  inputOrder,
  type EncodedWeights,
  type WeightFormat,
} from '../model/weightFormats.js';
import type { GateActivation } from './gate.js';

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
  const order = inputOrder(format, nIn);
  for (let i = 0; i < stored.length; i++) {
    const row = Math.floor(i / size);
    const column = i % size;
    const input = order[column]!;
    if (input >= nIn) continue;
    const scale = halves ? halves[row * scalesPerRow + Math.floor(column / GROUP)]! / SCALE_UNIT : 1;
    numbers[row * nIn + input] = stored[i]! * scale;
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

/** embed: rows of the matrix [vocabulary, size] by token, times a scale. */
export function embed({ tokens, sampled, weights, size, scale = 1 }: EmbedArrays): {
  ids: number[];
  y: Float64Array;
} {
  const ids = Array.from(tokens, (token) => (token < 0 ? sampled[-1 - token]! : token));
  const y = new Float64Array(ids.length * size);
  for (let i = 0; i < y.length; i++) y[i] = weights[ids[Math.floor(i / size)]! * size + (i % size)]! * scale;
  return { ids, y };
}

interface EmbedArrays {
  readonly tokens: ArrayLike<number>;
  readonly sampled: ArrayLike<number>;
  readonly weights: ArrayLike<number>;
  readonly size: number;
  readonly scale?: number | undefined;
}

/** rms_norm: each row of x divided by its root mean square, times offset + weight. */
export function rmsNorm({ x, weight, epsilon, weightOffset = 0 }: NormArrays): Float64Array {
  const size = weight.length;
  const y = new Float64Array(x.length);
  for (let start = 0; start < x.length; start += size) {
    let squares = 0;
    for (let i = 0; i < size; i++) squares += x[start + i]! ** 2;
    const scale = 1 / Math.sqrt(squares / size + epsilon);
    for (let i = 0; i < size; i++) y[start + i] = x[start + i]! * scale * (weight[i]! + weightOffset);
  }
  return y;
}

interface NormArrays {
  readonly x: ArrayLike<number>;
  readonly weight: ArrayLike<number>;
  readonly epsilon: number;
  readonly weightOffset?: number | undefined;
}

/** head_norm: rmsNorm of the query heads and the key heads of each row; value heads stay. */
export function headNorm({
  qkv,
  nHeads,
  nKvHeads,
  qWeight,
  kWeight,
  ...options
}: HeadNormArrays): Float64Array {
  const headDim = qWeight.length;
  const headsPerRow = nHeads + 2 * nKvHeads;
  const y = Float64Array.from(qkv);
  for (let start = 0; start < y.length; start += headDim) {
    const head = (start / headDim) % headsPerRow;
    if (head >= nHeads + nKvHeads) continue;
    const weight = head < nHeads ? qWeight : kWeight;
    y.set(rmsNorm({ ...options, x: y.slice(start, start + headDim), weight }), start);
  }
  return y;
}

interface HeadNormArrays {
  readonly qkv: ArrayLike<number>;
  readonly nHeads: number;
  readonly nKvHeads: number;
  readonly qWeight: ArrayLike<number>;
  readonly kWeight: ArrayLike<number>;
  readonly epsilon: number;
  readonly weightOffset?: number | undefined;
}

/** gate: act(gate) · up for each row of gates, then ups. */
export function gate(activation: GateActivation, gateUp: ArrayLike<number>, size: number): Float64Array {
  const y = new Float64Array(gateUp.length / 2);
  for (let i = 0; i < y.length; i++) {
    const at = Math.floor(i / size) * 2 * size + (i % size);
    y[i] = ACTIVATIONS[activation](gateUp[at]!) * gateUp[at + size]!;
  }
  return y;
}

const ACTIVATIONS: Readonly<Record<GateActivation, (x: number) => number>> = {
  silu: (x) => x / (1 + Math.exp(-x)),
  gelu_tanh: (x) => (x / 2) * (1 + Math.tanh(Math.sqrt(2 / Math.PI) * (x + 0.044715 * x ** 3))),
  gelu: (x) => (x / 2) * (1 + erf(x / Math.SQRT2)),
};

/** The error function, by its series near 0 and its continued fraction beyond. */
function erf(x: number): number {
  if (x < 0) return -erf(-x);
  if (x > 6) return 1;
  if (x > 3) {
    let fraction = x;
    for (let k = 60; k > 0; k--) fraction = x + k / 2 / fraction;
    return 1 - Math.exp(-x * x) / Math.sqrt(Math.PI) / fraction;
  }
  let term = x;
  let sum = x;
  for (let n = 1; n < 80; n++) {
    term *= -(x * x) / n;
    sum += term / (2 * n + 1);
  }
  return (2 / Math.sqrt(Math.PI)) * sum;
}

/** softcap_logits: cap · tanh(logit / cap). */
export function softcapLogits(logits: ArrayLike<number>, cap: number): Float64Array {
  return Float64Array.from(logits, (logit) => cap * Math.tanh(logit / cap));
}
