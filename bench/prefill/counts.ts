import { bytesPerElement } from '../../src/core/dtype.js';
import { visibleBand } from '../../src/problem/band.js';
import { scoresBytes } from '../naive/naive.js';
import { windowOf, type PrefillCase } from './shapes.js';

/** (query, key) pairs of one head that the mask lets through. */
export function visiblePairs(benchCase: PrefillCase): number {
  const [left, right] = windowOf(benchCase);
  const { length } = benchCase;
  const keys = { firstKey: 0, kLen: length };
  let pairs = 0;
  for (let query = 0; query < length; query++) {
    const [first, last] = visibleBand(query, keys, { left, right, attentionChunk: 0 });
    pairs += Math.max(0, last - first + 1);
  }
  return pairs;
}

/** Multiplications and additions of the two products, over visible pairs only. */
export function flopsOf(benchCase: PrefillCase): number {
  return 2 * visiblePairs(benchCase) * 2 * benchCase.headDim * benchCase.nHeads;
}

/** Bytes that attention cannot do without: q, k and v read once, out written once. */
export function bytesOf({ length, nHeads, nKvHeads, headDim, dtype }: PrefillCase): number {
  return 2 * length * (nHeads + nKvHeads) * headDim * bytesPerElement(dtype);
}

/** Likewise for naive attention, which writes and reads each score twice besides, seen or not. */
export function naiveBytesOf(benchCase: PrefillCase): number {
  return bytesOf(benchCase) + 4 * naiveScoresBytes(benchCase);
}

/** Bytes of the scores of all heads. */
export function naiveScoresBytes({ nHeads, length }: PrefillCase): number {
  return scoresBytes({ batch: 1, nHeads, qLen: length, kLen: length });
}
