import type { DeviceTraits } from '../core/deviceTraits.js';
import type { AttentionProblem, Masks } from '../problem/attentionProblem.js';
import { masksByPosition } from '../problem/tokenMasks.js';
import { chooseTile, type AssignedSequence } from './attentionWork.js';
import { chunkRule } from './chunkRule.js';
import { chooseSplits, tilesSeen, type SequenceToPlan } from './splits.js';

/** How long the sequences of a step may be. */
export interface StepBounds {
  /** New tokens of a sequence, at most. */
  readonly maxTokens: number;
  /** Keys of a sequence, new ones included, at most. */
  readonly maxContext: number;
}

/** A step of one sequence. */
export interface SequenceStep {
  readonly qLen: number;
  readonly kLen: number;
}

/**
 * Steps that together make the planner choose every kernel variant which it can choose for a step within the bounds:
 * every tile, and for each tile whole keys and chunks of keys, where both are possible.
 *
 * Steps of one sequence suffice: other sequences beside it can only make the number of chunks smaller. So if a sequence is
 * ever split, it is split when it is alone, with as few queries and as many visible keys as possible.
 */
export function representativeSteps(
  problem: AttentionProblem,
  bounds: StepBounds,
  traits: DeviceTraits,
): SequenceStep[] {
  const steps: SequenceStep[] = [];
  const known = new Set<string>();
  const split = new Set<string>();
  for (const { qLen, assigned } of queries(problem, bounds, traits)) {
    const tile = `${assigned.isDecode} ${assigned.tileRows}`;
    if (!known.has(tile)) steps.push({ qLen, kLen: qLen });
    known.add(tile);
    if (split.has(tile)) continue;
    const kLen = longestContext(problem, qLen, bounds, assigned.tileKeys);
    const [nChunks] = chooseSplits(problem, [{ ...assigned, ...sequenceOf(problem, qLen, kLen) }], traits);
    if (nChunks! < 2) continue;
    steps.push({ qLen, kLen });
    // Longer ones have the same tile.
    if (!assigned.isDecode) break;
    split.add(tile);
  }
  return steps;
}

/**
 * Numbers of new tokens for which the planner may choose differently: each small number, then the largest that fits into
 * one, two, … tiles of rows, as long as so few tiles may be split into chunks.
 */
function* queries(
  problem: AttentionProblem,
  bounds: StepBounds,
  traits: DeviceTraits,
): Generator<{ readonly qLen: number; readonly assigned: AssignedSequence }> {
  const most = Math.min(bounds.maxTokens, bounds.maxContext);
  let qLen = 0;
  let assigned: AssignedSequence;
  do {
    if (++qLen > most) return;
    const sequence = sequenceOf(problem, qLen, qLen);
    assigned = { ...sequence, ...chooseTile(problem, sequence, traits) };
    yield { qLen, assigned };
  } while (assigned.isDecode);
  const group = problem.nHeads / problem.nKvHeads;
  const limit = problem.numSplits > 0 ? Infinity : chunkRule(traits).workgroups;
  const { tileRows, nRows } = assigned;
  for (let tiles = Math.ceil(nRows / tileRows); qLen < most && tiles * problem.nKvHeads < limit; tiles++) {
    qLen = Math.min(Math.max(Math.floor((tiles * tileRows) / group), qLen), most);
    yield { qLen, assigned };
  }
}

function sequenceOf(
  { nHeads, nKvHeads, masks }: AttentionProblem,
  qLen: number,
  kLen: number,
): SequenceToPlan {
  const positions = masksByPosition(masks) ? undefined : 'indices';
  return { sequence: 0, qLen, kLen, firstKey: 0, nRows: (qLen * nHeads) / nKvHeads, positions };
}

/** The number of keys within the bounds with which so many queries see the most tiles. */
function longestContext(
  problem: AttentionProblem,
  qLen: number,
  { maxContext }: StepBounds,
  tileKeys: number,
): number {
  let best = maxContext;
  let most = 0;
  for (const kLen of contexts(problem.masks, qLen, maxContext, tileKeys)) {
    if (kLen < qLen || kLen > maxContext) continue;
    const sequence = sequenceOf(problem, qLen, kLen);
    const tiles = tilesSeen(problem, sequence, 0, sequence.nRows, tileKeys);
    if (tiles > most) [best, most] = [kLen, tiles];
  }
  return best;
}

/** The most keys; with a window or chunks of attention also fewer, so that visible keys begin anywhere in a tile. */
function* contexts(
  { left, attentionChunk }: Masks,
  qLen: number,
  maxContext: number,
  tileKeys: number,
): Generator<number> {
  yield maxContext;
  const shifts = left >= 0 ? tileKeys : 1;
  for (let shift = 1; shift < shifts; shift++) yield maxContext - shift;
  if (attentionChunk === 0) return;
  // The first query is the last of its chunk of attention; these lie differently among tiles.
  const whole = Math.floor((maxContext - qLen + 1) / attentionChunk);
  for (let n = whole; n > Math.max(0, whole - tileKeys); n--)
    for (let shift = 0; shift < shifts; shift++) yield n * attentionChunk - 1 + qLen - shift;
}
