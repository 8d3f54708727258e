import type { DeviceTraits } from '../../src/core/deviceTraits.js';
import { bytesPerElement } from '../../src/core/dtype.js';
import { splitParts, type WorkItem } from '../../src/kernels/shared/attention.js';
import { attnDecodeKernel, decodeTileKeys, type DecodeTile } from '../../src/kernels/attnDecode.js';
import { mergeStatesKernel, type SplitToken } from '../../src/kernels/mergeStates.js';
import { attentionWork } from '../../src/plan/attentionWork.js';
import { constantOf, structOf } from '../../src/wgsl/reflection.js';
import { entriesOf, keysIn, nKeys, seenBy, tilesOf } from './keyRanges.js';
import type { DecodeProblem } from './problem.js';
import { sum, times, traffic, type DecodeTraffic, type Traffic } from './traffic.js';

/** Counts what attn_decode and merge_states move for a problem, from the plan that a device of these traits gets. */
export function countTraffic(decode: DecodeProblem, traits: DeviceTraits): DecodeTraffic {
  const { groups, merges } = attentionWork(decode.problem, decode.lengths, traits);
  const counts = groups.flatMap(({ tile, split, items }) => {
    if (!('decode' in tile)) throw new Error('A sequence of the step goes to attn_prefill.');
    const plan = { ...decode, tile: tile.decode, split };
    return items.map((item) => countItem(plan, item));
  });
  if (merges.length > 0) counts.push(countMerge(decode, merges));
  return {
    needed: countNeeded(decode),
    moved: sum(counts.map(({ moved }) => moved)),
    asked: sum(counts.map(({ asked }) => asked)),
  };
}

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

type Count = Pick<DecodeTraffic, 'moved' | 'asked'>;

interface ItemPlan extends DecodeProblem {
  readonly tile: DecodeTile;
  readonly split: boolean;
}

/** The workgroups of an item of attn_decode: one for each kv head. */
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
    ? { partsWritten: rows * (splitParts(problem, 0).rowElements * 4 + SUMS_BYTES) }
    : { out: rows * (headDimV * bytes.out + (lse ? 4 : 0)) };
  const tables = attnDecodeKernel.params.bytes + ITEM.bytes + SEQUENCE.bytes;
  const rest = { q: rows * headDim * bytes.q, tables, ...results };

  const walked = keysIn(seen, tileKeys, tiles);
  const keys = nKeys(walked);
  // All threads together step through the values, as long as a step begins with a key that is seen.
  const stepKeys = 4 * (tile.threads / tile.valueLanes);
  const steppedKeys = nTiles > 0 ? roundUp(walked.last + 1 - tiles.first * tileKeys, stepKeys) : 0;
  // Pages are looked up a tile ahead.
  const lookedUp = { first: tiles.first, end: tiles.first + nTiles + 1 };
  const moved = traffic({
    ...rest,
    k: keys * headDim * bytes.kv,
    v: keys * headDimV * bytes.kv,
    blockTable: pages ? 4 * entriesOf(seen, tileKeys, lookedUp, pages.pageSize) : 0,
  });
  const asked = traffic({
    ...rest,
    k: nTiles * tileKeys * roundUp(headDim, 8 * tile.keyLanes) * bytes.kv,
    v: steppedKeys * headDimV * bytes.kv,
    blockTable: pages ? 4 * (nTiles + 1) * tileKeys : 0,
  });
  return { moved: times(nKvHeads, moved), asked: times(nKvHeads, asked) };
}

/** All of merge_states: an invocation for every four dims of every head of a token. */
function countMerge({ problem }: DecodeProblem, items: readonly SplitToken[]): Count {
  const { nHeads, headDimV, lse } = problem;
  const { rowElements } = splitParts(problem, 0);
  const quads = rowElements / 4;
  const nInvocations = items.length * nHeads * quads;
  const nWorkgroups = Math.ceil(nInvocations / constantOf(mergeStatesKernel, 'WG_SIZE'));
  const nParts = nHeads * items.reduce((total, item) => total + item.nParts, 0);
  const sumsBytes = SUMS_BYTES * nParts;
  const outBytes = 4 * nParts * rowElements;
  const params = nWorkgroups * mergeStatesKernel.params.bytes;
  const rest = { out: items.length * nHeads * (headDimV * elementBytes(problem).out + (lse ? 4 : 0)) };
  return {
    moved: traffic({
      ...rest,
      tables: params + nWorkgroups * (SPLIT_TOKEN.bytes + SEQUENCE.bytes),
      partsRead: sumsBytes + outBytes,
    }),
    asked: traffic({
      ...rest,
      tables: params + nInvocations * (SPLIT_TOKEN.bytes + SEQUENCE.bytes),
      // Each invocation goes through the sums of its head once for the maximum and once for the weights.
      partsRead: 2 * quads * sumsBytes + outBytes,
    }),
  };
}

/** The maximum and the total of a part. */
const SUMS_BYTES = 8;
const ITEM = structOf(attnDecodeKernel, 'Item');
const SEQUENCE = structOf(attnDecodeKernel, 'Sequence');
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
