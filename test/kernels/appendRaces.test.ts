import { describe, expect, test } from 'vitest';
import { decode, roundTo, type FloatDType } from '../../src/core/dtype.js';
import { appendDispatch, listNewTokens, rotatedQScratch, type Appended } from '../../src/kernels/appendKv.js';
import type { PagedRows, Rotary, TokenRows } from '../../src/problem/attentionProblem.js';
import { hostBatchInfo } from '../../src/kernels/shared/batchInfo.js';
import { NO_ROW } from '../../src/reference/hostTensor.js';
import { rotate } from '../../src/reference/attnWithKvCache.js';
import { batchOf, type Batch, type BatchOptions } from '../plan/batch.js';
import { Random } from '../../tools/random.js';
import { checkRotated, checkSame } from '../reference/tolerance.js';
import { filled, GRID, NO_ITEMS, ROTARY, withoutPages } from './batchesOnHost.js';
import { interpret, type HostBuffers } from './interpreter.js';

describe('append_kv', () => {
  const SEQUENCES = [
    [1, 4],
    [2, 2],
    [3, 7],
  ] as const;
  const newTokens = [2, 0, 3];

  /** A dispatch over so many tokens of each sequence, which writes new keys and values unless it is given what to. */
  function dispatchOf({ problem, lengths }: Batch, counts: readonly number[], given: Partial<Appended> = {}) {
    const { newK, newV } = problem.append!;
    const info = hostBatchInfo(problem, lengths, NO_ITEMS);
    const tokens = listNewTokens(Uint32Array.from(counts), info, () => info);
    return appendDispatch({ problem, tokens, writes: { newK, newV, rotatedQ: null, ...given }, ...GRID });
  }

  function rotated(token: Float32Array, position: number, by: Rotary): Float64Array {
    const { cos, sin, pairs, interleaved, nPositions } = by;
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
          const stored = isRotated ? rotated(token, key, append!.rotary!) : Float64Array.from(token);
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
    { why: 'f32, 16 bytes at a time', options: { headDim: 12 } },
    { why: 'halves, 16 bytes at a time', options: { headDim: 16, kvDType: 'f16' } },
    { why: 'halves by whole words', options: { headDim: 6, kvDType: 'f16' } },
    { why: 'halves whose rows share words', options: { headDim: 5, kvDType: 'bf16' } },
    { why: 'halves from halves', options: { headDim: 5, dtype: 'f16' } },
    { why: 'pages of three', options: { headDim: 5, kvDType: 'f16', pageSize: 3 } },
    { why: 'rotated', options: { headDim: 6, kvDType: 'f16', rotary: ROTARY } },
    {
      why: 'rotated, 16 bytes at a time',
      options: { headDim: 16, dtype: 'bf16', kvDType: 'f16', rotary: ROTARY },
    },
    {
      why: 'rotated as halves of a head',
      options: { headDim: 16, rotary: { ...ROTARY, interleaved: false } },
    },
  ];

  test.each(cases)('writes new tokens, and nothing beside them: $why', ({ options }) => {
    const batch = batchWith(options);
    const { k, v, append } = batch.problem;
    const buffers = filled(batch);
    const want = {
      k: reference(batch, k, append!.newK!, buffers),
      v: reference(batch, v, append!.newV!, buffers),
    };
    expect(interpret(dispatchOf(batch, newTokens), buffers)).toEqual([]);
    const dtype = k.tensor.dtype as FloatDType;
    checkRotated('kCache', { actual: buffers.read(k.tensor), reference: want.k }, dtype);
    checkSame('vCache', { actual: buffers.read(v.tensor), reference: want.v });
  });

  /** Queries after rotation, as they lie in memory. */
  function rotatedQueries({ problem, lengths }: Batch, buffers: HostBuffers): number[] {
    const { headDim } = problem;
    const queries = buffers.read(problem.q.tensor);
    return lengths.qLen.reduce<number[]>((rows, qLen, b) => {
      for (let row = 0; row < 2 * qLen; row++) {
        const from = (2 * lengths.qStart[b]! + row) * headDim;
        const position = lengths.nCached[b]! + Math.floor(row / 2);
        rows.push(...rotated(queries.subarray(from, from + headDim), position, problem.append!.rotary!));
      }
      return rows;
    }, []);
  }

  test('writes rotated queries to memory that is laid out like theirs', () => {
    const batch = batchWith({ headDim: 5, dtype: 'f16', rotary: ROTARY });
    const buffers = filled(batch);
    const into = rotatedQScratch(batch.problem);
    const queries = { newK: null, newV: null, rotatedQ: into };
    expect(interpret(dispatchOf(batch, [...batch.lengths.qLen], queries), buffers)).toEqual([]);
    const want = rotatedQueries(batch, buffers);
    const actual = decode('f16', new Uint16Array(buffers.contentsOf(into), 0, want.length));
    checkRotated('q', { actual, reference: want }, 'f16');
  });

  const wholePairs: Rotary = { ...ROTARY, pairs: 8, nPositions: 7, interleaved: false };
  const wholeAngles = new Random(3).uniforms(56, 0, 2 * Math.PI);

  test.each([
    { why: 'element by element', options: { headDim: 5, rotary: ROTARY } },
    { why: '16 bytes at a time', options: { headDim: 16, dtype: 'f16', rotary: ROTARY } },
    {
      why: 'halves of a head, 16 bytes at a time',
      options: {
        headDim: 24,
        dtype: 'bf16',
        rotary: { ...wholePairs, cos: wholeAngles.map(Math.cos), sin: wholeAngles.map(Math.sin) },
      },
    },
  ] as const)('writes keys, values and queries at once: $why', ({ options }) => {
    const batch = batchWith(options);
    const { k, v, append } = batch.problem;
    const buffers = filled(batch);
    const want = {
      k: reference(batch, k, append!.newK!, buffers),
      v: reference(batch, v, append!.newV!, buffers),
      q: rotatedQueries(batch, buffers),
    };
    const rotatedQ = rotatedQScratch(batch.problem);
    const counts = [...batch.lengths.qLen].map((qLen, b) => Math.max(qLen, newTokens[b]!));
    expect(interpret(dispatchOf(batch, counts, { rotatedQ }), buffers)).toEqual([]);
    const dtype = k.tensor.dtype as FloatDType;
    checkRotated('kCache', { actual: buffers.read(k.tensor), reference: want.k }, dtype);
    checkSame('vCache', { actual: buffers.read(v.tensor), reference: want.v });
    const Words = dtype === 'f32' ? Float32Array : Uint16Array;
    const actual = decode(dtype, new Words(buffers.contentsOf(rotatedQ), 0, want.q.length));
    checkRotated('q', { actual, reference: want.q }, dtype);
  });

  test('items are sequences where these have about as many tokens, else tokens, or many of them', () => {
    const list = (...counts: number[]) => {
      const info = new Uint32Array(12 * counts.length);
      const { batchInfo, itemsAt, ...rest } = listNewTokens(Uint32Array.from(counts), info, () => info);
      return { ...rest, list: itemsAt && [...(batchInfo as Uint32Array).subarray(2 * itemsAt)] };
    };
    expect(list(1, 1, 1)).toEqual({ nItems: 3, itemTokens: 1, list: 0 });
    expect(list(3, 2, 4)).toEqual({ nItems: 3, itemTokens: 4, list: 0 });
    expect(list(1, 0, 0, 2, 0)).toEqual({ nItems: 3, itemTokens: 1, list: [0, 0, 3, 0, 3, 1] });
    const long = list(5000, 1, 17, 0);
    expect(long.itemTokens).toBe(16);
    expect(long.nItems).toBe(313 + 1 + 2);
    expect((long.list as number[]).slice(-8)).toEqual([0, 4992, 1, 0, 2, 0, 2, 16]);
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
    expect(interpret(dispatchOf(batch, newTokens), buffers)).toEqual([]);
    checkSame('kCache', { actual: buffers.read(k.tensor), reference: Float32Array.from(want) });
    expect(want).not.toEqual(Float64Array.from(reference(whole, k, append!.newK!, filled(whole))));
  });

  test('would race for the words that rows share, if it wrote whole ones', () => {
    const batch = batchWith({ headDim: 5, kvDType: 'f16' });
    const dispatch = dispatchOf(batch, [2, 0, 2]);
    const careless = { ...dispatch, spec: { ...dispatch.spec, WORDS: true } };
    expect(interpret(careless, filled(batch))).toContain('k_cache word 12: write beside write');
  });
});
