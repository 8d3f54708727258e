import type { DeviceTraits } from '../core/deviceTraits.js';
import type { Dispatch, Scratch } from '../core/dispatch.js';
import { UNKNOWN_PACE, type Pace } from '../core/pace.js';
import { StepMemory } from '../core/stepMemory.js';
import { attnDecodeDispatch } from '../kernels/attnDecode.js';
import { attnMatrixDispatch } from '../kernels/attnMatrix.js';
import { attnPrefillDispatch } from '../kernels/attnPrefill.js';
import { classifiesTiles, maskTilesDispatch, tileLinks } from '../kernels/maskTiles.js';
import { canLinkTiles } from '../kernels/shared/optionalBuffers.js';
import { mergeChunksDispatch, packSplitTokens, type SharedParts } from '../kernels/mergeStates.js';
import {
  splitParts,
  type AttentionWork,
  type SplitParts,
  type TileLinks,
} from '../kernels/shared/attention.js';
import { packItems } from '../kernels/shared/batchInfo.js';
import type { AttentionProblem } from '../problem/attentionProblem.js';
import { attentionWork, tileKeysOf, tileRowsOf, type KernelTile, type WorkList } from './attentionWork.js';
import { cutsOf } from './dispatchCuts.js';
import { planBatchInfo, type Lengths } from './planBatchInfo.js';
import type { Cascade } from './sharedPrefix.js';

/** What all dispatches of a plan have in common. */
export interface Shared<Problem = AttentionProblem> {
  readonly problem: Problem;
  readonly batchInfo: Uint32Array | Scratch;
  readonly maxWorkgroupsPerDimension: number;
  readonly memory: StepMemory;
}

/** What planning depends on besides the problem and the device, and what has no effect on results. */
export interface PlanContext {
  /** How fast the device has proven to be: long work is cut accordingly. */
  readonly pace?: Pace;
  /**
   * That of the plan of a step: dispatches that the last step had too are returned as they were, with their arrays filled
   * again.
   */
  readonly memory?: StepMemory;
}

/** What happens before attention: appends and rotations. */
export interface AppendPlan {
  readonly dispatches: readonly Dispatch[];
  /** Where attention finds its queries, if they had to be rotated or turned. */
  readonly rotatedQ: Scratch | null;
  /** Where attention leaves its output, if that is to be turned; and what happens to it there. */
  readonly turnedOut: Scratch | null;
  readonly after: readonly Dispatch[];
}

/**
 * Plans attention that appends nothing. `planCachedAttention` plans any; an engine that never appends does not load it.
 *
 * @returns dispatches in order
 */
export function planAttention(
  problem: AttentionProblem<null>,
  lengths: Lengths,
  traits: DeviceTraits,
  context: PlanContext = {},
): readonly Dispatch[] {
  return planWith(NOTHING_ELSE, problem, lengths, traits, context);
}

export const NO_APPEND: AppendPlan = { dispatches: [], rotatedQ: null, turnedOut: null, after: [] };

/** What only attention over a cache has. */
export interface CachePlanner<Problem> {
  readonly planAppend: (shared: Shared<Problem>, lengths: Lengths, traits: DeviceTraits) => AppendPlan;
  /** The two parts of a call whose prefix is read once for all sequences; null where each reads its own. */
  readonly cascadeOf: (problem: Problem, lengths: Lengths, memory: StepMemory) => Cascade | null;
}

const NOTHING_ELSE: CachePlanner<AttentionProblem> = { planAppend: () => NO_APPEND, cascadeOf: () => null };

