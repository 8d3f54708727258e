import type { DeviceTraits } from '../../src/core/deviceTraits.js';
import { bytesPerElement } from '../../src/core/dtype.js';
import { featuresOf, splitParts, SUMS_ELEMENTS } from '../../src/kernels/shared/attention.js';
import type { WorkItem } from '../../src/kernels/shared/batchInfo.js';
import {
  attnDecodeKernel,
  decodeSpec,
  decodeTileKeys,
  type DecodeTile,
} from '../../src/kernels/attnDecode.js';
import {
  mergeStatesKernel,
  mergeTile,
  partLanesFor,
  type SplitToken,
} from '../../src/kernels/mergeStates.js';
import { attentionWork } from '../../src/plan/attentionWork.js';
import type { AttentionProblem, HostLengths } from '../../src/problem/attentionProblem.js';
import { visibleBand } from '../../src/problem/band.js';
import type { Spec } from '../../src/wgsl/kernel.js';
import { link } from '../../src/wgsl/link.js';
import { constantOf, structOf } from '../../src/wgsl/reflection.js';
import type { DecodeProblem } from './decodeProblem.js';
import { sum, times, traffic, type DecodeTraffic, type Traffic } from './traffic.js';

/** Counts the bytes that attn_decode and merge_states move for a problem, from the plan that these traits give. */
export function countTraffic(decode: DecodeProblem, traits: DeviceTraits): DecodeTraffic {
  const { lists, merges } = attentionWork(decode.problem, decode.lengths, traits);
  const counts = lists.flatMap(({ tile, split, items }) => {
    if (!('decode' in tile)) throw new Error('A sequence of the step goes to attn_prefill.');
    const plan = { ...decode, tile: tile.decode, split };
    return items.map((item) => countItem(plan, item));
  });
  if (merges.length > 0) counts.push(countMerge(decode, merges, traits));
  return {
    needed: countNeeded(decode),
    moved: sum(counts.map(({ moved }) => moved)),
    issued: sum(counts.map(({ issued }) => issued)),
  };
}

/** The bytes that any decode step must move: keys and values once per kv head, queries, outputs. */
export function countNeeded({ problem, lengths }: DecodeProblem): Traffic {
  const { nHeads, nKvHeads, headDim, headDimV, lse } = problem;
  const bytes = elementBytes(problem);
  let keys = 0;
  let queries = 0;
  lengths.qLen.forEach((qLen, b) => {
    if (qLen > 0) keys += nKeys(seenBy(problem, lengths, b, [0, qLen - 1]));
    queries += qLen;
  });
  return traffic({
    k: keys * nKvHeads * headDim * bytes.kv,
    v: keys * nKvHeads * headDimV * bytes.kv,
    q: queries * nHeads * headDim * bytes.q,
    out: queries * nHeads * (headDimV * bytes.out + (lse ? 4 : 0)),
  });
}

type Count = Pick<DecodeTraffic, 'moved' | 'issued'>;

interface ItemPlan extends DecodeProblem {
  readonly tile: DecodeTile;
  readonly split: boolean;
}

