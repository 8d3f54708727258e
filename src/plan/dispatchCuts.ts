import type { DeviceTraits } from '../core/deviceTraits.js';
import { bytesPerElement } from '../core/dtype.js';
import type { Load, Pace } from '../core/pace.js';
import type { AttentionProblem } from '../problem/attentionProblem.js';
import { tileKeysOf, type WorkList } from './attentionWork.js';
import { chunkRule } from './chunkRule.js';
import { deviceDefaults } from './deviceDefaults.js';

/**
 * How long a dispatch may take, in seconds. An operating system resets a device that is busy for some two seconds, and a
 * page is not drawn meanwhile.
 */
const DISPATCH_SECONDS = 0.05;

/** Longer than that only to fill the device, and never longer than this. */
const LONGEST_DISPATCH_SECONDS = 0.2;

/** Items of a list for one dispatch. */
export interface Cut {
  /** First item, and one past the last. */
  readonly range: readonly [number, number];
  readonly load: Load;
}

/**
 * Cuts a list into ranges of about equal work, in order, so that each takes one dispatch about as long as is allowed. Where
 * a device's pace is known, each range has enough workgroups to fill it.
 */
export function cutsOf(
  list: Pick<WorkList, 'tile' | 'isDecode' | 'keyTiles' | 'tileArea'>,
  problem: Pick<AttentionProblem, 'k' | 'headDim' | 'headDimV' | 'nKvHeads'>,
  traits: DeviceTraits,
  pace: Pace,
): Cut[] {
  const { keyTiles, isDecode } = list;
  const perTile = loadOfTile(list, problem);
  const rates = ratesOf(isDecode, traits, pace);
  // What attn_prefill reads again and again comes from caches.
  const secondsToRead = isDecode ? perTile.bytes / rates.bytes : 0;
  const secondsPerTile = Math.max(perTile.macs / rates.macs, secondsToRead);
  const total = keyTiles.reduce((sum, n) => sum + n, 0);
  const seconds = total * secondsPerTile;
  let nCuts = Math.ceil(seconds / DISPATCH_SECONDS);
  if (rates.areKnown) {
    // Items are sorted, so the first range has the fewest. It may end half an item before its share of the work.
    const items = Math.ceil(chunkRule(traits).workgroups / problem.nKvHeads) + 1;
    let fewest = 0;
    for (let i = 0; i < Math.min(items, keyTiles.length); i++) fewest += keyTiles[i]!;
    const fullCuts = Math.floor(total / Math.max(1, fewest));
    nCuts = Math.min(nCuts, Math.max(fullCuts, Math.ceil(seconds / LONGEST_DISPATCH_SECONDS)));
  }
  return balanced(keyTiles, total, nCuts).map(({ range, tiles }) => ({
    range,
    load: { macs: tiles * perTile.macs, bytes: tiles * perTile.bytes },
  }));
}

/** Ranges of so many items that are alike, each for a dispatch that takes no longer than it may. */
export function evenCuts(
  nItems: number,
  perItem: Load,
  traits: DeviceTraits,
  pace: Pace,
): (readonly [first: number, end: number])[] {
  const rates = ratesOf(false, traits, pace);
  const seconds = nItems * Math.max(perItem.macs / rates.macs, perItem.bytes / rates.bytes);
  const nCuts = Math.max(1, Math.min(nItems, Math.ceil(seconds / DISPATCH_SECONDS)));
  const start = (cut: number): number => Math.floor((cut * nItems) / nCuts);
  return Array.from({ length: nCuts }, (_, cut) => [start(cut), start(cut + 1)] as const);
}

/** What a tile of rows and a tile of keys are together, for all kv heads. */
function loadOfTile(
  { tile, tileArea }: Pick<WorkList, 'tile' | 'tileArea'>,
  { k, headDim, headDimV, nKvHeads }: Pick<AttentionProblem, 'k' | 'headDim' | 'headDimV' | 'nKvHeads'>,
): Load {
  const perPair = (headDim + headDimV) * nKvHeads;
  return { macs: tileArea * perPair, bytes: tileKeysOf(tile) * perPair * bytesPerElement(k.tensor.dtype) };
}

interface Rates {
  readonly macs: number;
  readonly bytes: number;
  /** Whether the one that counts for the kernel was measured. */
  readonly areKnown: boolean;
}

/** Rates that were tuned; else those that were seen, which are lower bounds, or else those of the slowest such device. */
function ratesOf(isDecode: boolean, traits: DeviceTraits, pace: Pace): Rates {
  const { tuning } = traits;
  if (tuning) {
    const { macsPerSecond, bytesPerSecond } = tuning.rates;
    return { macs: macsPerSecond, bytes: bytesPerSecond, areKnown: true };
  }
  const { macsPerSecond, bytesPerSecond } = deviceDefaults(traits);
  return {
    macs: Math.max(macsPerSecond, pace.macsPerSecond),
    bytes: Math.max(bytesPerSecond, pace.bytesPerSecond),
    areKnown: isDecode ? pace.bytesPerSecond >= bytesPerSecond : pace.macsPerSecond >= macsPerSecond,
  };
}

/** So many ranges of items, or fewer, with about as many tiles of keys each; at least one. */
function balanced(
  keyTiles: Uint32Array,
  total: number,
  nCuts: number,
): { readonly range: [number, number]; readonly tiles: number }[] {
  const ranges: { range: [number, number]; tiles: number }[] = [];
  let start = 0;
  let tiles = 0;
  let left = total;
  keyTiles.forEach((n, i) => {
    // What is left is shared out anew after each range. An item may be several shares, so less may be left than ranges.
    const share = Math.max(left / Math.max(1, nCuts - ranges.length), (0.8 * total) / nCuts);
    if (i > start && tiles + n / 2 > share) {
      ranges.push({ range: [start, i], tiles });
      start = i;
      left -= tiles;
      tiles = 0;
    }
    tiles += n;
  });
  ranges.push({ range: [start, keyTiles.length], tiles });
  return ranges;
}
