import { describe, expect, test } from 'vitest';
import { decode, roundTo, type FloatDType } from '../../src/core/dtype.js';
import {
  appendKDispatch,
  appendVDispatch,
  packNewTokens,
  rotateQDispatch,
  rotatedQScratch,
} from '../../src/kernels/appendKv.js';
import type { PagedRows, Rotary, TokenRows } from '../../src/problem/attentionProblem.js';
import { hostBatchInfo } from '../../src/kernels/shared/batchInfo.js';
import { NO_ROW } from '../../src/reference/hostTensor.js';
import { rotate } from '../../src/reference/attnWithKvCache.js';
import { batchOf, type Batch, type BatchOptions } from '../plan/batch.js';
import { Random } from '../../tools/random.js';
import { checkRotated, checkSame } from '../reference/tolerance.js';
import { filled, GRID, withoutPages } from './batchesOnHost.js';
import { interpret, type HostBuffers } from './interpreter.js';

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

  /** So many tokens of each sequence. */
  function argsOf({ problem, lengths }: Batch, counts: readonly number[]) {
    return { problem, batchInfo: hostBatchInfo(problem, lengths), items: packNewTokens(counts), ...GRID };
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
    expect(interpret(appendKDispatch(args, append!.newK!), buffers)).toEqual([]);
    expect(interpret(appendVDispatch(args, append!.newV!), buffers)).toEqual([]);
    const dtype = k.tensor.dtype as FloatDType;
    checkRotated('kCache', { actual: buffers.read(k.tensor), reference: want.k }, dtype);
    checkSame('vCache', { actual: buffers.read(v.tensor), reference: want.v });
  });

  test('writes rotated queries to memory that is laid out like theirs', () => {
    const batch = batchWith({ headDim: 5, dtype: 'f16', rotary });
    const { problem, lengths } = batch;
    const buffers = filled(batch);
    const into = rotatedQScratch(problem);
    expect(interpret(rotateQDispatch(argsOf(batch, [...lengths.qLen]), rotary, into), buffers)).toEqual([]);
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
    expect(interpret(appendKDispatch(argsOf(batch, newTokens), append!.newK!), buffers)).toEqual([]);
    checkSame('kCache', { actual: buffers.read(k.tensor), reference: Float32Array.from(want) });
    expect(want).not.toEqual(Float64Array.from(reference(whole, k, append!.newK!, filled(whole))));
  });

  test('would race for the words that rows share, if it wrote whole ones', () => {
    const batch = batchWith({ headDim: 5, kvDType: 'f16' });
    const dispatch = appendKDispatch(argsOf(batch, [2, 0, 2]), batch.problem.append!.newK!);
    const careless = { ...dispatch, spec: { ...dispatch.spec, TO_WORDS: true } };
    expect(interpret(careless, filled(batch))).toContain('cache word 12: write beside write');
  });
});
