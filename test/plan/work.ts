import type { DeviceTraits } from '../../src/core/deviceTraits.js';
import type { WorkItem } from '../../src/kernels/shared/batchInfo.js';
import { matrixTileRows } from '../../src/kernels/attnMatrix.js';
import { prefillTileRows } from '../../src/kernels/attnPrefill.js';
import { attentionWork, tileKeysOf, type Work, type WorkList } from '../../src/plan/attentionWork.js';
import { batchOf, type BatchOptions } from './batch.js';
import { Random } from '../../tools/random.js';
import { traitsOf } from './traits.js';

export type Sequences = readonly (readonly [nQueries: number, nKeys: number])[];

export const GPU = traitsOf({});
/** Prefills by 32 rows and 16 keys. */
export const SOFTWARE = traitsOf({ deviceClass: 'software', maxWorkgroupBytes: 32768 });

export function workOf(sequences: Sequences, options: BatchOptions = {}, traits: DeviceTraits = GPU): Work {
  const { problem, lengths } = batchOf(sequences, options);
  return attentionWork(problem, lengths, traits);
}

/** An item with what the plan knows of it. */
export interface PlannedItem extends WorkItem {
  readonly keyTiles: number;
  readonly list: WorkList;
}

export function itemsOf({ lists }: Pick<Work, 'lists'>): PlannedItem[] {
  return lists.flatMap((list) =>
    list.items.map((item, i) => ({ ...item, keyTiles: list.keyTiles[i]!, list })),
  );
}

export function kernelOf({ tile }: WorkList): string {
  if ('matrix' in tile) return 'attn_matrix';
  return 'decode' in tile ? 'attn_decode' : 'attn_prefill';
}

export function rowsOf({ tile }: WorkList): number {
  if ('matrix' in tile) return matrixTileRows(tile.matrix);
  return 'decode' in tile ? tile.decode.rows : prefillTileRows(tile.prefill);
}

export function keysOf({ tile }: WorkList): number {
  return tileKeysOf(tile);
}

/** The number of chunks of keys of each sequence that has queries. */
export function chunksOf(work: Work): number[] {
  const chunks = new Map(itemsOf(work).map(({ sequence, nChunks }) => [sequence, nChunks]));
  return [...chunks].toSorted(([a], [b]) => a - b).map(([, nChunks]) => nChunks);
}

/** Batches of all sorts, the same ones each time. */
export function randomBatches(count: number): { sequences: Sequences; options: BatchOptions }[] {
  const random = new Random(1);
  return Array.from({ length: count }, () => {
    const nKvHeads = random.int(1, 4);
    const sequences = Array.from({ length: random.int(1, 9) }, () => {
      const nQueries = random.pick([0, 1, 1, 2, random.int(1, 17), random.int(1, 300)]);
      return [nQueries, random.pick([0, random.int(1, 100), random.int(1, 9000)])] as const;
    });
    const options: BatchOptions = {
      heads: [nKvHeads * random.pick([1, 1, 3, 8]), nKvHeads],
      headDim: random.pick([32, 64, 128, 256]),
      masks: { left: random.pick([-1, -1, 500]), right: random.pick([-1, 0, 0]) },
      numSplits: random.pick([0, 0, 1, 2, 7]),
    };
    return { sequences, options };
  });
}
