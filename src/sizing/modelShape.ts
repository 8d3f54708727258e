import { checkChoice, checkCounts, checkFlags, checkNames, namesOf } from '../core/checkArguments.js';
import { checkCacheFormat } from '../core/checkCacheFormat.js';
import { bytesPerElement, FLOATS, type FloatDType, type KvDType } from '../core/dtype.js';
import { fail } from '../core/errors.js';
import { DEFAULT_SCALE_DTYPE, scaleBytesPerHead, type ScaleDType } from '../core/kvFormats.js';

/** The shape of a layer's attention. */
export interface AttentionShape {
  readonly nHeads: number;
  /** Key/value heads, a divisor of `nHeads`: as many in MHA, fewer in GQA, one in MQA. */
  readonly nKvHeads: number;
  /** Elements of a head of q and k. */
  readonly headDim: number;
  /** Elements of a head of v. Default `headDim`. */
  readonly headDimV?: number | undefined;
  /**
   * Whether values are the first `headDimV` elements of keys, so that only keys are computed and stored, as in MLA.
   * Default false.
   */
  readonly valuesInKeys?: boolean | undefined;
}

/** The shape of a transformer layer: q, k, v and o projections around the attention, then a feed-forward network. */
export interface LayerShape extends AttentionShape {
  readonly hiddenSize: number;
  /** The width of the feed-forward network between its matrices. */
  readonly feedForwardSize: number;
  /** 3: gate, up and down, as in Llama; 2: up and down, as in GPT and OPT. Default 3. */
  readonly feedForwardMatrices?: 2 | 3 | undefined;
}

/**
 * The shape of a decoder-only transformer. In its `config.json` the fields are called `num_hidden_layers`, `hidden_size`,
 * `num_attention_heads`, `num_key_value_heads`, `head_dim`, `intermediate_size` and `vocab_size`.
 *
 * @example
 * const llama3: ModelShape = {
 *   nLayers: 32, hiddenSize: 4096, nHeads: 32, nKvHeads: 8, headDim: 128, feedForwardSize: 14336, vocabSize: 128256,
 * };
 */
export interface ModelShape extends LayerShape {
  readonly nLayers: number;
  readonly vocabSize: number;
  /** Rows of a learned position embedding; 0 for models with rotary embeddings or ALiBi. Default 0. */
  readonly nPositions?: number | undefined;
  /**
   * `none` as in Llama; `qkv` as in Qwen 2; `all` as in GPT and OPT, where norms have biases as well (LayerNorm rather
   * than RMSNorm). Default `none`.
   */
  readonly biases?: 'none' | 'qkv' | 'all' | undefined;
  /**
   * The matrix that turns the last hidden state into logits: its `own`, `tied` to the embedding, or `none`.
   * Default `own`.
   */
  readonly outputHead?: 'own' | 'tied' | 'none' | undefined;
}

/** The shape of a KV cache. A `ModelShape` with a dtype is one: `{ ...model, dtype: 'f16' }`. */
export interface CacheShape {
  readonly nLayers: number;
  readonly nKvHeads: number;
  /** Elements of a head of k. */
  readonly headDim: number;
  /** Elements of a head of v. Default `headDim`. */
  readonly headDimV?: number | undefined;
  /**
   * Whether values are the first `headDimV` elements of keys, so that only keys are stored, as in MLA. Default false.
   */
  readonly valuesInKeys?: boolean | undefined;
  readonly dtype: KvDType;
  /** Of the scales of an i8 or i4 cache. Default f16. */
  readonly scaleDType?: ScaleDType | undefined;
}

/** The fields of a shape of any kind, since that of a model also serves for its layers, its attention and its cache. */
export const SHAPE_NAMES = namesOf<ModelShape & CacheShape>({
  nLayers: true,
  hiddenSize: true,
  nHeads: true,
  nKvHeads: true,
  headDim: true,
  headDimV: true,
  valuesInKeys: true,
  feedForwardSize: true,
  feedForwardMatrices: true,
  vocabSize: true,
  nPositions: true,
  biases: true,
  outputHead: true,
  dtype: true,
  scaleDType: true,
});

/** A shape that was checked, with its defaults filled in. */
export type Filled<Shape> = { readonly [Name in keyof Shape]-?: Exclude<Shape[Name], undefined> };

export function checkAttention(caller: string, shape: AttentionShape): Filled<AttentionShape> {
  checkNames(caller, shape, SHAPE_NAMES, { of: 'shape' });
  const { nHeads, nKvHeads, headDim, headDimV = headDim, valuesInKeys = false } = shape;
  checkCounts(caller, { nHeads, nKvHeads, headDim, headDimV });
  checkValuesInKeys(caller, { valuesInKeys, headDim, headDimV });
  if (nHeads % nKvHeads !== 0)
    fail(
      'argument',
      caller,
      `nHeads must be a multiple of nKvHeads, but there are ${nHeads} and ${nKvHeads}.`,
    );
  return { nHeads, nKvHeads, headDim, headDimV, valuesInKeys };
}

