import { bytesPerElement } from '../../src/core/dtype.js';
import { elementCount } from '../../src/core/tensor.js';
import { attn, createBlockMask } from '../../src/index.js';
import { upload } from '../../tools/deviceTensor.js';
import type { FeatureCase } from './cases.js';
import { draftCalls } from './draftCalls.js';
import { cachedCall, type FeatureCall, type Given } from './featureCall.js';
import { floatCache, quantisedCache, type FeatureCache } from './featureInputs.js';
import { alibiMod, documentsMod, softcapMod, windowMod, type RunMask } from './featureMods.js';
import { OWN_TOKENS } from './featureShapes.js';
import { PAGE_SIZE } from './shapes.js';
import { createInput } from './workload.js';

export interface FeatureCalls {
  readonly own: FeatureCall;
  readonly plain: FeatureCall;
  /** Whether both must have the same results. */
  readonly areEqual: boolean;
}

/** The call with the option, and the plain one. */
export function featureCalls(given: Given): FeatureCalls {
  const { device, benchCase, inputs } = given;
  const { feature, dtype } = benchCase;
  if (feature.name === 'format') {
    const { kvDType, kvRotation } = feature;
    const own = cachedCall(given, quantisedCache(device, inputs, kvDType), { kvRotation });
    return { own, plain: cachedCall(given, floatCache(device, inputs, dtype)), areEqual: false };
  }
  const cache = floatCache(device, inputs, dtype);
  switch (feature.name) {
    case 'mask':
      return { own: maskCall(given, cache), plain: cachedCall(given, cache), areEqual: false };
    case 'bias':
      return { own: biasCall(given, cache), plain: cachedCall(given, cache), areEqual: false };
    case 'firstKeys':
      return firstKeysCalls(given, cache, feature.count);
    case 'tree':
      return { ...draftCalls(given, cache), areEqual: false };
    case 'scoreMod':
      return scoreModCalls(given, cache, feature.builtIn);
    case 'maskMod':
      return maskModCalls(given, cache);
    case 'blockMask':
      return { own: blocksCall(given, cache, feature.of), plain: cachedCall(given, cache), areEqual: false };
    case 'sharedPrefix':
      return prefixCalls(given, cache);
  }
}

/** Every other block is hidden, those of a query's own keys never. */
function maskCall(given: Given, cache: FeatureCache): FeatureCall {
  const { device, benchCase, inputs } = given;
  const { nQueries, nKeys } = benchCase;
  const block = Math.max(1, Math.floor(nKeys / 16));
  const looksAt = (i: number, key: number): boolean =>
    (Math.floor(i / block) + Math.floor(key / block)) % 2 === 0;
  const width = Math.ceil(nKeys / 32);
  const words = new Uint32Array(nQueries * width);
  for (let i = 0; i < nQueries; i++)
    for (let key = 0; key < nKeys; key++)
      if (looksAt(i, key)) words[i * width + (key >> 5)]! |= 1 << (key & 31);
  const mask = upload(device, 'u32', [1, 1, nQueries, width], Float64Array.from(words));
  inputs.lent.push(mask);
  return {
    ...cachedCall(given, cache, { mask }),
    looksAt,
    moreBytes: words.byteLength,
    referenceOf: (i) => {
      return { mask: { data: words.subarray(i * width, (i + 1) * width), shape: [1, 1, 1, width] } };
    },
  };
}

function biasCall(given: Given, cache: FeatureCache): FeatureCall {
  const { device, benchCase, inputs } = given;
  const { nQueries, nKeys, dtype } = benchCase;
  const { tensor, host } = createInput(device, inputs.random, [1, 1, nQueries, nKeys], dtype);
  inputs.lent.push(tensor);
  return {
    ...cachedCall(given, cache, { bias: tensor }),
    moreBytes: elementCount(tensor.shape) * bytesPerElement(dtype),
    referenceOf: (i) => {
      const data = host.data.subarray(i * nKeys, (i + 1) * nKeys);
      return { bias: { data, shape: [1, 1, 1, nKeys] } };
    },
  };
}

/** The left window of an eighth of the keys. */
function windowOf({ nKeys }: FeatureCase): number {
  return Math.max(1, Math.floor(nKeys / 8));
}

