import { describe, expect, test } from 'vitest';
import { StepMemory } from '../../src/core/stepMemory.js';
import { planCachedAttention } from '../../src/plan/planAppend.js';
import {
  hostLengths,
  NO_MASKS,
  type AttentionProblem,
  type HostLengths,
} from '../../src/problem/attentionProblem.js';
import { fakeTensor } from '../runtime/fakeDevice.js';
import { batchOf, type BatchOptions } from './batch.js';
import { traitsOf } from './traits.js';

const GPU = traitsOf({ deviceClass: 'gpu' });
const PAGE = 16;

/** Sequences that begin with `nKeys` keys in the same pages. */
function sharing(
  sequences: readonly (readonly [nQueries: number, nKeys: number])[],
  nKeys: number,
  options: BatchOptions = {},
): { readonly problem: AttentionProblem; readonly lengths: HostLengths } {
  const { problem, lengths } = batchOf(sequences, {
    heads: [8, 2],
    pageSize: PAGE,
    masks: { right: 0 },
    ...options,
  });
  const table = Int32Array.from({ length: nKeys / PAGE }, (_, i) => i);
  return { problem: { ...problem, sharedPrefix: { nKeys, table } }, lengths };
}

const DECODE = Array.from({ length: 8 }, (_, b) => [1, 1025 + b] as const);
const kernels = (problem: AttentionProblem, lengths: HostLengths): readonly string[] =>
  planCachedAttention(problem, lengths, GPU).map(({ kernel }) => kernel.name);

describe('a shared prefix', () => {
  test('is read by one list of work for all rows, and merged with what each sequence has', () => {
    const { problem, lengths } = sharing(DECODE, 1024);
    const dispatches = planCachedAttention(problem, lengths, GPU);
    // 32 rows of each kv head are one tile of attn_prefill.
    expect(dispatches.map(({ kernel }) => kernel.name)).toEqual([
      'attn_prefill',
      'attn_decode',
      'merge_states',
    ]);
    const [prefix, own, merge] = dispatches;
    expect(prefix!.bindings['block_table']).toBe(problem.sharedPrefix!.table);
    expect(prefix!.params['window_right']).toBe(-1);
    expect(own!.params['window_right']).toBe(0);
    expect(merge!.params['n_b']).toBeGreaterThan(0);
    expect(prefix!.bindings['out']).not.toEqual(own!.bindings['out']);
  });

  test('keeps the dispatches of the last step where only lengths have changed', () => {
    const { problem, lengths } = sharing(DECODE, 1024);
    const memory = new StepMemory();
    const first = planCachedAttention(problem, lengths, GPU, { memory });
    memory.begin();
    const kLen = lengths.kLen.map((length) => length + 1);
    const next = planCachedAttention(problem, hostLengths({ ...lengths, kLen }), GPU, { memory });
    expect(next).toEqual(first);
    next.forEach((dispatch, i) => expect(dispatch).toBe(first[i]));
  });

  const plain = ['attn_decode', 'merge_states'];

  test.each<{ why: string; change: Partial<AttentionProblem> }>([
    { why: 'with a window', change: { masks: { ...NO_MASKS, left: 100, right: 0 } } },
    { why: 'with chunks of attention', change: { masks: { ...NO_MASKS, right: 0, attentionChunk: 64 } } },
    {
      why: 'with first keys, which are counted from left padding',
      change: { masks: { ...NO_MASKS, right: 3, firstKeys: 8 } },
    },
    { why: 'with ALiBi', change: { slopes: { values: new Float32Array(8), perSequence: false } } },
    { why: 'that is no prefix', change: { sharedPrefix: null } },
  ])('is read by each sequence $why', ({ change }) => {
    const { problem, lengths } = sharing(DECODE, 1024);
    const changed = { ...problem, ...change };
    expect(kernels(changed, lengths)).toEqual(kernels({ ...changed, sharedPrefix: null }, lengths));
  });

  const TREES = [[3, 1027] as const, [2, 1026] as const, [1, 1025] as const, [4, 1100] as const];
  const tree = new Uint32Array(10).fill(1);
  const positions = Int32Array.from({ length: 10 }, (_, i) => 2000 - i);

  test.each<{ why: string; options: BatchOptions; isShared: boolean }>([
    { why: 'a tree', options: { tokens: { tree }, masks: { causal: true } }, isShared: true },
    { why: 'positions', options: { tokens: { positions }, masks: { causal: true } }, isShared: true },
    { why: 'both', options: { tokens: { positions, tree }, masks: {} }, isShared: true },
    {
      why: 'a right window of positions',
      options: { tokens: { positions }, masks: { right: 9 } },
      isShared: false,
    },
    { why: 'a window', options: { tokens: { tree }, masks: { left: 2000 } }, isShared: false },
    {
      why: 'chunks of attention',
      options: { tokens: { positions }, masks: { attentionChunk: 4000 } },
      isShared: false,
    },
  ])('of query tokens with $why: read once: $isShared', ({ options, isShared }) => {
    const { problem, lengths } = sharing(TREES, 1024, options);
    const dispatches = planCachedAttention(problem, lengths, GPU);
    const prefixes = dispatches.filter(({ spec }) => 'BY_TOKEN' in spec && !spec['BY_TOKEN']);
    expect(prefixes).toHaveLength(isShared ? 1 : 0);
    expect(prefixes.every(({ bindings }) => bindings['block_table'] === problem.sharedPrefix!.table)).toBe(
      true,
    );
  });

  test('is read by each sequence if a token of a tree is in it, whose key others may not see', () => {
    const within = TREES.map(([sq, sk], b) => (b === 1 ? ([sq, 1025] as const) : ([sq, sk] as const)));
    const { problem, lengths } = sharing(within, 1024, { tokens: { tree }, masks: { causal: true } });
    const alone = { ...problem, sharedPrefix: null };
    expect(kernels(problem, lengths)).toEqual(kernels(alone, lengths));
  });

  test('is read by each sequence with left padding, and if a query stands within it', () => {
    const { problem, lengths } = sharing(DECODE, 1024);
    expect(kernels(problem, { ...lengths, firstKey: new Int32Array(8).fill(1) })).toEqual(plain);
    const within = sharing(
      [
        [3, 1025],
        [3, 1026],
      ],
      1024,
    );
    expect(kernels(within.problem, within.lengths)).toEqual(plain);
  });

  test('is read by each sequence if rows of queries lie apart', () => {
    const { problem, lengths } = sharing(DECODE, 1024);
    const apart = { ...problem, q: { ...problem.q, sequenceStride: 7 * problem.q.tokenStride } };
    expect(kernels(apart, lengths)).toEqual(plain);
    const dense = { ...problem, q: { ...problem.q, sequenceStride: problem.q.tokenStride } };
    expect(kernels(dense, lengths)).toContain('attn_prefill');
  });

  test('is read by each sequence where that moves fewer bytes', () => {
    const alone = sharing([[1, 1025]], 1024);
    expect(kernels(alone.problem, alone.lengths)).toEqual(plain);
    const short = sharing(
      [
        [1, 1025],
        [1, 1025],
      ],
      PAGE,
      { heads: [64, 2] },
    );
    expect(short.problem.k.tensor).toEqual(fakeTensor('f32', short.problem.k.tensor.shape));
    expect(kernels(short.problem, short.lengths)).toEqual(plain);
  });
});
