import type { DeviceTraits } from '../core/deviceTraits.js';
import { fail } from '../core/errors.js';
import type { TunedChunks } from '../core/tuning.js';
import { StepMemory } from '../core/stepMemory.js';
import { isTensor } from '../core/tensor.js';
import { splitParts } from '../kernels/shared/attention.js';
import { maxChunks } from '../kernels/shared/batchInfo.js';
import {
  isHostLengths,
  type AttentionProblem,
  type DeviceLengths,
  type HostLengths,
  type Masks,
} from '../problem/attentionProblem.js';
import { firstKeysEnd, visibleBand, type KeyRange } from '../problem/band.js';
import {
  bandOfTokens,
  firstTokenOf,
  masksByPosition,
  masksByTree,
  tokenPositions,
  type TokenSequence,
} from '../problem/tokenMasks.js';
import { chunkRule } from './chunkRule.js';

// A chunk is one of several pieces of the keys of one sequence. Each chunk of each tile of rows is a work item of its own.
// Its results are a part, which merge_states combines with the parts of the other chunks.

/** A sequence to plan for; where only bounds of its lengths are known, the longest that it may be. */
export interface SequenceToPlan extends KeyRange {
  readonly sequence: number;
  readonly qLen: number;
  /** Rows for each kv head: the query tokens of all heads that share it. */
  readonly nRows: number;
  /** Where masks are by token: see `TokenSequence`. */
  readonly positions?: TokenSequence['positions'];
}

/** The sequences that have queries. The list is one of `memory`. */
export function sequencesOf(
  problem: AttentionProblem,
  lengths: HostLengths | DeviceLengths,
  memory = new StepMemory(),
): readonly SequenceToPlan[] {
  const group = problem.nHeads / problem.nKvHeads;
  const known = isHostLengths(lengths) ? lengths : null;
  const { maxSeqlenQ, maxSeqlenK } = lengths as DeviceLengths;
  const sequences = memory.list<Mutable<SequenceToPlan>>('sequences');
  let n = 0;
  for (let sequence = 0; sequence < problem.batch; sequence++) {
    const qLen = known ? known.qLen[sequence]! : maxSeqlenQ;
    if (qLen === 0) continue;
    const each = (sequences[n++] ??= { sequence, qLen, kLen: 0, firstKey: 0, nRows: 0 });
    each.sequence = sequence;
    each.qLen = qLen;
    each.kLen = known ? known.kLen[sequence]! : maxSeqlenK;
    each.firstKey = known ? known.firstKey[sequence]! : 0;
    each.nRows = qLen * group;
    each.positions = positionsOf(problem, known, sequence);
  }
  sequences.length = n;
  return sequences;
}

/** What the host knows of the positions of a sequence's tokens. */
function positionsOf(
  { masks }: AttentionProblem,
  lengths: HostLengths | null,
  sequence: number,
): TokenSequence['positions'] {
  if (!masksByPosition(masks)) return 'indices';
  const positions = lengths?.tokens?.positions;
  if (!lengths || !positions || isTensor(positions)) return undefined;
  return tokenPositions(positions, firstTokenOf(masks.tokens!, lengths, sequence), lengths.qLen[sequence]!);
}

/** Returns how many tiles of keys the rows from firstRow to endRow, that one not included, see together. */
export function tilesSeen(
  { masks, nHeads, nKvHeads }: AttentionProblem,
  sequence: SequenceToPlan,
  firstRow: number,
  endRow: number,
  tileKeys: number,
): number {
  const group = nHeads / nKvHeads;
  const [firstToken, lastToken] = [Math.floor(firstRow / group), Math.floor((endRow - 1) / group)];
  const [first, last] = bandOfRows(masks, sequence, firstToken, lastToken);
  const inBand = last < first ? 0 : Math.floor(last / tileKeys) - Math.floor(first / tileKeys) + 1;
  if (masks.firstKeys === 0) return inBand;
  // A tree takes the place of causal order.
  const lastIndex = masksByTree(masks) ? sequence.kLen - 1 : lastToken + sequence.kLen - sequence.qLen;
  const end = firstKeysEnd(lastIndex, sequence, masks);
  if (end <= sequence.firstKey) return inBand;
  // Those that both need count once.
  const firstTile = Math.floor(sequence.firstKey / tileKeys);
  const endTile = Math.ceil(end / tileKeys);
  const shared = inBand === 0 ? 0 : Math.max(0, Math.min(endTile - Math.floor(first / tileKeys), inBand));
  return inBand + endTile - firstTile - shared;
}

/** From the first to the last key that tokens see together. */
function bandOfRows(
  masks: Masks,
  sequence: SequenceToPlan,
  firstToken: number,
  lastToken: number,
): readonly [first: number, last: number] {
  if (masksByPosition(masks) || masksByTree(masks))
    return bandOfTokens(sequence, masks, firstToken, lastToken);
  const toPosition = sequence.kLen - sequence.qLen;
  const [first] = visibleBand(firstToken + toPosition, sequence, masks);
  const [, last] = visibleBand(lastToken + toPosition, sequence, masks);
  return [first, last];
}