/** The traffic of one work item of attn_decode: a workgroup for each kv head. */
function countItem(
  { problem, lengths, tile, split }: ItemPlan,
  { sequence, rowTile, chunk, nChunks }: WorkItem,
): Count {
  const { nHeads, nKvHeads, headDim, headDimV, pages, lse } = problem;
  const bytes = elementBytes(problem);
  const group = nHeads / nKvHeads;
  const tileKeys = decodeTileKeys(tile);
  const firstRow = rowTile * tile.rows;
  const endRow = Math.min(firstRow + tile.rows, lengths.qLen[sequence]! * group);
  const tokens = [Math.floor(firstRow / group), Math.floor((endRow - 1) / group)] as const;
  const seen = seenBy(problem, lengths, sequence, tokens);
  const tiles = tilesOf(seen, tileKeys, [chunk, nChunks]);
  const nTiles = Math.max(0, tiles.end - tiles.first);

  const rows = endRow - firstRow;
  const results = split
    ? { partialsWritten: rows * (splitParts(problem, 0).rowElements * 4 + SUMS_BYTES) }
    : { out: rows * (headDimV * bytes.out + (lse ? 4 : 0)) };
  const metadata = paramBytes(decodeSpec(tile, featuresOf(problem), split)) + ITEM.bytes + SEQUENCE.bytes;
  const rest = { q: rows * headDim * bytes.q, metadata, ...results };

  const walked = keysIn(seen, tileKeys, tiles);
  const keys = nKeys(walked);
  const moved = traffic({
    ...rest,
    k: keys * headDim * bytes.kv,
    v: keys * headDimV * bytes.kv,
    blockTable: pages ? 4 * entriesOf(walked, pages.pageSize) : 0,
  });
  const loaded = tile.prefetch ? loadedAhead(tile, nTiles) : loadedInSteps(tile, problem, { walked, tiles });
  const issued = traffic({
    ...rest,
    k: loaded.keyElements * bytes.kv,
    v: loaded.valueElements * bytes.kv,
    blockTable: pages ? 4 * loaded.entries : 0,
  });
  return { moved: times(nKvHeads, moved), issued: times(nKvHeads, issued) };
}

/** The bytes of the parameters that a variant has use for. */
function paramBytes(spec: Spec): number {
  const text = link(attnDecodeKernel, spec);
  const used = Object.keys(attnDecodeKernel.params.fields).filter((name) => text.includes(`params.${name}`));
  return used.length * Uint32Array.BYTES_PER_ELEMENT;
}

/** What the invocations of a workgroup load, repeated loads included. */
interface Loaded {
  readonly keyElements: number;
  readonly valueElements: number;
  /** Of the block table. */
  readonly entries: number;
}

/** Each tile whole, and as the keys of the tile after the last one a key once more for every place. */
function loadedAhead(tile: DecodeTile, nTiles: number): Loaded {
  const tileKeys = decodeTileKeys(tile);
  return {
    keyElements: nTiles > 0 ? (nTiles + 1) * tileKeys * tile.headOctets * 8 : 0,
    valueElements: nTiles * tileKeys * tile.valueLanes * tile.cols * 8,
    // Two tiles ahead, where each invocation looks up one.
    entries: 2 * tileKeys + nTiles * tile.invocations,
  };
}

/** A step of values is loaded whole if its first key is at or before the last visible one. */
function loadedInSteps(
  tile: DecodeTile,
  { headDim, headDimV }: AttentionProblem,
  { walked, tiles }: { readonly walked: KeyRange; readonly tiles: TileRange },
): Loaded {
  const tileKeys = decodeTileKeys(tile);
  const nTiles = Math.max(0, tiles.end - tiles.first);
  const stepKeys = 4 * (tile.invocations / tile.valueLanes);
  const steppedKeys = nTiles > 0 ? roundUp(walked.last + 1 - tiles.first * tileKeys, stepKeys) : 0;
  return {
    keyElements: nTiles * tileKeys * roundUp(headDim, 8 * tile.keyLanes),
    valueElements: steppedKeys * headDimV,
    entries: (nTiles + 1) * tileKeys,
  };
}