export function checkLayer(caller: string, layer: LayerShape): Filled<LayerShape> {
  checkNames(caller, layer, SHAPE_NAMES, { of: 'layer' });
  const attention = checkAttention(caller, layer);
  const { hiddenSize, feedForwardSize, feedForwardMatrices = 3 } = layer;
  checkCounts(caller, { hiddenSize, feedForwardSize });
  checkChoice(caller, 'feedForwardMatrices', feedForwardMatrices, [2, 3]);
  return { ...attention, hiddenSize, feedForwardSize, feedForwardMatrices };
}

export function checkModel(caller: string, model: ModelShape): Filled<ModelShape> {
  checkNames(caller, model, SHAPE_NAMES, { of: 'model' });
  const layer = checkLayer(caller, model);
  const { nLayers, vocabSize, nPositions = 0, biases = 'none', outputHead = 'own' } = model;
  checkCounts(caller, { nLayers, vocabSize });
  checkCounts(caller, { nPositions }, 0);
  checkChoice(caller, 'biases', biases, ['none', 'qkv', 'all']);
  checkChoice(caller, 'outputHead', outputHead, ['own', 'tied', 'none']);
  return { ...layer, nLayers, vocabSize, nPositions, biases, outputHead };
}

export function checkCache(caller: string, cache: CacheShape): Filled<CacheShape> {
  checkNames(caller, cache, SHAPE_NAMES, { of: 'cache' });
  return filledCache(caller, cache);
}

/** Checks the shape of a cache in an object that may have other fields too. */
export function filledCache(caller: string, cache: CacheShape): Filled<CacheShape> {
  const { nLayers, nKvHeads, headDim, headDimV = headDim, valuesInKeys = false, dtype } = cache;
  const { scaleDType = DEFAULT_SCALE_DTYPE } = cache;
  checkCounts(caller, { nLayers, nKvHeads, headDim, headDimV });
  checkValuesInKeys(caller, { valuesInKeys, headDim, headDimV });
  checkCacheFormat(caller, { kvDType: dtype, scaleDType: cache.scaleDType, headDim, headDimV }, 'dtype');
  return { nLayers, nKvHeads, headDim, headDimV, valuesInKeys, dtype, scaleDType };
}

type StoredHead = Pick<Filled<CacheShape>, 'headDim' | 'headDimV' | 'valuesInKeys'>;

/** The elements of a key and its value that are computed and stored. */
export function storedElements({ headDim, headDimV, valuesInKeys }: StoredHead): number {
  return headDim + (valuesInKeys ? 0 : headDimV);
}

/** Checks that values which are a part of keys are no larger. */
function checkValuesInKeys(caller: string, { valuesInKeys, headDim, headDimV }: StoredHead): void {
  checkFlags(caller, { valuesInKeys });
  if (valuesInKeys && headDimV > headDim)
    fail(
      'argument',
      caller,
      `values of ${headDimV} elements cannot be a part of keys of ${headDim}. Pass a smaller headDimV, or leave valuesInKeys out.`,
    );
}

export function checkDType(caller: string, name: string, dtype: FloatDType): void {
  checkChoice(caller, name, dtype, FLOATS);
}

/** Returns the elements of the matrices of q, k, v and o: H·(Hq·D + Hkv·D + Hkv·Dv + Hq·Dv), v's if there is one. */
export function projectionWeights(layer: Filled<LayerShape>): number {
  const { hiddenSize, nHeads, nKvHeads, headDim, headDimV } = layer;
  return hiddenSize * (nHeads * (headDim + headDimV) + nKvHeads * storedElements(layer));
}

/** Returns the elements of the matrices of a layer's feed-forward network. */
export function feedForwardWeights(layer: Filled<LayerShape>): number {
  return layer.feedForwardMatrices * layer.hiddenSize * layer.feedForwardSize;
}

/** Returns the bytes that one token takes in the cache of all layers, with its scales. */
export function bytesPerToken(cache: Filled<CacheShape>): number {
  return cache.nLayers * tokenParts(cache).reduce((sum, bytes) => sum + bytes, 0);
}

/**
 * Bytes of a token in one layer: of its keys, its values, the scales of its keys and those of its values; 0 for what is not
 * stored.
 */
export function tokenParts(cache: Filled<CacheShape>): [number, number, number, number] {
  const { nKvHeads, headDim, headDimV, valuesInKeys, dtype, scaleDType } = cache;
  const codes = (dim: number) => nKvHeads * dim * bytesPerElement(dtype);
  const scales = (dim: number) => nKvHeads * scaleBytesPerHead(dtype, scaleDType, dim);
  const ofValues = valuesInKeys ? 0 : headDimV;
  return [codes(headDim), codes(ofValues), scales(headDim), valuesInKeys ? 0 : scales(headDimV)];
}
