import type { FloatDType } from '../core/dtype.js';
import { roundTo } from '../core/halves.js';
import type { Sequence } from './attend.js';
import { lastSizes, sizes4, type HostTensor } from './hostTensor.js';
import { rotate, type Rotary } from './rotary.js';

export interface CachedSequence extends Sequence {
  /** Tokens in the cache before the new ones; keyRows has both. */
  readonly nCached: number;
}

export interface AppendKvArgs {
  readonly q: HostTensor;
  readonly kCache: HostTensor;
  readonly vCache: HostTensor;
  /** New tokens [B, Snew, Hkv, D], of which token t of a sequence goes to its key nCached + t */
  readonly k: HostTensor | undefined;
  /** New tokens [B, Snew, Hkv, Dv] */
  readonly v: HostTensor | undefined;
  readonly sequences: readonly CachedSequence[];
  readonly rotary: Rotary | undefined;
  /** Query i stands at nCached + i; otherwise every query of a sequence stands at nCached. */
  readonly queriesAdvance: boolean;
  /** The type of q and of the caches. */
  readonly dtype: FloatDType;
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
  const { q, kCache, vCache, k, v, sequences, rotary, dtype } = args;
  return {
    q: rotary ? rotateQueries(args, rotary) : q,
    kCache: k ? append({ cache: kCache, fresh: k, sequences, rotary, dtype }) : kCache,
    vCache: v ? append({ cache: vCache, fresh: v, sequences, rotary: undefined, dtype }) : vCache,
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

interface AppendArgs extends Pick<AppendKvArgs, 'sequences' | 'rotary' | 'dtype'> {
  readonly cache: HostTensor;
  readonly fresh: HostTensor;
}

function append({ cache, fresh, sequences, rotary, dtype }: AppendArgs): HostTensor {
  const [, nNew, nKvHeads, headDim] = sizes4('the new tokens', fresh);
  const data = cache.data.slice();
  sequences.forEach(({ nCached, keyRows }, b) => {
    for (let t = 0; t < nNew; t++)
      for (let kvHead = 0; kvHead < nKvHeads; kvHead++) {
        const from = ((b * nNew + t) * nKvHeads + kvHead) * headDim;
        const token = Float64Array.from(fresh.data.subarray(from, from + headDim));
        if (rotary) rotate(token, nCached + t, rotary);
        roundAll(token, dtype);
        data.set(token, (keyRows[nCached + t]! * nKvHeads + kvHead) * headDim);
      }
  });
  return { data, shape: cache.shape };
}

function roundAll(values: Float64Array, dtype: FloatDType): void {
  for (let d = 0; d < values.length; d++) values[d] = roundTo(dtype, values[d]!);
}
