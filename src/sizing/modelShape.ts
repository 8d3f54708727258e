import { namesOf } from '../core/checkNames.js';
import { fail } from '../core/errors.js';
import { checkChoice, checkCounts, checkObject } from './check.js';
import type { CacheShape } from './kvCache.js';

/** The attention of a layer. */
export interface AttentionShape {
  readonly nHeads: number;
  /** Key/value heads; a divisor of `nHeads`. As many are MHA, fewer GQA, one MQA. */
  readonly nKvHeads: number;
  /** Elements of a head of q and k. */
  readonly headDim: number;
  /** Elements of a head of v. Default `headDim`. */
  readonly headDimV?: number | undefined;
}

/** A transformer layer: q, k, v and o projections around the attention, then a feed-forward network. */
export interface LayerShape extends AttentionShape {
  readonly hiddenSize: number;
  /** Elements between the matrices of the feed-forward network. */
  readonly feedForwardSize: number;
  /** 3: gate, up and down, as in Llama; 2: up and down, as in GPT and OPT. Default 3. */
  readonly feedForwardMatrices?: 2 | 3 | undefined;
}

/**
 * A decoder-only transformer, in the words of its `config.json`: `num_hidden_layers`, `hidden_size`,
 * `num_attention_heads`, `num_key_value_heads`, `head_dim`, `intermediate_size`, `vocab_size`.
 *
 * @example
 * const llama3: ModelShape = {
 *   nLayers: 32, hiddenSize: 4096, nHeads: 32, nKvHeads: 8, headDim: 128, feedForwardSize: 14336, vocabSize: 128256,
 * };
 */
export interface ModelShape extends LayerShape {
  readonly nLayers: number;
  readonly vocabSize: number;
  /** Rows of a learned table of positions; 0 where positions are rotated or biased. Default 0. */
  readonly nPositions?: number | undefined;
  /**
   * `none` as in Llama; `qkv` as in Qwen 2; `all` as in GPT and OPT, where norms have biases as well (LayerNorm rather
   * than RMSNorm). Default `none`.
   */
  readonly biases?: 'none' | 'qkv' | 'all' | undefined;
  /**
   * What turns the last hidden state into logits: a matrix of its `own`, the embedding again (`tied`), or `none`.
   * Default `own`.
   */
  readonly outputHead?: 'own' | 'tied' | 'none' | undefined;
}

/** Of a shape of any kind, since that of a model serves for its layers, its attention and its cache. */
export const SHAPE_NAMES = namesOf<ModelShape & CacheShape>({
  nLayers: true,
  hiddenSize: true,
  nHeads: true,
  nKvHeads: true,
  headDim: true,
  headDimV: true,
  feedForwardSize: true,
  feedForwardMatrices: true,
  vocabSize: true,
  nPositions: true,
  biases: true,
  outputHead: true,
  dtype: true,
});

/** A shape that was checked, with its defaults. */
export type Filled<Shape> = { readonly [Name in keyof Shape]-?: Exclude<Shape[Name], undefined> };

export function checkAttention(caller: string, shape: AttentionShape): Filled<AttentionShape> {
  checkObject(caller, 'shape', shape, SHAPE_NAMES);
  const { nHeads, nKvHeads, headDim, headDimV = headDim } = shape;
  checkCounts(caller, { nHeads, nKvHeads, headDim, headDimV });
  if (nHeads % nKvHeads !== 0)
    fail(
      'argument',
      caller,
      `nHeads must be a multiple of nKvHeads, but there are ${nHeads} and ${nKvHeads}.`,
    );
  return { nHeads, nKvHeads, headDim, headDimV };
}

export function checkLayer(caller: string, layer: LayerShape): Filled<LayerShape> {
  checkObject(caller, 'layer', layer, SHAPE_NAMES);
  const attention = checkAttention(caller, layer);
  const { hiddenSize, feedForwardSize, feedForwardMatrices = 3 } = layer;
  checkCounts(caller, { hiddenSize, feedForwardSize });
  checkChoice(caller, 'feedForwardMatrices', feedForwardMatrices, [2, 3]);
  return { ...attention, hiddenSize, feedForwardSize, feedForwardMatrices };
}

export function checkModel(caller: string, model: ModelShape): Filled<ModelShape> {
  checkObject(caller, 'model', model, SHAPE_NAMES);
  const layer = checkLayer(caller, model);
  const { nLayers, vocabSize, nPositions = 0, biases = 'none', outputHead = 'own' } = model;
  checkCounts(caller, { nLayers, vocabSize });
  checkCounts(caller, { nPositions }, 0);
  checkChoice(caller, 'biases', biases, ['none', 'qkv', 'all']);
  checkChoice(caller, 'outputHead', outputHead, ['own', 'tied', 'none']);
  return { ...layer, nLayers, vocabSize, nPositions, biases, outputHead };
}

/** Elements of the matrices of q, k, v and o: H·(Hq·D + Hkv·D + Hkv·Dv + Hq·Dv). */
export function projectionWeights(layer: Filled<LayerShape>): number {
  const { hiddenSize, nHeads, nKvHeads, headDim, headDimV } = layer;
  return hiddenSize * (nHeads + nKvHeads) * (headDim + headDimV);
}

/** Elements of the matrices of a layer's feed-forward network. */
export function feedForwardWeights(layer: Filled<LayerShape>): number {
  return layer.feedForwardMatrices * layer.hiddenSize * layer.feedForwardSize;
}
