import { describe, expect, test } from 'vitest';
import type { Dispatch } from '../../src/core/dispatch.js';
import { decode, roundTo, type FloatDType } from '../../src/core/dtype.js';
import { elementCount } from '../../src/core/tensor.js';
import { appendK, appendV, rotateQ, rotatedQScratch } from '../../src/kernels/appendKv.js';
import { chunkWord, splitParts, type AttentionWork } from '../../src/kernels/shared/attention.js';
import type { PagedRows, Rotary, TokenRows } from '../../src/problem/attentionProblem.js';
import { attnDecode, type DecodeTile } from '../../src/kernels/attnDecode.js';
import { attnPrefill, tileRows, type PrefillTile } from '../../src/kernels/attnPrefill.js';
import { hostTables } from '../../src/kernels/shared/batchInfo.js';
import { link } from '../../src/wgsl/link.js';
import { mergeSplits, mergeStates } from '../../src/kernels/mergeStates.js';
import { attnVarlenReference, mergeStatesReference } from '../../src/reference/attention.js';
import { NO_ROW } from '../../src/reference/hostTensor.js';
import { rotate } from '../../src/reference/attnWithKvCache.js';
import { batchOf, type Batch, type BatchOptions } from '../plan/batch.js';
import { fakeTensor } from '../runtime/fakeDevice.js';
import { HostBuffers } from './hostBuffers.js';
import { interpret } from './interpreter.js';
import { Random } from '../../tools/random.js';
import { checkLse, checkMerged, checkOut, checkRotated, checkSame } from '../reference/tolerance.js';

// The kernels run on the CPU, where every access to memory is noted, and give what the reference gives. Tiles are tiny,
// since this is slow, but have several of everything.

const PREFILL_TILE: PrefillTile = {
  teams: 2,
  lanes: 2,
  rows: 2,
  cols: 4,
  headQuads: 8,
  chunkQuads: 4,
  valueKeys: 4,
  qResident: true,
  subgroups: false,
  broadcast: false,
  f16Tiles: false,
  rolled: false,
};

/** 16 keys. */
const DECODE_TILE: DecodeTile = {
  threads: 8,
  rows: 2,
  parts: 2,
  headUnits: 4,
  maxLanes: 4,
  valueLanes: 2,
  cols: 2,
  subgroups: false,
  broadcastLanes: 0,
  rolled: false,
};

/** ms, for a busy machine. */
const SLOW = 30_000;

const GRID = { maxWorkgroupsPerDimension: 65535 };

const CAUSAL = { heads: [2, 1], headDim: 32, masks: { right: 0 } } as const;

/** Two heads share the keys, of which there are several tiles; the last ones of rows and of keys are not full. */
function causalBatch(pageSize?: number): Batch {
  const sequences = [
    [5, 19],
    [2, 37],
  ] as const;
  return batchOf(sequences, { ...CAUSAL, ...(pageSize && { pageSize }) });
}

/** Just enough for every barrier to stand between something. */
function smallBatch(): Batch {
  return batchOf([[2, 23]], { ...CAUSAL, pageSize: 3 });
}

/** Every tile of rows against every chunk of keys. */
function workOf({ problem, lengths }: Batch, rows: number, nChunks = 1): AttentionWork {
  const group = problem.nHeads / problem.nKvHeads;
  const items: number[] = [];
  let nSlots = 0;
  lengths.qLen.forEach((qLen, sequence) => {
    for (let tile = 0; tile * rows < qLen * group; tile++)
      for (let chunk = 0; chunk < nChunks; chunk++)
        items.push(sequence, tile, chunkWord(chunk, nChunks), nSlots);
    nSlots += qLen * nChunks;
  });
  return {
    problem,
    tables: hostTables(problem, lengths),
    items: Uint32Array.from(items),
    range: [0, items.length / 4],
    parts: nChunks > 1 ? splitParts(problem, nSlots) : null,
    rotatedQ: null,
    ...GRID,
  };
}

function prefill(batch: Batch, tile: PrefillTile): Dispatch {
  return attnPrefill(workOf(batch, tileRows(tile)), tile);
}

