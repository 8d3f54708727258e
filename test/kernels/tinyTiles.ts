import type { Dispatch } from '../../src/core/dispatch.js';
import { attnDecodeDispatch, type DecodeTile } from '../../src/kernels/attnDecode.js';
import { attnPrefillDispatch, prefillTileRows, type PrefillTile } from '../../src/kernels/attnPrefill.js';
import { splitParts, type AttentionWork } from '../../src/kernels/shared/attention.js';
import { hostBatchInfo, packItems, type WorkItem } from '../../src/kernels/shared/batchInfo.js';
import type { Batch } from '../plan/batch.js';
import { GRID } from './batchesOnHost.js';

// Tiles that the CPU can take, and work for them.

/** 8 rows and 16 keys; values of one lane at a time. */
export const PREFILL_TILE: PrefillTile = {
  teams: 2,
  lanes: 2,
  rows: 4,
  keyQuads: 2,
  cols: 4,
  headQuads: 8,
  sliceQuads: 4,
  valueKeys: 8,
  qResident: false,
  subgroups: false,
  broadcast: false,
  f16Tiles: false,
  rolled: false,
};

/** 16 keys. */
export const DECODE_TILE: DecodeTile = {
  invocations: 8,
  rows: 2,
  keyLanes: 2,
  headOctets: 4,
  quadLanes: 1,
  valueLanes: 4,
  cols: 1,
  turnRows: 1,
  prefetch: false,
  subgroups: false,
  broadcastLanes: 0,
  rolled: false,
};

/** 8 keys. */
export const PREFETCH_TILE: DecodeTile = { ...DECODE_TILE, keyLanes: 4, prefetch: true };

/** Every tile of rows against every chunk of keys. */
export function workOf({ problem, lengths }: Batch, rows: number, nChunks = 1): AttentionWork {
  const group = problem.nHeads / problem.nKvHeads;
  const items: WorkItem[] = [];
  let nParts = 0;
  lengths.qLen.forEach((qLen, sequence) => {
    for (let rowTile = 0; rowTile * rows < qLen * group; rowTile++)
      for (let chunk = 0; chunk < nChunks; chunk++)
        items.push({ sequence, rowTile, chunk, nChunks, firstPart: nParts });
    nParts += qLen * nChunks;
  });
  return {
    problem,
    batchInfo: hostBatchInfo(problem, lengths, packItems([items])),
    range: [0, items.length],
    parts: nChunks > 1 ? splitParts(problem, nParts) : null,
    rotatedQ: null,
    links: null,
    ...GRID,
  };
}

/** A batch of which every sequence is for attn_prefill. */
export function prefill(batch: Batch, tile: PrefillTile): Dispatch {
  return attnPrefillDispatch(workOf(batch, prefillTileRows(tile)), tile);
}

/** A batch of which every sequence is for attn_decode. */
export function decodeRows(batch: Batch, tile: DecodeTile): Dispatch {
  return attnDecodeDispatch(workOf(batch, tile.rows), tile);
}

export const TINY_KERNELS: readonly (readonly [name: string, dispatchOf: (batch: Batch) => Dispatch])[] = [
  ['attn_prefill', (batch) => prefill(batch, PREFILL_TILE)],
  ['attn_decode', (batch) => decodeRows(batch, DECODE_TILE)],
  ['attn_decode, loaded ahead', (batch) => decodeRows(batch, PREFETCH_TILE)],
];
