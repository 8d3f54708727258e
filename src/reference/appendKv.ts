import { roundTo, type FloatDType } from '../core/dtype.js';
import type { Sequence } from './attend.js';
import { lastSizes, type HostTensor } from './hostTensor.js';
import { NO_ROW } from './keyRows.js';
import { rotate, type Rotary } from './rotary.js';

export interface CachedSequence extends Sequence {
  /** Tokens in the cache before the new ones; keyRows has both. */
  readonly nCached: number;
  /** The first of its new tokens among those of all sequences. */
  readonly firstNew: number;
}

export interface AppendKvArgs {
  readonly q: HostTensor;
  readonly kCache: HostTensor;
  readonly vCache: HostTensor;
  /** New tokens [..., Hkv, D], of which token t of a sequence goes to its key nCached + t */
  readonly k: HostTensor | undefined;
  /** New tokens [..., Hkv, Dv] */
  readonly v: HostTensor | undefined;
  readonly sequences: readonly CachedSequence[];
  readonly rotary: Rotary | undefined;
  /** Query i stands at nCached + i; otherwise every query of a sequence stands at nCached. */
  readonly queriesAdvance: boolean;
  /** The type of q. */
  readonly dtype: FloatDType;
  /** The type of the caches. */
  readonly kvDType: FloatDType;
}

export interface AppendKvResult {
  /** Rotated. */
  readonly q: HostTensor;
  /** With the new tokens, keys rotated. */
  readonly kCache: HostTensor;
  readonly vCache: HostTensor;
}

/** What happens before attending to a cache: queries and new keys are rotated, new tokens written to their slots. */
export function appendKv(args: AppendKvArgs): AppendKvResult {
  const { q, kCache, vCache, k, v, sequences, rotary, kvDType } = args;
  return {
    q: rotary ? rotateQueries(args, rotary) : q,
    kCache: k ? append({ cache: kCache, fresh: k, sequences, rotary, kvDType }) : kCache,
    vCache: v ? append({ cache: vCache, fresh: v, sequences, rotary: undefined, kvDType }) : vCache,
  };
}

function rotateQueries({ q, sequences, queriesAdvance, dtype }: AppendKvArgs, rotary: Rotary): HostTensor {
  const [nHeads, headDim] = lastSizes(q);
  const data = Float64Array.from(q.data);
  for (const { firstQuery, nQueries, nCached } of sequences)
    for (let i = 0; i < nQueries; i++)
      for (let head = 0; head < nHeads; head++) {
        const from = ((firstQuery + i) * nHeads + head) * headDim;
        const query = data.subarray(from, from + headDim);
        rotate(query, queriesAdvance ? nCached + i : nCached, rotary);
        roundAll(query, dtype);
      }
  return { data, shape: q.shape };
}

interface AppendArgs extends Pick<AppendKvArgs, 'sequences' | 'rotary' | 'kvDType'> {
  readonly cache: HostTensor;
  readonly fresh: HostTensor;
}

function append({ cache, fresh, sequences, rotary, kvDType }: AppendArgs): HostTensor {
  const [nKvHeads, headDim] = lastSizes(fresh);
  const data = cache.data.slice();
  sequences.forEach(({ nCached, firstNew, keyRows }) => {
    for (let t = 0; nCached + t < keyRows.length; t++) {
      const row = keyRows[nCached + t]!;
      if (row === NO_ROW) continue;
      for (let kvHead = 0; kvHead < nKvHeads; kvHead++) {
        const from = ((firstNew + t) * nKvHeads + kvHead) * headDim;
        const token = Float64Array.from(fresh.data.subarray(from, from + headDim));
        if (rotary) rotate(token, nCached + t, rotary);
        roundAll(token, kvDType);
        data.set(token, (row * nKvHeads + kvHead) * headDim);
      }
    }
  });
  return { data, shape: cache.shape };
}

function roundAll(values: Float64Array, dtype: FloatDType): void {
  for (let d = 0; d < values.length; d++) values[d] = roundTo(dtype, values[d]!);
}