function decodeRows(batch: Batch, tile: DecodeTile): Dispatch {
  return attnDecode(workOf(batch, tile.rows), tile);
}

/** Random numbers in all that a problem reads. */
function filled({ problem }: Batch): HostBuffers {
  const random = new Random(1);
  const buffers = new HostBuffers();
  const { q, k, v, append } = problem;
  for (const rows of [q, k, v, append?.newK, append?.newV])
    if (rows) buffers.write(rows.tensor, random.normals(elementCount(rows.tensor.shape)));
  return buffers;
}

/** Random numbers in q and in the pages that the table names; NaN in all others. */
function filledWhereSeen(batch: Batch): HostBuffers {
  const { k, v, pages } = batch.problem;
  const buffers = filled(batch);
  const named = new Set(pages!.table as Int32Array);
  for (const { tensor, page } of [k, v]) {
    const data = buffers.read(tensor).slice();
    for (let i = 0; i < pages!.nPages; i++) if (!named.has(i)) data.fill(NaN, i * page, (i + 1) * page);
    buffers.write(tensor, data);
  }
  return buffers;
}

/** The same with a page that is not there in the middle of each sequence, and none at all for the last. */
function withoutPages({ problem, lengths }: Batch): Batch {
  const pages = problem.pages!;
  const table = (pages.table as Int32Array).map((page, i) => {
    const [row, column] = [Math.floor(i / pages.width), i % pages.width];
    if (row === pages.nRows - 1) return -1;
    return column % 3 === 1 ? [pages.nPages, 2 ** 31 - 1, -(2 ** 31)][row % 3]! : page;
  });
  return { problem: { ...problem, pages: { ...pages, table } }, lengths };
}

function expectAttention({ problem, lengths }: Batch, buffers: HostBuffers): void {
  const { q, k, v, pages, out, lse, softmaxScale } = problem;
  const host = ({ tensor }: TokenRows) => ({ shape: tensor.shape, data: buffers.read(tensor) });
  const want = attnVarlenReference({
    q: host(q),
    k: host(k),
    v: host(v),
    cuSeqlensQ: [...lengths.qStart, q.tensor.shape[0]!],
    ...(pages
      ? { sequsedK: lengths.kLen, blockTable: pages.table as Int32Array }
      : { cuSeqlensK: [...lengths.kStart, k.tensor.shape[0]!] }),
    causal: true,
    softmaxScale,
  });
  checkOut({ actual: buffers.read(out.tensor), reference: want.out.data, dtype: 'f32' });
  checkLse({ actual: buffers.read(lse!.tensor), reference: want.lse.data });
}

function expectEveryBarrierNeeded(batch: Batch, dispatch: Dispatch): void {
  const barriers = link(dispatch.kernel, dispatch.spec).split('workgroupBarrier();').length - 1;
  expect(barriers).toBeGreaterThan(4);
  for (let removed = 0; removed < barriers; removed++) {
    let seen = 0;
    const without = (code: string) =>
      code.replace(/workgroupBarrier\(\);/g, (barrier) => (seen++ === removed ? '' : barrier));
    const races = interpret(dispatch, filled(batch), without);
    expect.soft(races, `without barrier ${removed + 1} of ${barriers}`).not.toEqual([]);
  }
}

describe('attn_prefill', { timeout: SLOW }, () => {
  const tiles: readonly { why: string; tile: PrefillTile; pageSize?: number }[] = [
    { why: 'queries stay', tile: PREFILL_TILE },
    { why: 'queries are staged with each chunk', tile: { ...PREFILL_TILE, qResident: false } },
    { why: 'one chunk, values in one step', tile: { ...PREFILL_TILE, chunkQuads: 8, valueKeys: 8 } },
    { why: 'pages of three', tile: PREFILL_TILE, pageSize: 3 },
  ];

  test.each(tiles)('has no race: $why', ({ tile, pageSize }) => {
    const batch = causalBatch(pageSize);
    const buffers = filled(batch);
    expect(interpret(prefill(batch, tile), buffers)).toEqual([]);
    expectAttention(batch, buffers);
  });

  test.each([1, 3, 8])(
    'pages of %d that are not there: their keys are masked, and nothing of them is read',
    (pageSize) => {
      const batch = withoutPages(causalBatch(pageSize));
      const buffers = filledWhereSeen(batch);
      expect(interpret(prefill(batch, PREFILL_TILE), buffers)).toEqual([]);
      expectAttention(batch, buffers);
    },
  );

  test('every barrier is needed', () => {
    const batch = smallBatch();
    expectEveryBarrierNeeded(batch, prefill(batch, { ...PREFILL_TILE, qResident: false }));
  });
});