/** Plans batch info, what is appended, each kernel's share of the sequences, and what to merge. */
export function planWith<Problem extends AttentionProblem>(
  { planAppend, cascadeOf }: CachePlanner<Problem>,
  problem: Problem,
  given: Lengths,
  traits: DeviceTraits,
  { pace = UNKNOWN_PACE, memory = new StepMemory() }: PlanContext,
): readonly Dispatch[] {
  const cascade = cascadeOf(problem, given, memory);
  const lengths = cascade ? cascade.ownLengths : given;
  const leavesParts = cascade !== null;
  const work = planWork({ problem, lengths, traits, memory, leavesParts });
  const { shared, gathers, lists, merges, nParts } = work;
  const append = planAppend(shared, lengths, traits);
  const parts = memory.keep('parts', [problem, nParts], () => splitParts(problem, nParts));
  const { rotatedQ, turnedOut, after } = append;
  const links = linksOf(shared, lists, traits);
  const linking = lists.map((list, i) => planLinks(shared, list, links[i]!));
  const attention = planLists({ shared, lists, links, parts, rotatedQ, turnedOut, traits, pace });
  const prefix = cascade && planPrefix(cascade, { rotatedQ, traits, pace, memory });

  const splitTokens = packSplitTokens(merges, memory);
  const maxParts = merges.reduce((most, token) => Math.max(most, token.nParts), 0);
  const sharedParts = prefix && prefix.parts;
  const merge = memory.keep('merge', [shared, splitTokens, parts, maxParts, sharedParts, turnedOut], () =>
    nParts > 0
      ? [
          mergeChunksDispatch({
            ...shared,
            items: splitTokens,
            parts,
            maxParts,
            sharedParts,
            turnedOut,
            traits,
          }),
        ]
      : [],
  );
  const besides = prefix ?? NO_PREFIX;
  const of = [gathers, ...linking, besides, append, merge, ...attention];
  return memory.keep('dispatches', of, () => {
    const dispatches = [...append.dispatches, ...besides.dispatches, ...attention.flat(), ...merge, ...after];
    return dispatches.length > 0 ? [...gathers, ...linking.flat(), ...besides.gathers, ...dispatches] : [];
  });
}

interface WorkToPlan<Problem> {
  readonly problem: Problem;
  readonly lengths: Lengths;
  readonly traits: DeviceTraits;
  readonly memory: StepMemory;
  /** Whether all results are parts, for merge_states. */
  readonly leavesParts: boolean;
  /** Of the memory in which batch info is gathered. */
  readonly name?: string | undefined;
}

/** The lists of work of a problem, and its batch info. */
function planWork<Problem extends AttentionProblem>({
  problem,
  lengths,
  traits,
  memory,
  leavesParts,
  name,
}: WorkToPlan<Problem>) {
  const work = memory.keep('work', [problem, lengths, traits], () =>
    attentionWork(problem, lengths, traits, memory, leavesParts),
  );
  const items = packItems(
    work.lists.map((list) => list.items),
    memory,
  );
  const { batchInfo, gathers } = planBatchInfo({ problem, lengths, items, traits, memory, name });
  const { maxWorkgroupsPerDimension } = traits;
  const shared = memory.keep('shared', [problem, batchInfo, traits], (): Shared<Problem> => ({
    problem,
    batchInfo,
    maxWorkgroupsPerDimension,
    memory,
  }));
  return { ...work, gathers, shared };
}

interface ListsToPlan {
  readonly shared: Shared;
  readonly lists: readonly WorkList[];
  /** Of each list. */
  readonly links: readonly (TileLinks | null)[];
  readonly parts: SplitParts;
  readonly rotatedQ: Scratch | null;
  readonly turnedOut: Scratch | null;
  readonly traits: DeviceTraits;
  readonly pace: Pace;
}

/** The dispatches of each work list, whose items follow those of the list before it. */
function planLists({
  shared,
  lists,
  links,
  parts,
  rotatedQ,
  turnedOut,
  traits,
  pace,
}: ListsToPlan): Dispatch[][] {
  const { problem, memory } = shared;
  let firstItem = 0;
  return lists.map((list, i) => {
    const first = firstItem;
    firstItem += list.items.length;
    const cuts = cutsOf(list, problem, traits, pace);
    const ends = cuts.flatMap(({ range }) => range);
    const of = [shared, list.tile, list.split && parts, rotatedQ, turnedOut, links[i], first, ...ends];
    const dispatches = memory.keep(`attention ${i}`, of, () => {
      const work = { ...shared, parts: list.split ? parts : null, rotatedQ, turnedOut, links: links[i]! };
      return cuts.map(({ range: [start, end] }) =>
        attentionDispatchOf({ ...work, range: [first + start, first + end] }, list.tile),
      );
    });
    cuts.forEach(({ load }, cut) => (dispatches[cut]!.load = load));
    return dispatches;
  });
}

