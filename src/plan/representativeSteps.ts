import type { DeviceTraits } from '../core/deviceTraits.js';
import type { AttentionProblem, Masks } from '../problem/attentionProblem.js';
import { routeOf, type Route } from './attentionWork.js';
import { chooseSplits, TARGET, tilesSeen, type Span } from './splits.js';

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
 * Steps that between them take every way through the planner which a step within the bounds can take: every tile, and
 * of each the whole keys and chunks of them, where both can be.
 *
 * A step of one sequence is enough: others beside it change which chunks are worth while, but only towards fewer. So it
 * is split in some step if it is when it is alone, with as few queries as see as many keys as possible.
 */
export function representativeSteps(
  problem: AttentionProblem,
  bounds: StepBounds,
  traits: DeviceTraits,
): SequenceStep[] {
  const steps: SequenceStep[] = [];
  const known = new Set<string>();
  const split = new Set<string>();
  for (const { qLen, route } of queries(problem, bounds, traits)) {
    const tile = `${route.isDecode} ${route.tileRows}`;
    if (!known.has(tile)) steps.push({ qLen, kLen: qLen });
    known.add(tile);
    if (split.has(tile)) continue;
    const kLen = longestContext(problem, qLen, bounds, route.tileKeys);
    const [nChunks] = chooseSplits(problem, [{ ...route, ...spanOf(problem, qLen, kLen) }], traits);
    if (nChunks! < 2) continue;
    steps.push({ qLen, kLen });
    // Longer ones have the same tile.
    if (!route.isDecode) break;
    split.add(tile);
  }
  return steps;
}

/**
 * Numbers of new tokens that may be taken differently: each of those that are few, then the most that fit into so many
 * tiles of rows, as long as these leave room for chunks.
 */
function* queries(
  problem: AttentionProblem,
  bounds: StepBounds,
  traits: DeviceTraits,
): Generator<{ readonly qLen: number; readonly route: Route }> {
  const most = Math.min(bounds.maxTokens, bounds.maxContext);
  let qLen = 0;
  let route: Route;
  do {
    if (++qLen > most) return;
    route = routeOf(problem, spanOf(problem, qLen, qLen), traits);
    yield { qLen, route };
  } while (route.isDecode);
  const group = problem.nHeads / problem.nKvHeads;
  const limit = problem.numSplits > 0 ? Infinity : TARGET[traits.deviceClass];
  const { tileRows, nRows } = route;
  for (let tiles = Math.ceil(nRows / tileRows); qLen < most && tiles * problem.nKvHeads < limit; tiles++) {
    qLen = Math.min(Math.max(Math.floor((tiles * tileRows) / group), qLen), most);
    yield { qLen, route };
  }
}

function spanOf({ nHeads, nKvHeads }: AttentionProblem, qLen: number, kLen: number): Span {
  return { sequence: 0, qLen, kLen, firstKey: 0, nRows: (qLen * nHeads) / nKvHeads };
}

/** The number of keys within the bounds of which so many queries see most tiles. */
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
    const span = spanOf(problem, qLen, kLen);
    const tiles = tilesSeen(problem, span, [0, span.nRows], tileKeys);
    if (tiles > most) [best, most] = [kLen, tiles];
  }
  return best;
}

/** All keys, unless a window or a chunk of attention limits them: then what is seen begins and ends anywhere in a tile. */
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
  // The first query is the last of its chunk, of one of the chunks that lie differently among tiles.
  const whole = Math.floor((maxContext - qLen + 1) / attentionChunk);
  for (let chunk = whole; chunk > Math.max(0, whole - tileKeys); chunk--)
    for (let shift = 0; shift < shifts; shift++) yield chunk * attentionChunk - 1 + qLen - shift;
}