describe('attn_decode', { timeout: SLOW }, () => {
  const tiles: readonly { why: string; tile: DecodeTile; pageSize?: number }[] = [
    { why: 'two threads share a key', tile: DECODE_TILE },
    {
      why: 'four threads share a key',
      tile: { ...DECODE_TILE, parts: 4, maxLanes: 2, valueLanes: 4, cols: 1 },
    },
    { why: 'keys and values in several steps', tile: { ...DECODE_TILE, parts: 1 } },
    { why: 'fewer rows than heads', tile: { ...DECODE_TILE, rows: 1, maxLanes: 2 } },
    { why: 'rolled loops', tile: { ...DECODE_TILE, rolled: true } },
    { why: 'pages of three', tile: DECODE_TILE, pageSize: 3 },
  ];

  test.each(tiles)('has no race: $why', ({ tile, pageSize }) => {
    const batch = causalBatch(pageSize);
    const buffers = filled(batch);
    expect(interpret(decodeRows(batch, tile), buffers)).toEqual([]);
    expectAttention(batch, buffers);
  });

  test.each([1, 3, 8])(
    'pages of %d that are not there: their keys are masked, and nothing of them is read',
    (pageSize) => {
      const batch = withoutPages(causalBatch(pageSize));
      const buffers = filledWhereSeen(batch);
      expect(interpret(decodeRows(batch, DECODE_TILE), buffers)).toEqual([]);
      expectAttention(batch, buffers);
    },
  );

  test('every barrier is needed', () => {
    const batch = smallBatch();
    expectEveryBarrierNeeded(batch, decodeRows(batch, DECODE_TILE));
  });

  test('chunks go to slots of their own, and merge to the whole', () => {
    const batch = causalBatch(3);
    const { problem, lengths } = batch;
    const buffers = filled(batch);
    const work = workOf(batch, DECODE_TILE.rows, 4);
    const tokens = [...lengths.qLen].flatMap((qLen, b) => Array.from({ length: qLen }, (_, i) => [b, i]));
    const items = Uint32Array.from(tokens.flatMap(([b, i], index) => [b!, i!, 4 * index, 4]));
    expect(interpret(attnDecode(work, DECODE_TILE), buffers)).toEqual([]);
    const merge = mergeSplits({ problem, tables: work.tables, items, parts: work.parts!, ...GRID });
    expect(interpret(merge, buffers)).toEqual([]);
    expectAttention(batch, buffers);
  });
});

