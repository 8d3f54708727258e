import { add, embed, linear, rmsNorm, rowOf, swiGlu } from './layers.js';
import type { LlamaWeights } from './weights.js';

/** Queries, keys and values of the new tokens, sequence after sequence. */
export interface Qkv {
  /** [tokens, nHeads, headDim], before rotary */
  readonly q: Float32Array<ArrayBuffer>;
  /** [tokens, nKvHeads, headDim], before rotary */
  readonly k: Float32Array<ArrayBuffer>;
  /** [tokens, nKvHeads, headDim] */
  readonly v: Float32Array<ArrayBuffer>;
}

/** Computes attention in a layer: [tokens, nHeads, headDim]. */
export type Attend = (layer: number, qkv: Qkv) => Promise<Float32Array<ArrayBuffer>>;

/** Run tokens through all layers. Returns hidden states [tokens, hiddenSize]. Only attention mixes tokens. */
export async function forward(
  { config, embedding, layers, finalNorm }: LlamaWeights,
  tokens: ArrayLike<number>,
  attend: Attend,
): Promise<Float32Array<ArrayBuffer>> {
  const epsilon = config.rms_norm_eps;
  let hidden = embed(embedding, tokens);
  for (const [i, layer] of layers.entries()) {
    const x = rmsNorm(layer.attentionNorm, hidden, epsilon);
    const q = linear(layer.q, x);
    const k = linear(layer.k, x);
    const v = linear(layer.v, x);
    hidden = add(hidden, linear(layer.o, await attend(i, { q, k, v })));

    const y = rmsNorm(layer.feedForwardNorm, hidden, epsilon);
    const gate = linear(layer.gate, y);
    const up = linear(layer.up, y);
    hidden = add(hidden, linear(layer.down, swiGlu(gate, up)));
  }
  return rmsNorm(finalNorm, hidden, epsilon);
}

/** Logits [vocabSize] of the token that follows the one in row `row` of the hidden states. */
export function logitsOf(
  { shape, outputHead }: LlamaWeights,
  hidden: Float32Array<ArrayBuffer>,
  row: number,
): Float32Array<ArrayBuffer> {
  return linear(outputHead, rowOf(hidden, shape.hiddenSize, row));
}