/** The traffic of merge_states: lanes of invocations for every four dims of every head of a token. */
function countMerge({ problem }: DecodeProblem, items: readonly SplitToken[], traits: DeviceTraits): Count {
  const { nHeads, headDimV, lse, numSplits } = problem;
  const { rowElements } = splitParts(problem, 0);
  const quadLanes = constantOf(mergeStatesKernel, 'QUAD_LANES');
  const quads = Math.ceil(rowElements / 4 / quadLanes) * quadLanes;
  const tile = mergeTile(traits, 'chunks');
  const partLanes = partLanesFor(numSplits || Math.max(...items.map((item) => item.nParts)), tile);
  const nInvocations = items.length * nHeads * quads * partLanes;
  const nWorkgroups = Math.ceil(nInvocations / constantOf(mergeStatesKernel, 'WG_SIZE'));
  const nParts = nHeads * items.reduce((total, item) => total + item.nParts, 0);
  const sumsBytes = SUMS_BYTES * nParts;
  const outBytes = 4 * nParts * rowElements;
  const params = nWorkgroups * mergeStatesKernel.params.bytes;
  const rest = { out: items.length * nHeads * (headDimV * elementBytes(problem).out + (lse ? 4 : 0)) };
  return {
    moved: traffic({
      ...rest,
      metadata: params + nWorkgroups * (SPLIT_TOKEN.bytes + MERGED_SEQUENCE_BYTES),
      partialsRead: sumsBytes + outBytes,
    }),
    issued: traffic({
      ...rest,
      metadata: params + nInvocations * (SPLIT_TOKEN.bytes + MERGED_SEQUENCE_BYTES),
      // Each invocation reads a quad and the sums of whole steps of parts.
      partialsRead: (SUMS_BYTES + 16) * quads * nHeads * steppedParts(items, partLanes, tile.stepParts),
    }),
  };
}

/** Parts that the lanes of all rows of a head read, the last one again where a step is not full. */
function steppedParts(items: readonly SplitToken[], partLanes: number, stepParts: number): number {
  let parts = 0;
  for (const { nParts } of items)
    for (let lane = 0; lane < Math.min(partLanes, nParts); lane++)
      parts += stepParts * Math.ceil((nParts - lane) / (stepParts * partLanes));
  return parts;
}

/** Bytes of a partial result's maximum and total. */
const SUMS_BYTES = SUMS_ELEMENTS * Float32Array.BYTES_PER_ELEMENT;
const ITEM = structOf(attnDecodeKernel, 'Item');
const SEQUENCE = structOf(attnDecodeKernel, 'Sequence');
/** Bytes of a sequence that merge_states reads: q_len, out_base and lse_base. */
const MERGED_SEQUENCE_BYTES = 12;
const SPLIT_TOKEN = structOf(mergeStatesKernel, 'SplitToken');

function elementBytes({ q, k, out }: DecodeProblem['problem']) {
  return {
    q: bytesPerElement(q.tensor.dtype),
    kv: bytesPerElement(k.tensor.dtype),
    out: bytesPerElement(out.tensor.dtype),
  };
}

function roundUp(n: number, step: number): number {
  return Math.ceil(n / step) * step;
}

/** Keys first ... last, both included; empty if last < first. */
interface KeyRange {
  readonly first: number;
  readonly last: number;
}

/** Tiles of keys, first ... end − 1. */
interface TileRange {
  readonly first: number;
  readonly end: number;
}

function nKeys({ first, last }: KeyRange): number {
  return Math.max(0, last - first + 1);
}

/** The keys that at least one of the tokens firstToken ... lastToken of a sequence sees. */
function seenBy(
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

/** The tiles of a chunk, as `tiles_of` in attention.wgsl computes them. */
function tilesOf(seen: KeyRange, tileKeys: number, [chunk, nChunks]: readonly [number, number]): TileRange {
  if (nKeys(seen) === 0) return { first: 0, end: 0 };
  const first = Math.floor(seen.first / tileKeys);
  const end = Math.floor(seen.last / tileKeys) + 1;
  const perChunk = Math.ceil((end - first) / nChunks);
  const start = first + chunk * perChunk;
  return { first: start, end: Math.min(start + perChunk, end) };
}

/** The visible keys that lie in the tiles. */
function keysIn(seen: KeyRange, tileKeys: number, { first, end }: TileRange): KeyRange {
  return { first: Math.max(seen.first, first * tileKeys), last: Math.min(seen.last, end * tileKeys - 1) };
}

/** The number of block table entries that keys need; where there is no key, one entry is read for nothing. */
function entriesOf({ first, last }: KeyRange, pageSize: number): number {
  return Math.floor(Math.max(first, last) / pageSize) - Math.floor(first / pageSize) + 1;
}
