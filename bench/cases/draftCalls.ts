import { roundTo } from '../../src/core/dtype.js';
import type { AttnWithKvCacheArgs } from '../../src/index.js';
import type { HostTensor, HostWords } from '../../src/reference/attention.js';
import { rotate } from '../../src/reference/attnWithKvCache.js';
import { upload } from '../../tools/deviceTensor.js';
import { cachedCall, type FeatureCall, type Given } from './featureCall.js';
import { rowOfKey, type FeatureCache } from './featureInputs.js';
import { createInput, type Input } from './workload.js';

/**
 * A step of speculative decoding, which verifies drafts: they are appended, rotated by their positions, and attend to the cache
 * and to each other. Those of the plain call are a chain.
 */
export function draftCalls(
  given: Given,
  cache: FeatureCache,
): { readonly own: FeatureCall; readonly plain: FeatureCall } {
  const { device, benchCase, inputs } = given;
  const { nQueries, nKeys, nKvHeads, headDim, dtype } = benchCase;
  const nCached = nKeys - nQueries;
  const create = (): Input => {
    const input = createInput(device, inputs.random, [1, nQueries, nKvHeads, headDim], dtype);
    inputs.lent.push(input.tensor);
    return input;
  };
  const drafts = { k: create(), v: create() };
  const angles = anglesOf(nKeys, headDim);
  const place = ({ data, shape }: HostTensor) => {
    const tensor = upload(device, 'f32', shape, data);
    inputs.lent.push(tensor);
    return tensor;
  };
  const [rotaryCos, rotarySin] = [place(angles.cos), place(angles.sin)];
  const appending = { k: drafts.k.tensor, v: drafts.v.tensor, cacheSeqlens: nCached, rotaryCos, rotarySin };

  const callOf = (options: Partial<AttnWithKvCacheArgs>, positions: ArrayLike<number>): FeatureCall => {
    const appended = appendedCache(given, cache, { drafts, positions, angles });
    return {
      ...cachedCall(given, appended, { ...appending, ...options }),
      referenceOf: (i) => {
        return { rotaryCos: angles.cos, rotarySin: angles.sin, positions: [positions[i]!] };
      },
    };
  };

  const parents = Array.from({ length: nQueries }, (_, t) => (t === 0 ? -1 : inputs.random.int(0, t)));
  const { treeMask, depths, sees } = treeOf(parents);
  const positions = depths.map((depth) => nCached + depth);
  const tree = callOf({ treeMask, positions }, positions);
  const looksAt = (i: number, key: number): boolean => key < nCached || sees(i, key - nCached);
  return {
    own: {
      ...tree,
      looksAt,
      // Among the keys up to a query's own, a mask says what the tree says.
      referenceOf: (i) => ({ ...tree.referenceOf(i), mask: wordsOf(nKeys, (key) => looksAt(i, key)) }),
    },
    plain: callOf(
      {},
      Array.from({ length: nQueries }, (_, t) => nCached + t),
    ),
  };
}

/** Nodes see themselves and what they come from. */
function treeOf(parents: readonly number[]) {
  const n = parents.length;
  const words = Math.ceil(n / 32);
  const treeMask = new Uint32Array(n * words);
  const sees = (i: number, t: number): boolean => ((treeMask[i * words + (t >> 5)]! >>> (t & 31)) & 1) === 1;
  const depths = new Int32Array(n);
  parents.forEach((parent, i) => {
    if (parent >= 0) {
      for (let w = 0; w < words; w++) treeMask[i * words + w] = treeMask[parent * words + w]!;
      depths[i] = depths[parent]! + 1;
    }
    treeMask[i * words + (i >> 5)]! |= 1 << (i & 31);
  });
  return { treeMask, depths, sees };
}

function wordsOf(nKeys: number, sees: (key: number) => boolean): HostWords {
  const data = new Uint32Array(Math.ceil(nKeys / 32));
  for (let key = 0; key < nKeys; key++) if (sees(key)) data[key >> 5]! |= 1 << (key & 31);
  return { data, shape: [1, 1, 1, data.length] };
}

interface Angles {
  /** [L, D / 2] */
  readonly cos: HostTensor;
  readonly sin: HostTensor;
}

/** Rotary embedding of whole heads, with the usual base. */
function anglesOf(nPositions: number, headDim: number): Angles {
  const nPairs = headDim / 2;
  const table = (f: (angle: number) => number): HostTensor => {
    const data = Float32Array.from({ length: nPositions * nPairs }, (_, at) =>
      f(Math.floor(at / nPairs) * 10000 ** (-(at % nPairs) / nPairs)),
    );
    return { data, shape: [nPositions, nPairs] };
  };
  return { cos: table(Math.cos), sin: table(Math.sin) };
}

interface Drafts {
  readonly drafts: { readonly k: Input; readonly v: Input };
  readonly positions: ArrayLike<number>;
  readonly angles: Angles;
}

/** The same buffers, with the host's numbers as they are once the drafts are appended. */
function appendedCache(
  given: Given,
  cache: FeatureCache,
  { drafts, positions, angles }: Drafts,
): FeatureCache {
  const { inputs, benchCase } = given;
  const { nQueries, nKeys, nKvHeads, headDim, dtype } = benchCase;
  const append = (to: Input, from: Input, isRotated: boolean): Input => {
    const data = to.host.data.slice();
    for (let t = 0; t < nQueries; t++) {
      const row = rowOfKey(inputs, { sequence: 0, key: nKeys - nQueries + t });
      for (let h = 0; h < nKvHeads; h++) {
        const at = (t * nKvHeads + h) * headDim;
        const head = Float64Array.from(from.host.data.subarray(at, at + headDim));
        if (isRotated) rotate(head, positions[t]!, { ...angles, interleaved: true });
        data.set(
          head.map((x) => roundTo(dtype, x)),
          (row * nKvHeads + h) * headDim,
        );
      }
    }
    return { tensor: to.tensor, host: { data, shape: to.host.shape } };
  };
  return { ...cache, k: append(cache.k, drafts.k, true), v: append(cache.v, drafts.v, false) };
}
