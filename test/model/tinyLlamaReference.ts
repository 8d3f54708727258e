import { roundTo, type FloatDType } from '../../src/core/dtype.js';
import { attnReference, type HostTensor } from '../../src/reference/attention.js';
import { rotate } from '../../src/reference/attnWithKvCache.js';
import type { LayerWeights, LlamaWeights } from './tinyLlamaWeights.js';

export interface LlamaOutputs {
  /** [tokens, hiddenSize]: behind the last layer */
  readonly states: Float64Array;
  /** [tokens, vocabSize] */
  readonly logits: Float64Array;
}

/**
 * TinyLlama in f64 over a whole sequence at once, without a cache.
 *
 * With `kvDType`, keys and values are rounded to that type, as a cache does that keeps them in it.
 */
export function tinyLlamaReference(
  weights: LlamaWeights,
  tokens: ArrayLike<number>,
  kvDType?: FloatDType,
): LlamaOutputs {
  const { hiddenSize, vocabSize } = weights.shape;
  const states = new Float64Array(tokens.length * hiddenSize);
  for (let i = 0; i < tokens.length; i++) {
    const start = tokens[i]! * hiddenSize;
    states.set(weights.embedding.subarray(start, start + hiddenSize), i * hiddenSize);
  }
  for (const layer of weights.layers) {
    add(states, linear(attention(weights, layer, states, kvDType), layer.output, hiddenSize));
    add(states, feedForward(weights, layer, states));
  }
  return { states, logits: linear(norm(states, weights.gain, weights), weights.head, vocabSize) };
}

function attention(
  weights: LlamaWeights,
  { attentionGain, qkv }: LayerWeights,
  states: Float64Array,
  kvDType: FloatDType | undefined,
): MatrixRows {
  const { rotaryCos, rotarySin } = weights;
  const { nHeads, nKvHeads, headDim, hiddenSize } = weights.shape;
  const nTokens = states.length / hiddenSize;
  const rowSize = (nHeads + 2 * nKvHeads) * headDim;
  const rows = linear(norm(states, attentionGain, weights), qkv, rowSize);
  const heads = (first: number, n: number): HostTensor & { readonly data: Float64Array } => {
    const data = new Float64Array(nTokens * n * headDim);
    for (let i = 0; i < nTokens; i++) {
      const start = i * rowSize + first * headDim;
      data.set(rows.subarray(start, start + n * headDim), i * n * headDim);
    }
    return { shape: [1, nTokens, n, headDim], data };
  };
  const q = heads(0, nHeads);
  const k = heads(nHeads, nKvHeads);
  const v = heads(nHeads + nKvHeads, nKvHeads);

  const angles = (data: Float32Array): HostTensor => ({
    shape: [data.length / (headDim / 2), headDim / 2],
    data,
  });
  const rotary = { cos: angles(rotaryCos), sin: angles(rotarySin), interleaved: false };
  for (const { data } of [q, k]) {
    const tokenSize = data.length / nTokens;
    for (let at = 0; at < data.length; at += headDim)
      rotate(data.subarray(at, at + headDim), Math.floor(at / tokenSize), rotary);
  }
  if (kvDType) for (const { data } of [k, v]) data.forEach((x, i) => (data[i] = roundTo(kvDType, x)));
  const { out } = attnReference({ q, k, v, causal: true });
  return { data: out.data, size: nHeads * headDim };
}

function feedForward(
  weights: LlamaWeights,
  { feedForwardGain, gate, up, down }: LayerWeights,
  states: Float64Array,
): Float64Array {
  const { feedForwardSize, hiddenSize } = weights.shape;
  const normed = norm(states, feedForwardGain, weights);
  const opening = linear(normed, gate, feedForwardSize);
  const data = linear(normed, up, feedForwardSize).map(
    (x, i) => (x * opening[i]!) / (1 + Math.exp(-opening[i]!)),
  );
  return linear({ data, size: feedForwardSize }, down, hiddenSize);
}

/** [tokens, size] */
interface MatrixRows {
  readonly data: Float32Array | Float64Array;
  readonly size: number;
}

/** Each row over its root mean square, times the gain. */
function norm(
  states: Float64Array,
  gain: Float32Array,
  { normEpsilon = 1e-5 }: Pick<LlamaWeights, 'normEpsilon'>,
): MatrixRows {
  const size = gain.length;
  const data = new Float64Array(states.length);
  for (let start = 0; start < states.length; start += size) {
    let squares = 0;
    for (let i = 0; i < size; i++) squares += states[start + i]! ** 2;
    const scale = 1 / Math.sqrt(squares / size + normEpsilon);
    for (let i = 0; i < size; i++) data[start + i] = scale * gain[i]! * states[start + i]!;
  }
  return { data, size };
}

/** [tokens, nIn] times [nIn, nOut] */
function linear({ data, size }: MatrixRows, matrix: Float32Array, nOut: number): Float64Array {
  const nTokens = data.length / size;
  const out = new Float64Array(nTokens * nOut);
  for (let token = 0; token < nTokens; token++) {
    for (let i = 0; i < size; i++) {
      const x = data[token * size + i]!;
      for (let o = 0; o < nOut; o++) out[token * nOut + o]! += x * matrix[i * nOut + o]!;
    }
  }
  return out;
}

function add(sum: Float64Array, more: Float64Array): void {
  for (let i = 0; i < sum.length; i++) sum[i]! += more[i]!;
}
