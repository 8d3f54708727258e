import type { DeviceTraits } from '../core/deviceTraits.js';
import { fail } from '../core/errors.js';
import { maxChunks, splitParts } from '../kernels/shared/attention.js';
import {
  isHostLengths,
  type AttentionProblem,
  type DeviceLengths,
  type HostLengths,
} from '../problem/attentionProblem.js';
import { visibleBand, type KeyRange } from '../problem/band.js';

/** A sequence to plan for; where only bounds of its lengths are known, the longest that it may be. */
export interface Span extends KeyRange {
  readonly sequence: number;
  readonly qLen: number;
  /** Rows for each kv head: the query tokens of all heads that share it. */
  readonly nRows: number;
}

/** The sequences that have queries. */
export function spansOf(problem: AttentionProblem, lengths: HostLengths | DeviceLengths): Span[] {
  const group = problem.nHeads / problem.nKvHeads;
  const spans: Span[] = [];
  for (let sequence = 0; sequence < problem.batch; sequence++) {
    const [qLen, kLen, firstKey] = isHostLengths(lengths)
      ? [lengths.qLen[sequence]!, lengths.kLen[sequence]!, lengths.firstKey[sequence]!]
      : [lengths.maxSeqlenQ, lengths.maxSeqlenK, 0];
    if (qLen > 0) spans.push({ sequence, qLen, kLen, firstKey, nRows: qLen * group });
  }
  return spans;
}

/** The number of tiles of keys that any row of [firstRow, endRow) sees. */
export function tilesSeen(
  { masks, nHeads, nKvHeads }: AttentionProblem,
  span: Span,
  [firstRow, endRow]: readonly [number, number],
  tileKeys: number,
): number {
  const group = nHeads / nKvHeads;
  const toPosition = span.kLen - span.qLen;
  const [first] = visibleBand(Math.floor(firstRow / group) + toPosition, span, masks);
  const [, last] = visibleBand(Math.floor((endRow - 1) / group) + toPosition, span, masks);
  return last < first ? 0 : Math.floor(last / tileKeys) - Math.floor(first / tileKeys) + 1;
}

/** A sequence with what splitting must know of the kernel that takes it. */
export interface Routed extends Span {
  readonly isDecode: boolean;
  readonly tileRows: number;
  readonly tileKeys: number;
}

/** Workgroups that fill a device evenly: several for each of its cores. */
export const TARGET: Readonly<Record<DeviceTraits['deviceClass'], number>> = { software: 16, gpu: 512 };

/** Keys below which a chunk costs more to start and to merge than it saves. */
const MIN_CHUNK_KEYS: Readonly<Record<DeviceTraits['deviceClass'], number>> = { software: 1024, gpu: 256 };

/** More memory for parts is only used if the caller sets `numSplits`. */
const MAX_PART_BYTES = 2 ** 25;

/**
 * The number of chunks into which to split the keys of each sequence. Chunks are about equally long over all sequences, so
 * that a long sequence does not keep a few workgroups busy when the others have finished.
 *
 * @throws PageflashError `limit` if the parts of `numSplits` chunks are more than a device can bind
 */
export function chooseSplits(
  problem: AttentionProblem,
  routed: readonly Routed[],
  traits: DeviceTraits,
): number[] {
  const tiles = routed.map((span) => tilesSeen(problem, span, [0, span.nRows], span.tileKeys));
  if (problem.numSplits > 0) return forcedSplits(problem, routed, tiles, traits);

  const keysPerChunk = { decode: Infinity, prefill: Infinity };
  for (const kind of ['decode', 'prefill'] as const) {
    let workgroups = 0;
    let work = 0;
    routed.forEach((span, i) => {
      if (span.isDecode !== (kind === 'decode')) return;
      const own = Math.ceil(span.nRows / span.tileRows) * problem.nKvHeads;
      workgroups += own;
      work += own * tiles[i]! * span.tileKeys;
    });
    const target = TARGET[traits.deviceClass];
    // Prefills that fill the device begin with their longest rows, which balances the load without parts to merge.
    if (kind === 'prefill' && workgroups >= target) continue;
    keysPerChunk[kind] = Math.max(MIN_CHUNK_KEYS[traits.deviceClass], work / target);
  }
  const splits = routed.map(({ isDecode, tileKeys }, i) => {
    const tilesPerChunk = Math.ceil((isDecode ? keysPerChunk.decode : keysPerChunk.prefill) / tileKeys);
    return Math.max(1, Math.ceil(tiles[i]! / tilesPerChunk));
  });
  const limit = Math.min(MAX_PART_BYTES, traits.maxBindingBytes);
  while (partBytes(problem, routed, splits) > limit) {
    splits.forEach((n, i) => (splits[i] = Math.ceil(n / 2)));
  }
  return splits;
}

function forcedSplits(
  problem: AttentionProblem,
  routed: readonly Routed[],
  tiles: readonly number[],
  { maxBindingBytes }: DeviceTraits,
): number[] {
  const splits = tiles.map((n) => {
    const tilesPerChunk = Math.ceil(n / Math.min(problem.numSplits, maxChunks()));
    return Math.max(1, Math.ceil(n / Math.max(1, tilesPerChunk)));
  });
  const bytes = partBytes(problem, routed, splits);
  if (bytes <= maxBindingBytes) return splits;
  fail(
    'limit',
    problem.caller,
    `numSplits = ${problem.numSplits} needs ${bytes} bytes for the parts of the output; this device binds at most ${maxBindingBytes}. Pass fewer, or 0 to let it be chosen.`,
  );
}

function partBytes(problem: AttentionProblem, routed: readonly Routed[], splits: readonly number[]): number {
  const nSlots = routed.reduce((sum, { qLen }, i) => sum + (splits[i]! > 1 ? qLen * splits[i]! : 0), 0);
  return splitParts(problem, nSlots).out.bytes;
}