function firstKeysCalls(given: Given, cache: FeatureCache, firstKeys: number): FeatureCalls {
  const { nQueries, nKeys } = given.benchCase;
  const width = windowOf(given.benchCase);
  const windowSize = [width - 1, 0] as const;
  const isNear = (i: number, key: number): boolean => nKeys - nQueries + i - key < width;
  return {
    own: {
      ...cachedCall(given, cache, { windowSize, firstKeys }),
      looksAt: (i, key) => key < firstKeys || isNear(i, key),
    },
    plain: { ...cachedCall(given, cache, { windowSize }), looksAt: isNear },
    areEqual: false,
  };
}

/** Low, so that a wrong one shows. */
const SOFTCAP = 2;

function scoreModCalls(given: Given, cache: FeatureCache, builtIn: 'softcap' | 'alibi'): FeatureCalls {
  const { device, benchCase, inputs } = given;
  if (builtIn === 'softcap') {
    const { mod, run } = softcapMod(SOFTCAP);
    const own = {
      ...cachedCall(given, cache, { scoreMod: mod }),
      referenceOf: () => {
        return { scoreMod: run };
      },
    };
    return { own, plain: cachedCall(given, cache, { softcap: SOFTCAP }), areEqual: true };
  }
  const { nHeads } = benchCase;
  const slopes = Float32Array.from({ length: nHeads }, (_, h) => 2 ** ((-8 * (h + 1)) / nHeads));
  const tensor = upload(device, 'f32', [nHeads], slopes);
  inputs.lent.push(tensor);
  const own = {
    ...cachedCall(given, cache, { scoreMod: alibiMod(tensor) }),
    referenceOf: () => {
      return { alibiSlopes: slopes };
    },
  };
  return { own, plain: cachedCall(given, cache, { alibiSlopes: tensor }), areEqual: true };
}

function maskModCalls(given: Given, cache: FeatureCache): FeatureCalls {
  const width = windowOf(given.benchCase);
  const { mod, run } = windowMod(width);
  const isNear = (i: number, key: number): boolean => i - key < width;
  const own = {
    ...cachedCall(given, cache, { maskMod: mod }),
    referenceOf: () => {
      return { maskMod: run };
    },
  };
  const plain = { ...cachedCall(given, cache, { windowSize: [width - 1, 0] }), looksAt: isNear };
  return { own, plain, areEqual: true };
}

/** A call of `attn` that visits the listed blocks alone; lists are made ahead, as they serve all layers. */
function blocksCall(given: Given, cache: FeatureCache, of: 'documents' | 'window'): FeatureCall {
  const { benchCase, inputs } = given;
  const { nKeys } = benchCase;
  const { mod: maskMod, run } =
    of === 'documents' ? documentsMod(Math.ceil(nKeys / 7)) : windowMod(windowOf(benchCase));
  const block = Math.min(128, Math.ceil(nKeys / 16));
  const isListed = listedBlocks(run, nKeys, block);
  return {
    ...cachedCall(given, cache),
    prepare(runtime, out) {
      const sizes = { seqlenQ: nKeys, seqlenK: nKeys, blockSize: [block, block] } as const;
      const blockMask = createBlockMask(runtime, { maskMod, ...sizes });
      inputs.lent.push(blockMask.kvIndices);
      const tensors = { q: inputs.q.tensor, k: cache.k.tensor, v: cache.v.tensor, out };
      return () => void attn(runtime, { ...tensors, causal: true, blockMask, maskMod });
    },
    looksAt: (i, key) => isListed(Math.floor(i / block), Math.floor(key / block)),
    referenceOf: () => {
      return { maskMod: run };
    },
  };
}

/** Whether any query of a block sees a key of another. */
function listedBlocks(sees: RunMask, nKeys: number, block: number): (row: number, column: number) => boolean {
  const n = Math.ceil(nKeys / block);
  const listed = new Uint8Array(n * n);
  for (let q = 0; q < nKeys; q++)
    for (let k = 0; k <= q; k++)
      if (sees(0, 0, q, k)) listed[Math.floor(q / block) * n + Math.floor(k / block)] = 1;
  return (row, column) => listed[row * n + column] === 1;
}

function prefixCalls(given: Given, cache: FeatureCache): FeatureCalls {
  const { batch, nKeys } = given.benchCase;
  const length = nKeys - OWN_TOKENS;
  const blockTable = given.inputs.pages!.blockTable.slice(0, length / PAGE_SIZE);
  const own = {
    ...cachedCall(given, cache, { sharedPrefix: { blockTable, length } }),
    nKeysRead: length + batch * OWN_TOKENS,
  };
  return { own, plain: cachedCall(given, cache), areEqual: true };
}
