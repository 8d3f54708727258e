import type { Tensor } from '../../src/core/tensor.js';
import { attnWithKvCache, type AttnWithKvCacheArgs, type Runtime } from '../../src/index.js';
import type { AttnWithKvCacheReferenceArgs } from '../../src/reference/attention.js';
import type { FeatureCase } from './cases.js';
import type { FeatureCache, FeatureInputs } from './featureInputs.js';

/** One of the two calls of a row: how it is made, and what it does on paper. */
export interface FeatureCall {
  readonly cache: FeatureCache;
  /** Does what can be done ahead, and returns a function that submits the call. */
  readonly prepare: (runtime: Runtime, out: Tensor) => () => void;
  /** What the reference takes for query i of a sequence alone, over the keys up to its own. */
  readonly referenceOf: (i: number) => Partial<AttnWithKvCacheReferenceArgs>;
  /** Whether query i has to look at a key of those up to its own. Default: at all. */
  readonly looksAt?: (i: number, key: number) => boolean;
  /** The keys of all sequences that are read. Default: those of each that are looked at. */
  readonly nKeysRead?: number;
  /** Bytes that are read besides q, keys and values. */
  readonly moreBytes?: number;
}

export interface Given {
  readonly device: GPUDevice;
  readonly benchCase: FeatureCase;
  readonly inputs: FeatureInputs;
}

/** A call over a cache. The reference takes its window, first keys, softcap and rotation as they are; callers say the rest. */
export function cachedCall(
  { benchCase, inputs }: Given,
  cache: FeatureCache,
  { kvRotation, windowSize, firstKeys, softcap, ...only }: Partial<AttnWithKvCacheArgs> = {},
): FeatureCall {
  const { q, pages } = inputs;
  const shared = { kvRotation, windowSize, firstKeys, softcap };
  const args = {
    q: q.tensor,
    kCache: cache.k.tensor,
    vCache: cache.v.tensor,
    kScale: cache.kScale,
    vScale: cache.vScale,
    cacheSeqlens: benchCase.nKeys,
    blockTable: pages?.blockTable,
    causal: true,
    ...shared,
    ...only,
  };
  return {
    cache,
    prepare: (runtime, out) => () => void attnWithKvCache(runtime, { ...args, out }),
    referenceOf: () => shared,
  };
}