describe('append_kv', () => {
  const SEQUENCES = [
    [1, 4],
    [2, 2],
    [3, 7],
  ] as const;
  const newTokens = [2, 0, 3];
  const angles = new Random(2).uniforms(14, 0, 2 * Math.PI);
  const rotary: Rotary = {
    cos: angles.map(Math.cos),
    sin: angles.map(Math.sin),
    nPositions: 7,
    pairs: 2,
    interleaved: true,
    queriesAdvance: true,
  };

  /** (sequence, token) of so many tokens of each sequence. */
  function argsOf({ problem, lengths }: Batch, counts: readonly number[]) {
    const pairs = counts.flatMap((count, b) => Array.from({ length: count }, (_, t) => [b, t]));
    return {
      problem,
      tables: hostTables(problem, lengths),
      items: Uint32Array.from(pairs.flat()),
      ...GRID,
    };
  }

  function rotated(token: Float32Array, position: number): Float64Array {
    const { cos, sin, pairs, interleaved, nPositions } = rotary;
    const shape = [nPositions, pairs];
    const head = Float64Array.from(token);
    rotate(head, position, {
      cos: { data: cos as Float32Array, shape },
      sin: { data: sin as Float32Array, shape },
      interleaved,
    });
    return head;
  }

  /** A cache after new tokens, rotated or not. */
  function reference({ problem, lengths }: Batch, cache: PagedRows, fresh: TokenRows, buffers: HostBuffers) {
    const { nKvHeads, headDim, pages, append } = problem;
    const want = Float64Array.from(buffers.read(cache.tensor));
    const tokens = buffers.read(fresh.tensor);
    const dtype = cache.tensor.dtype as FloatDType;
    const isRotated = append!.rotary !== null && cache === problem.k;
    lengths.nCached.forEach((nCached, b) => {
      for (let key = nCached; key < lengths.kLen[b]!; key++) {
        const row = pages ? slotOf(pages, b, key) : lengths.kStart[b]! + key;
        if (row === NO_ROW) continue;
        for (let head = 0; head < nKvHeads; head++) {
          const from = ((lengths.newStart[b]! + key - nCached) * nKvHeads + head) * headDim;
          const token = tokens.subarray(from, from + headDim);
          const stored = isRotated ? rotated(token, key) : Float64Array.from(token);
          want.set(
            stored.map((x) => roundTo(dtype, x)),
            (row * nKvHeads + head) * headDim,
          );
        }
      }
    });
    return want;
  }

  function slotOf(pages: NonNullable<Batch['problem']['pages']>, b: number, key: number): number {
    const page = (pages.table as Int32Array)[b * pages.width + Math.floor(key / pages.pageSize)]!;
    return page >= 0 && page < pages.nPages ? page * pages.pageSize + (key % pages.pageSize) : NO_ROW;
  }

  const batchWith = (options: BatchOptions) => batchOf(SEQUENCES, { heads: [2, 2], newTokens, ...options });

  const cases: readonly { why: string; options: BatchOptions }[] = [
    { why: 'f32', options: { headDim: 5 } },
    { why: 'halves by whole words', options: { headDim: 6, kvDType: 'f16' } },
    { why: 'halves whose rows share words', options: { headDim: 5, kvDType: 'bf16' } },
    { why: 'halves from halves', options: { headDim: 5, dtype: 'f16' } },
    { why: 'pages of three', options: { headDim: 5, kvDType: 'f16', pageSize: 3 } },
    { why: 'rotated', options: { headDim: 6, kvDType: 'f16', rotary } },
  ];

  test.each(cases)('writes new tokens, and nothing beside them: $why', ({ options }) => {
    const batch = batchWith(options);
    const { k, v, append } = batch.problem;
    const buffers = filled(batch);
    const args = argsOf(batch, newTokens);
    const want = {
      k: reference(batch, k, append!.newK!, buffers),
      v: reference(batch, v, append!.newV!, buffers),
    };
    expect(interpret(appendK(args, append!.newK!), buffers)).toEqual([]);
    expect(interpret(appendV(args, append!.newV!), buffers)).toEqual([]);
    const dtype = k.tensor.dtype as FloatDType;
    checkRotated('kCache', { actual: buffers.read(k.tensor), reference: want.k }, dtype);
    checkSame('vCache', { actual: buffers.read(v.tensor), reference: want.v });
  });

  test('writes rotated queries to memory that is laid out like theirs', () => {
    const batch = batchWith({ headDim: 5, dtype: 'f16', rotary });
    const { problem, lengths } = batch;
    const buffers = filled(batch);
    const into = rotatedQScratch(problem);
    expect(interpret(rotateQ(argsOf(batch, [...lengths.qLen]), rotary, into), buffers)).toEqual([]);
    const queries = buffers.read(problem.q.tensor);
    const want = lengths.qLen.reduce<number[]>((rows, qLen, b) => {
      for (let row = 0; row < 2 * qLen; row++) {
        const from = (2 * lengths.qStart[b]! + row) * 5;
        rows.push(...rotated(queries.subarray(from, from + 5), lengths.nCached[b]! + Math.floor(row / 2)));
      }
      return rows;
    }, []);
    const actual = decode('f16', new Uint16Array(buffers.contentsOf(into), 0, want.length));
    checkRotated('q', { actual, reference: want }, 'f16');
  });

  test.each([
    { why: 'f32', options: { headDim: 5 } },
    { why: 'halves whose rows share words', options: { headDim: 5, kvDType: 'bf16' } },
  ] as const)('writes nothing where a page is not there: $why', ({ options }) => {
    const whole = batchWith({ ...options, pageSize: 2 });
    const batch = withoutPages(whole);
    const { k, append } = batch.problem;
    const buffers = filled(batch);
    const want = reference(batch, k, append!.newK!, buffers);
    expect(interpret(appendK(argsOf(batch, newTokens), append!.newK!), buffers)).toEqual([]);
    checkSame('kCache', { actual: buffers.read(k.tensor), reference: Float32Array.from(want) });
    expect(want).not.toEqual(Float64Array.from(reference(whole, k, append!.newK!, filled(whole))));
  });

  test('would race for the words that rows share, if it wrote whole ones', () => {
    const batch = batchWith({ headDim: 5, kvDType: 'f16' });
    const dispatch = appendK(argsOf(batch, [2, 0, 2]), batch.problem.append!.newK!);
    const careless = { ...dispatch, spec: { ...dispatch.spec, TO_WORDS: true } };
    expect(interpret(careless, filled(batch))).toContain('cache word 12: write beside write');
  });
});

