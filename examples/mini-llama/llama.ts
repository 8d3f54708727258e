import { add, embed, linear, rmsNorm, rowOf, swiGlu } from './layers.js';
import type { LlamaWeights } from './weights.js';

/** What attention reads: new tokens, those of one sequence after those of another. */
export interface Qkv {
  /** [tokens, nHeads, headDim], not yet rotated */
  readonly q: Float32Array<ArrayBuffer>;
  /** [tokens, nKvHeads, headDim], not yet rotated */
  readonly k: Float32Array<ArrayBuffer>;
  /** [tokens, nKvHeads, headDim] */
  readonly v: Float32Array<ArrayBuffer>;
}

/** Attention of a layer: what each new token sees of its sequence, [tokens, nHeads, headDim]. */
export type Attend = (layer: number, qkv: Qkv) => Promise<Float32Array<ArrayBuffer>>;

/** Run tokens through all layers. Only attention looks from one token to others. Returns [tokens, hiddenSize]. */
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

/** Logits [vocabSize] of the token after the one in row `row` of what `forward` returned. */
export function logitsOf(
  { shape, outputHead }: LlamaWeights,
  hidden: Float32Array<ArrayBuffer>,
  row: number,
): Float32Array<ArrayBuffer> {
  return linear(outputHead, rowOf(hidden, shape.hiddenSize, row));
}
