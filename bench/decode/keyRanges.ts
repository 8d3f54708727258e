import type { AttentionProblem, HostLengths } from '../../src/problem/attentionProblem.js';
import { visibleBand } from '../../src/problem/band.js';

// Which keys and which tiles of keys a workgroup of the attention kernels walks.

/** Keys first to last, both included; none if last < first. */
export interface KeyRange {
  readonly first: number;
  readonly last: number;
}

export interface TileRange {
  readonly first: number;
  readonly end: number;
}

export function nKeys({ first, last }: KeyRange): number {
  return Math.max(0, last - first + 1);
}

/** The keys that any of some tokens of a sequence sees. */
export function seenBy(
  { masks }: AttentionProblem,
  lengths: HostLengths,
  sequence: number,
  [firstToken, lastToken]: readonly [number, number],
): KeyRange {
  const keys = { firstKey: lengths.firstKey[sequence]!, kLen: lengths.kLen[sequence]! };
  const toPosition = keys.kLen - lengths.qLen[sequence]!;
  const [first] = visibleBand(firstToken + toPosition, keys, masks);
  const [, last] = visibleBand(lastToken + toPosition, keys, masks);
  return { first, last };
}

/** The tiles of a chunk: twin of `tiles_of` in attention.wgsl. */
export function tilesOf(
  seen: KeyRange,
  tileKeys: number,
  [chunk, nChunks]: readonly [number, number],
): TileRange {
  if (nKeys(seen) === 0) return { first: 0, end: 0 };
  const first = Math.floor(seen.first / tileKeys);
  const end = Math.floor(seen.last / tileKeys) + 1;
  const perChunk = Math.ceil((end - first) / nChunks);
  const start = first + chunk * perChunk;
  return { first: start, end: Math.min(start + perChunk, end) };
}

/** The keys seen that lie in some tiles. */
export function keysIn(seen: KeyRange, tileKeys: number, { first, end }: TileRange): KeyRange {
  return { first: Math.max(seen.first, first * tileKeys), last: Math.min(seen.last, end * tileKeys - 1) };
}

/** Entries of the block table for the keys of some tiles, where the nearest key seen stands in for one that is not. */
export function entriesOf(
  seen: KeyRange,
  tileKeys: number,
  { first, end }: TileRange,
  pageSize: number,
): number {
  const entryAt = (key: number): number =>
    Math.floor(Math.min(Math.max(key, seen.first), Math.max(seen.first, seen.last)) / pageSize);
  return entryAt(end * tileKeys - 1) - entryAt(first * tileKeys) + 1;
}