/** Links are made for so many tiles more at a time, so that a plan's grow seldom. */
const LINKED_TILES = 64;

/** Bytes of links that a list may take; beyond them its items visit all tiles of their bands. */
const MOST_LINK_BYTES = 2 ** 28;

/** For each list room for the links of its tiles, where there are masks to classify them by; else null. */
function linksOf(
  { problem, memory }: Shared,
  lists: readonly WorkList[],
  traits: DeviceTraits,
): (TileLinks | null)[] {
  const mostBytes = Math.min(MOST_LINK_BYTES, traits.maxBindingBytes);
  const areLinked = classifiesTiles(problem) && canLinkTiles(problem, traits.maxStorageBuffers);
  let firstItem = 0;
  return lists.map(({ items, keyTiles }, i) => {
    const first = firstItem;
    firstItem += items.length;
    if (!areLinked || items.length === 0) return null;
    const mostTiles = Math.ceil(Math.max(1, keyTiles[0]!) / LINKED_TILES) * LINKED_TILES;
    const name = `tile links ${i}`;
    const links = memory.keep(name, [problem, first, items.length, mostTiles], () =>
      tileLinks(problem, { first, count: items.length }, mostTiles, name),
    );
    return links.links.bytes <= mostBytes ? links : null;
  });
}

/** What makes the links of a list. */
function planLinks(shared: Shared, { items, tile }: WorkList, links: TileLinks | null): readonly Dispatch[] {
  if (!links) return NO_DISPATCHES;
  const first = links.firstItem;
  return shared.memory.keep(`linking of ${links.links.scratch}`, [shared, items.length, links, tile], () => [
    maskTilesDispatch(
      { ...shared, range: [first, first + items.length], parts: null, rotatedQ: null, links },
      { rows: tileRowsOf(tile), keys: tileKeysOf(tile) },
    ),
  ]);
}

/** The attention over a shared prefix: what it needs first, its dispatches, and where they leave results. */
interface PrefixPlan {
  readonly gathers: readonly Dispatch[];
  readonly dispatches: readonly Dispatch[];
  readonly parts: SharedParts;
}

/** Plans the attention of all query tokens over the prefix that their sequences share. */
function planPrefix(
  { prefix: problem, prefixLengths: lengths }: Cascade,
  context: Pick<ListsToPlan, 'rotatedQ' | 'traits' | 'pace'> & { readonly memory: StepMemory },
): PrefixPlan {
  const { traits } = context;
  const memory = context.memory.within('shared prefix');
  const name = 'batch info of the shared prefix';
  const work = planWork({ problem, lengths, traits, memory, leavesParts: true, name });
  const { shared, gathers, lists, nParts } = work;
  const nOfToken = nParts / lengths.qLen[0]!;
  const parts = memory.keep('parts', [problem, nParts, nOfToken], () => ({
    ...splitParts(problem, nParts, ' of the shared prefix'),
    nOfToken,
  }));
  const attention = planLists({
    ...context,
    shared,
    lists,
    links: lists.map(() => null),
    parts,
    turnedOut: null,
  });
  return memory.keep('plan', [gathers, parts, ...attention], () => ({
    gathers,
    dispatches: attention.flat(),
    parts,
  }));
}

/** The dispatch of the kernel that a tile belongs to. */
function attentionDispatchOf(work: AttentionWork, tile: KernelTile): Dispatch {
  if ('matrix' in tile) return attnMatrixDispatch(work, tile.matrix);
  return 'decode' in tile ? attnDecodeDispatch(work, tile.decode) : attnPrefillDispatch(work, tile.prefill);
}

const NO_DISPATCHES: readonly Dispatch[] = [];
const NO_PREFIX = { gathers: NO_DISPATCHES, dispatches: NO_DISPATCHES };
