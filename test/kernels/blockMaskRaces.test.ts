import { describe, expect, test } from 'vitest';
import type { Dispatch, Scratch } from '../../src/core/dispatch.js';
import { attnDecodeDispatch } from '../../src/kernels/attnDecode.js';
import { attnPrefillDispatch } from '../../src/kernels/attnPrefill.js';
import { gatherBlocksDispatch } from '../../src/kernels/gatherBlocks.js';
import { listBlocksDispatch } from '../../src/kernels/listBlocks.js';
import { maskTilesDispatch, tileLinks } from '../../src/kernels/maskTiles.js';
import type { AttentionWork } from '../../src/kernels/shared/attention.js';
import { batchInfoLayout, hostBatchInfo } from '../../src/kernels/shared/batchInfo.js';
import type { AttentionMod } from '../../src/problem/attentionProblem.js';
import { elementsOf, type BlockGrid, type BlockLists, type Blocks } from '../../src/problem/blockMask.js';
import type { HostBlockMask } from '../../src/reference/attention.js';
import { Random } from '../../tools/random.js';
import { drawBlocks, type BlocksCase } from '../attention/blockMaskCase.js';
import { batchOf, type Batch } from '../plan/batch.js';
import { filled, GRID } from './batchesOnHost.js';
import { fakeTensor } from '../runtime/fakeDevice.js';
import { parseMod } from '../../src/wgsl/mods.js';
import { HostBuffers, interpret } from './interpreter.js';
import { expectReference, referenceArgs } from './referenceOnHost.js';
import { DECODE_TILE, PREFETCH_TILE, PREFILL_TILE, workOf } from './tinyTiles.js';

// Block masks on the CPU, where every access to memory is noted.

/** ms, for a busy machine. */
const SLOW = 60_000;

const LENGTHS = [7, 83] as const;
const BATCH = 2;
const HEADS = [4, 2] as const;

interface Drawn extends Batch {
  readonly buffers: HostBuffers;
  readonly blockMask: HostBlockMask;
}

function blocksOf(blockMask: HostBlockMask, [sq, sk]: readonly [number, number]): Blocks {
  const { kvNumBlocks, kvIndices, fullKvNumBlocks, fullKvIndices, blockSize } = blockMask;
  const lists = (counts: typeof kvNumBlocks, indices: typeof kvNumBlocks): BlockLists => ({
    counts: counts.data,
    indices: indices.data,
    countShape: counts.shape as BlockLists['countShape'],
    indexShape: indices.shape as BlockLists['indexShape'],
  });
  const [sequences, heads] = kvNumBlocks.shape as [number, number];
  return {
    sequences,
    heads,
    nRows: Math.ceil(sq / blockSize[0]),
    nColumns: Math.ceil(sk / blockSize[1]),
    rowTokens: blockSize[0],
    columnKeys: blockSize[1],
    listed: lists(kvNumBlocks, kvIndices),
    full: fullKvNumBlocks ? lists(fullKvNumBlocks, fullKvIndices!) : null,
  };
}

function drawn(kind: BlocksCase & { readonly pageSize?: number }, lengths: readonly [number, number]): Drawn {
  const plain = batchOf(
    Array.from({ length: BATCH }, () => lengths),
    { heads: HEADS, headDim: 32, ...(kind.pageSize && { pageSize: kind.pageSize }) },
  );
  const sizes = { batch: BATCH, nHeads: HEADS[0], sq: lengths[0], sk: lengths[1] };
  const { blockMask } = drawBlocks(new Random(5), kind, sizes) as { blockMask: HostBlockMask };
  const batch = {
    ...plain,
    problem: { ...plain.problem, blocks: blocksOf(blockMask, lengths) },
  };
  return { ...batch, buffers: filled(batch), blockMask };
}

const CASES: readonly (BlocksCase & { readonly why: string; readonly pageSize?: number })[] = [
  { why: 'of each head', blocks: 'nothing', blockSize: [2, 8] },
  { why: 'that heads share', blocks: 'heads', blockSize: [3, 5], fullBlocks: true },
  { why: 'in pages', blocks: 'sequences', blockSize: [1, 16], pageSize: 3 },
  { why: 'larger than tiles', blocks: 'all', blockSize: [16, 40] },
];

function expectAttention(given: Drawn): void {
  const { buffers, blockMask } = given;
  expectReference(given, buffers, { ...referenceArgs(given, buffers), blockMask });
}