/** Fields that planning fills again. */
export type Mutable<T> = { -readonly [Field in keyof T]: T[Field] };

/** A sequence with the kernel that takes it, and the size of its tiles. */
export interface TiledSequence extends SequenceToPlan {
  readonly isDecode: boolean;
  readonly tileRows: number;
  readonly tileKeys: number;
}

/** A sequence this many times as long as its share of the work is not split yet: the device is nearly full. */
const NEARLY_FULL = 1.25;

/** Most bytes of partial results, unless the caller sets `numSplits`. */
export const MAX_PART_BYTES = 2 ** 25;

/**
 * Returns the number of chunks into which to split the keys of each sequence. Chunks are about equally long over all sequences, so
 * that a long sequence does not keep a few workgroups busy when the others have finished.
 *
 * @throws PageflashError `limit` if the parts of `numSplits` chunks are more than a device can bind
 */
export function chooseSplits(
  problem: AttentionProblem,
  sequences: readonly TiledSequence[],
  traits: DeviceTraits,
  memory = new StepMemory(),
): Int32Array {
  const tiles = memory.ints('tiles seen', sequences.length);
  sequences.forEach((sequence, i) => {
    tiles[i] = tilesSeen(problem, sequence, 0, sequence.nRows, sequence.tileKeys);
  });
  const chunkCounts = memory.ints('chunk counts', sequences.length);
  if (problem.numSplits > 0) return forcedSplits(problem, sequences, tiles, chunkCounts, traits);

  const rule = chunkRule(traits);
  const keysPerChunk = { decode: Infinity, prefill: Infinity };
  for (const kind of ['decode', 'prefill'] as const) {
    let workgroups = 0;
    let work = 0;
    let longest = 0;
    sequences.forEach(({ isDecode, nRows, tileRows, tileKeys }, i) => {
      if (isDecode !== (kind === 'decode')) return;
      const own = Math.ceil(nRows / tileRows) * problem.nKvHeads;
      workgroups += own;
      work += own * tiles[i]! * tileKeys;
      longest = Math.max(longest, tiles[i]! * tileKeys);
    });
    const target = kind === 'prefill' ? prefillWorkgroups(rule, traits) : rule.workgroups;
    // Where prefill alone fills the device, nothing is split: the longest items run first, which balances the load.
    if (kind === 'prefill' && workgroups >= target) continue;
    const share = work / target;
    if (longest <= NEARLY_FULL * share) continue;
    keysPerChunk[kind] = Math.max(rule.minKeys, share);
  }
  sequences.forEach(({ isDecode, tileKeys }, i) => {
    const tilesPerChunk = Math.ceil((isDecode ? keysPerChunk.decode : keysPerChunk.prefill) / tileKeys);
    chunkCounts[i] = Math.max(1, Math.ceil(tiles[i]! / tilesPerChunk));
  });
  const limit = Math.min(MAX_PART_BYTES, traits.maxBindingBytes);
  while (partBytes(problem, sequences, chunkCounts) > limit) {
    chunkCounts.forEach((n, i) => (chunkCounts[i] = Math.ceil(n / 2)));
  }
  return chunkCounts;
}

/** On GPUs a workgroup of attn_prefill has twice the invocations of one of attn_decode, and so fills twice as much. */
function prefillWorkgroups({ workgroups }: TunedChunks, { deviceClass }: DeviceTraits): number {
  return deviceClass === 'gpu' ? workgroups / 2 : workgroups;
}

function forcedSplits(
  problem: AttentionProblem,
  sequences: readonly TiledSequence[],
  tiles: Int32Array,
  chunkCounts: Int32Array,
  { maxBindingBytes }: DeviceTraits,
): Int32Array {
  tiles.forEach((n, i) => {
    const tilesPerChunk = Math.ceil(n / Math.min(problem.numSplits, maxChunks()));
    chunkCounts[i] = Math.max(1, Math.ceil(n / Math.max(1, tilesPerChunk)));
  });
  const bytes = partBytes(problem, sequences, chunkCounts);
  if (bytes <= maxBindingBytes) return chunkCounts;
  fail(
    'limit',
    problem.caller,
    `numSplits = ${problem.numSplits} needs ${bytes} bytes for the parts of the output; this device binds at most ${maxBindingBytes}. Pass fewer, or 0 to let it be chosen.`,
  );
}

function partBytes(
  problem: AttentionProblem,
  sequences: readonly TiledSequence[],
  chunkCounts: Int32Array,
): number {
  const nParts = sequences.reduce(
    (sum, { qLen }, i) => sum + (chunkCounts[i]! > 1 ? qLen * chunkCounts[i]! : 0),
    0,
  );
  return splitParts(problem, nParts).scratch.bytes;
}
