import { formatBytes, refuse } from '../engineError.js';
import type { NaiveRotary } from './naiveOps.js';

export interface NaiveSizes {
  readonly nHeads: number;
  readonly nKvHeads: number;
  readonly headDim: number;
  /** Of qkv, the cache and out. */
  readonly dtype: 'f32' | 'f16';
  readonly nLayers: number;
  /** Sequences that the cache holds. */
  readonly nSlots: number;
  /** Tokens that it holds of each, whether there are so many or not. */
  readonly capacity: number;
}

/** Returns what the keys of a layer take, and so do the values. */
export function naiveTensorBytes({ nKvHeads, headDim, dtype, nSlots, capacity }: NaiveSizes): number {
  return nSlots * capacity * nKvHeads * headDim * (dtype === 'f32' ? 4 : 2);
}

/** Returns what the caches of all layers take. */
export function naiveCacheBytes(sizes: NaiveSizes): number {
  return 2 * sizes.nLayers * naiveTensorBytes(sizes);
}

/** @throws RangeError for heads that cannot be attended with */
export function checkHeads(
  { nHeads, nKvHeads, headDim }: NaiveSizes,
  rotaries: readonly NaiveRotary[],
): void {
  if (nHeads % nKvHeads !== 0)
    throw new RangeError(
      `naive attention: ${nHeads} query heads are not a multiple of ${nKvHeads} kv heads.`,
    );
  if (headDim % 2 !== 0) throw new RangeError(`naive attention: headDim must be even, not ${headDim}.`);
  for (const { rotaryDim } of rotaries)
    if (rotaryDim % 2 !== 0 || rotaryDim > headDim)
      throw new RangeError(
        `naive attention: rotaryDim must be even and at most headDim, ${headDim}, not ${rotaryDim}.`,
      );
}

interface Room {
  readonly limits: Pick<GPUSupportedLimits, 'maxStorageBufferBindingSize' | 'maxBufferSize'>;
  /** What the scores that are in memory at once may take. */
  readonly budget: number;
  readonly maxRows: number;
}

/**
 * Returns the bytes of scores to have in memory at once: what the largest step has, or as much of it as the budget and
 * the device allow.
 *
 * @throws EngineError if the keys of a layer, or the scores of one query, do not fit
 */
export function scoresBytesOf(sizes: NaiveSizes, { limits, budget, maxRows }: Room): number {
  const { nHeads, nSlots, capacity } = sizes;
  const largest = Math.min(limits.maxStorageBufferBindingSize, limits.maxBufferSize);
  const tensorBytes = naiveTensorBytes(sizes);
  if (tensorBytes > largest)
    refuse(
      `Naive attention does not fit: the keys of a layer, of ${nSlots} sequences of up to ${capacity} tokens, take ` +
        `${formatBytes(tensorBytes)}, and the device binds at most ${formatBytes(largest)}.`,
    );
  const rowBytes = nHeads * capacity * 4;
  const most = Math.min(largest, budget);
  if (rowBytes > most)
    refuse(
      `Naive attention does not fit: the scores of one token with ${capacity} keys take ${formatBytes(rowBytes)}, and ` +
        `there are at most ${formatBytes(most)} for them.`,
    );
  return Math.min(most, maxRows * rowBytes);
}