describe.each([
  ['attn_prefill', 8, 16, (work: AttentionWork) => attnPrefillDispatch(work, PREFILL_TILE)],
  ['attn_decode', 2, 16, (work: AttentionWork) => attnDecodeDispatch(work, DECODE_TILE)],
  ['attn_decode, loaded ahead', 2, 8, (work: AttentionWork) => attnDecodeDispatch(work, PREFETCH_TILE)],
] as const)('%s', (_, rows, keys, dispatchOf: (work: AttentionWork) => Dispatch) => {
  test.each(CASES)('has no race, with tiles left out and without: $why', { timeout: SLOW }, (each) => {
    for (const isLinked of [true, false]) {
      const given = drawn(each, LENGTHS);
      const work = workOf(given, rows);
      const links = isLinked
        ? tileLinks(given.problem, { first: 0, count: work.range[1] }, Math.ceil(LENGTHS[1] / keys), 'links')
        : null;
      const whole = { ...work, links };
      if (links) expect(interpret(maskTilesDispatch(whole, { rows, keys }), given.buffers)).toEqual([]);
      expect(interpret(dispatchOf(whole), given.buffers)).toEqual([]);
      expectAttention(given);
    }
  });
});

test('keys of tiles that no block reaches may hold anything', { timeout: SLOW }, () => {
  const given = drawn({ blocks: 'all', blockSize: [100, 16] }, LENGTHS);
  const isListed = (key: number): boolean => {
    const { kvNumBlocks, kvIndices } = given.blockMask;
    return kvIndices.data.subarray(0, kvNumBlocks.data[0]).includes(Math.floor(key / 16));
  };
  const { k, v } = given.problem;
  const kept = [k, v].map(({ tensor }) => given.buffers.read(tensor));
  let nHidden = 0;
  [k, v].forEach(({ tensor }, i) => {
    const data = kept[i]!.slice();
    for (let key = 0; key < 2 * LENGTHS[1]; key++) {
      if (isListed(key % LENGTHS[1])) continue;
      data.fill(NaN, key * HEADS[1] * 32, (key + 1) * HEADS[1] * 32);
      nHidden++;
    }
    given.buffers.write(tensor, data);
  });
  expect(nHidden).toBeGreaterThan(0);
  const work = workOf(given, 8);
  const whole = { ...work, links: tileLinks(given.problem, { first: 0, count: work.range[1] }, 6, 'links') };
  interpret(maskTilesDispatch(whole, { rows: 8, keys: 16 }), given.buffers);
  interpret(attnPrefillDispatch(whole, PREFILL_TILE), given.buffers);
  [k, v].forEach(({ tensor }, i) => given.buffers.write(tensor, kept[i]!));
  expectAttention(given);
});

describe('gather_blocks', { timeout: SLOW }, () => {
  function gathered({ problem, lengths }: Batch, buffers: HostBuffers, edit?: (code: string) => string) {
    const want = hostBatchInfo(problem, lengths, new Uint32Array(0));
    const batchInfo: Scratch = { scratch: 'batch info', bytes: want.byteLength };
    const got = new Uint32Array(buffers.contentsOf(batchInfo));
    got.set(want.subarray(0, batchInfoLayout(problem).blocksAt));
    const dispatch = gatherBlocksDispatch({ problem, blocks: problem.blocks!, batchInfo, ...GRID });
    const races = interpret(dispatch, buffers, edit);
    return { races, want: [...want], got: [...got] };
  }

  test.each([
    ...CASES,
    // Invocations take several words each.
    { why: 'more than 64 words in a row', blocks: 'heads', blockSize: [4, 1], fullBlocks: true } as const,
  ])('writes what the host does: $why', (each) => {
    const { buffers, ...batch } = drawn(each, each.why.startsWith('more') ? [5, 2500] : LENGTHS);
    const { races, want, got } = gathered(batch, buffers);
    expect(races).toEqual([]);
    expect(got).toEqual(want);
  });

  /** As if there were a mask of the caller's own, which is not asked about full blocks. */
  function withMod({ problem, lengths }: Batch): Batch {
    const mods = { scoreMod: null, maskMod: {} as AttentionMod, params: new Float32Array(16) };
    return { problem: { ...problem, mods }, lengths };
  }

  test('writes full blocks by themselves where maskMod is not asked about them', () => {
    const { buffers, ...batch } = drawn({ ...CASES[1]! }, LENGTHS);
    const { races, want, got } = gathered(withMod(batch), buffers);
    expect(races).toEqual([]);
    expect(got).toEqual(want);
  });

  test('blocks that there are not are left out, and counts are those of whole lists at most', () => {
    const { buffers, ...batch } = drawn({ blocks: 'all', blockSize: [100, 16] }, LENGTHS);
    const listed: BlockLists = {
      counts: Int32Array.of(9),
      indices: Int32Array.of(5, -1, 6, 2 ** 31 - 1, -(2 ** 31), 0),
      countShape: [1, 1, 1],
      indexShape: [1, 1, 1, 6],
    };
    const problem = { ...batch.problem, blocks: { ...batch.problem.blocks!, listed } };
    const { got } = gathered({ ...batch, problem }, buffers);
    const { blocksAt } = batchInfoLayout(problem);
    expect(got[blocksAt]).toBe(0b100001);
    const none = { ...listed, counts: Int32Array.of(-1) };
    const blocks = { ...problem.blocks, listed: none };
    expect(gathered({ ...batch, problem: { ...problem, blocks } }, buffers).got[blocksAt]).toBe(0);
  });

  test('every barrier is needed', () => {
    const without = (removed: number) => (code: string) => {
      let seen = 0;
      return code.replace(/workgroupBarrier\(\);/g, (barrier) => (seen++ === removed ? '' : barrier));
    };
    for (const removed of [0, 1, 2, 3]) {
      const { buffers, ...batch } = drawn(
        { blocks: 'heads', blockSize: [4, 1], fullBlocks: true },
        [5, 2500],
      );
      const { want, got } = gathered(withMod(batch), buffers, without(removed));
      expect(got).not.toEqual(want);
    }
  });
});