describe('merge_states', () => {
  const [N_TOKENS, N_HEADS] = [3, 2];

  function statesOf(dtype: FloatDType, headDim: number) {
    const out = fakeTensor(dtype, [N_TOKENS, N_HEADS, headDim]);
    const lse = fakeTensor('f32', [N_HEADS, N_TOKENS]);
    return {
      out: { tensor: out, sequence: 0, token: N_HEADS * headDim, head: headDim },
      lse: { tensor: lse, sequence: 0, token: 1, head: N_TOKENS },
      hasTotals: false,
    };
  }

  function mergeOf(dtype: FloatDType, headDim: number, buffers: HostBuffers) {
    const random = new Random(1);
    const [a, b, into] = [statesOf('f32', headDim), statesOf(dtype, headDim), statesOf(dtype, headDim)];
    for (const { out, lse } of [a, b]) {
      buffers.write(out.tensor, random.normals(elementCount(out.tensor.shape)));
      buffers.write(lse.tensor, random.normals(elementCount(lse.tensor.shape)).fill(-Infinity, 0, 2));
    }
    const sizes = { batch: 1, nTokens: N_TOKENS, nHeads: N_HEADS, headDim, ...GRID };
    const dispatch = mergeStates({ ...sizes, a: { ...a, n: 1, outPart: 0, lsePart: 0 }, b, ...into });
    return { a, b, into, dispatch };
  }

  // Not halves by quads: the interpreter keeps vec2u as floats.
  test.each([
    { dtype: 'f32', headDim: 8, why: 'whole quads' },
    { dtype: 'f32', headDim: 6, why: 'element by element' },
    { dtype: 'f16', headDim: 6, why: 'halves' },
    { dtype: 'bf16', headDim: 5, why: 'halves whose rows share words' },
  ] as const)('writes each element once: $why', ({ dtype, headDim }) => {
    const buffers = new HostBuffers();
    const { a, b, into, dispatch } = mergeOf(dtype, headDim, buffers);
    const parts = [a, b].map(({ out, lse }) => ({
      out: { shape: out.tensor.shape, data: buffers.read(out.tensor) },
      lse: { shape: lse.tensor.shape, data: buffers.read(lse.tensor) },
    }));
    const want = mergeStatesReference(parts);
    expect(interpret(dispatch, buffers)).toEqual([]);
    checkRotated('out', { actual: buffers.read(into.out.tensor), reference: want.out.data }, dtype);
    checkMerged('lse', { actual: buffers.read(into.lse.tensor), reference: want.lse.data });
  });

  test('would race for the words that rows share, if it wrote whole ones', () => {
    const { dispatch } = mergeOf('f16', 6, new HostBuffers());
    const careless = { ...dispatch, spec: { ...dispatch.spec, OUT_WIDE: true } };
    expect(interpret(careless, new HostBuffers())).toContain('out word 2: write beside write');
  });
});
