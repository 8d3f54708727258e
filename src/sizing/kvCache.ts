import { namesOf } from '../core/checkNames.js';
import { bytesPerElement, type FloatDType } from '../core/dtype.js';
import { checkChoice, checkCounts, checkObject } from './check.js';
import { SHAPE_NAMES, type Filled } from './modelShape.js';

/** What a token leaves behind in a KV cache. A `ModelShape` with a dtype is one: `{ ...model, dtype: 'f16' }`. */
export interface CacheShape {
  readonly nLayers: number;
  readonly nKvHeads: number;
  /** Elements of a head of k. */
  readonly headDim: number;
  /** Elements of a head of v. Default `headDim`. */
  readonly headDimV?: number | undefined;
  readonly dtype: FloatDType;
}

/** How many tokens a KV cache is to hold. */
export interface CacheLoad {
  /** Default 1. */
  readonly nSequences?: number | undefined;
  /** Prompt and answer. */
  readonly tokensPerSequence: number;
  /** Tokens a page; the last page of a sequence takes all its memory, however few tokens it holds. Default 1. */
  readonly pageSize?: number | undefined;
}

const LOAD_NAMES = namesOf<CacheLoad>({ nSequences: true, tokensPerSequence: true, pageSize: true });

/**
 * Bytes that one token takes in the KV cache of all layers: L·Hkv·(D + Dv)·bytes of an element.
 *
 * @throws PageflashError `argument`
 * @example
 * kvBytesPerToken({ nLayers: 32, nKvHeads: 8, headDim: 128, dtype: 'f16' }); // 131 072, Llama 3 8B
 */
export function kvBytesPerToken(cache: CacheShape): number {
  return bytesPerToken(checkCache('kvBytesPerToken', cache));
}

/**
 * Bytes of the KV cache of so many sequences: n · ⌈tokens / pageSize⌉ · pageSize · `kvBytesPerToken`. Layers with a
 * window are a cache of their own, of no more tokens than the window and a page.
 *
 * @throws PageflashError `argument`
 * @example
 * kvCacheBytes({ ...llama3, dtype: 'f16' }, { nSequences: 4, tokensPerSequence: 8192 }); // 4 GiB
 */
export function kvCacheBytes(cache: CacheShape, load: CacheLoad): number {
  const filled = checkCache('kvCacheBytes', cache);
  checkObject('kvCacheBytes', 'load', load, LOAD_NAMES);
  const { nSequences = 1, tokensPerSequence, pageSize = 1 } = load;
  checkCounts('kvCacheBytes', { nSequences, tokensPerSequence }, 0);
  checkCounts('kvCacheBytes', { pageSize });
  return nSequences * Math.ceil(tokensPerSequence / pageSize) * pageSize * bytesPerToken(filled);
}

export function checkCache(caller: string, cache: CacheShape): Filled<CacheShape> {
  checkObject(caller, 'cache', cache, SHAPE_NAMES);
  return filledCache(caller, cache);
}

/** The shape of a cache in an object that may have more than that. */
export function filledCache(caller: string, cache: CacheShape): Filled<CacheShape> {
  const { nLayers, nKvHeads, headDim, headDimV = headDim, dtype } = cache;
  checkCounts(caller, { nLayers, nKvHeads, headDim, headDimV });
  checkDType(caller, 'dtype', dtype);
  return { nLayers, nKvHeads, headDim, headDimV, dtype };
}

export function checkDType(caller: string, name: string, dtype: FloatDType): void {
  checkChoice(caller, name, dtype, ['f32', 'f16', 'bf16']);
}

export function bytesPerToken({ nLayers, nKvHeads, headDim, headDimV, dtype }: Filled<CacheShape>): number {
  return nLayers * nKvHeads * (headDim + headDimV) * bytesPerElement(dtype);
}