describe('list_blocks', { timeout: SLOW }, () => {
  const code = 'fn mask_mod(b: u32, h: u32, q: i32, k: i32) -> bool { return (q + i32(h)) / 20 != k / 30; }';
  const sees = (h: number, q: number, k: number): boolean => Math.trunc((q + h) / 20) !== Math.floor(k / 30);
  const text = parseMod({ kind: 'maskMod', name: 'apart', code, tensors: {} });
  const mods = { scoreMod: null, maskMod: { text, tensors: {} }, params: new Float32Array(16) };
  const blocks: BlockGrid = {
    batch: 1,
    nHeads: 2,
    nRows: 5,
    nColumns: 9,
    seqlenQ: 50,
    seqlenK: 83,
    rowTokens: 12,
    columnKeys: 10,
  };

  /** Of each row, the blocks that are partial and those that are full. */
  function listed(edit?: (text: string) => string) {
    const at = elementsOf(blocks);
    const lists = fakeTensor('i32', [at.end]);
    const buffers = new HostBuffers();
    const races = (
      [
        [0, 7],
        [7, 10],
      ] as const
    ).flatMap((range) =>
      interpret(listBlocksDispatch({ blocks, mods, lists, range, ...GRID }), buffers, edit),
    );
    const words = new Int32Array(buffers.contentsOf(lists));
    const entries = (counts: number, indices: number) =>
      Array.from({ length: 10 }, (_, row) => [
        ...words.subarray(indices + row * 9, indices + row * 9 + words[counts + row]!),
      ]);
    return {
      races,
      partial: entries(at.counts, at.indices),
      full: entries(at.fullCounts, at.fullIndices),
    };
  }

  function wanted(isWanted: (seen: readonly boolean[]) => boolean) {
    return Array.from({ length: 10 }, (_, row) =>
      Array.from({ length: 9 }, (__, column) => column).filter((column) => {
        const seen: boolean[] = [];
        for (let i = (row % 5) * 12; i < Math.min(((row % 5) + 1) * 12, 50); i++)
          for (let k = column * 10; k < Math.min((column + 1) * 10, 83); k++)
            seen.push(sees(Math.floor(row / 5), i + 33, k));
        return isWanted(seen);
      }),
    );
  }
  const full = wanted((seen) => seen.every(Boolean));
  const partial = wanted((seen) => seen.some(Boolean) && !seen.every(Boolean));

  test('lists what its definition says, without a race', () => {
    expect(listed()).toEqual({ races: [], partial, full });
  });

  test('what all have found is written', () => {
    // Invocations run one at a time to the next barrier, from the first on, so the barrier behind the reset changes nothing.
    let seen = 0;
    const edited = listed((given) =>
      given.replace(/workgroupBarrier\(\);/g, (barrier) => (seen++ % 2 === 1 ? '' : barrier)),
    );
    expect({ partial: edited.partial, full: edited.full }).not.toEqual({ partial, full });
  });
});
