import { describe, expect, test } from 'vitest';
import type { Dispatch } from '../../src/core/dispatch.js';
import type { DeviceLengths, Rotary } from '../../src/problem/attentionProblem.js';
import { attentionWork } from '../../src/plan/attentionWork.js';
import { planCachedAttention } from '../../src/plan/planAppend.js';
import { wordsOf } from '../../src/runtime/uploads.js';
import type { BindGroups, DataLocations } from '../../src/runtime/boundDispatch.js';
import type { Faults } from '../../src/runtime/faults.js';
import { Memory } from '../../src/runtime/memory.js';
import type { Pipelines } from '../../src/runtime/pipelines.js';
import { Recording } from '../../src/runtime/recording.js';
import { batchOf, type Batch, type BatchOptions } from './batch.js';
import { fakeBuffer, fakeTensor } from '../runtime/fakeDevice.js';
import { traitsOf } from './traits.js';
import { GPU, itemsOf, SOFTWARE, workOf, type Sequences } from './work.js';

describe('lengths on the GPU', () => {
  /** What `batch` may be at most, with so many queries, keys and new tokens of each sequence. */
  function bounds(
    { problem }: Batch,
    [maxSeqlenQ, maxSeqlenK]: readonly [number, number],
    maxNew = 0,
  ): DeviceLengths {
    const offsets = () => fakeTensor('i32', [problem.batch + 1]);
    return {
      cuSeqlensQ: offsets(),
      cuSeqlensK: offsets(),
      nCached: null,
      cuSeqlensKNew: null,
      cacheBatchIdx: null,
      cacheLeftpad: null,
      totalQ: problem.q.tensor.shape[0]!,
      keysInRows: false,
      totalK: problem.k.tensor.shape[0]!,
      totalNew: problem.batch * maxNew,
      maxNew,
      nRows: problem.batch,
      maxSeqlenQ,
      maxSeqlenK,
    };
  }

  test.each([
    { longest: [1, 9000], why: 'decoding, in chunks' },
    { longest: [70, 300], why: 'prefill' },
  ] as const)('are planned for as if every sequence were the longest: $why', ({ longest }) => {
    const batch = batchOf([longest, [0, 0], [1, 40]]);
    const most = attentionWork(batch.problem, bounds(batch, longest), GPU);
    expect(most).toEqual(workOf([longest, longest, longest]));
  });

  test('are gathered before anything else, and only if there is anything else', () => {
    const batch = batchOf([[1, 40]]);
    const namesOf = (most: readonly [number, number]) =>
      planCachedAttention(batch.problem, bounds(batch, most), GPU).map(({ kernel }) => kernel.name);
    expect(namesOf([1, 40])).toEqual(['gather_lengths', 'attn_decode']);
    expect(namesOf([0, 40])).toEqual([]);
  });

  test('list new tokens that there may be', () => {
    const batch = batchOf(
      [
        [1, 40],
        [1, 30],
      ],
      { newTokens: [1, 2] },
    );
    const append = planCachedAttention(batch.problem, bounds(batch, [1, 40], 2), GPU)[1]!;
    expect(append.kernel.name).toBe('append_kv');
    expect(append.params).toMatchObject({ n_items: 2, item_tokens: 2, items_at: 0 });
  });
});

describe('planAttention', () => {
  const rotary: Rotary = {
    cos: new Float32Array(200),
    sin: new Float32Array(200),
    nPositions: 100,
    pairs: 2,
    interleaved: true,
    queriesAdvance: true,
  };
  const planOf = (sequences: Sequences, options: BatchOptions = {}, traits = GPU): readonly Dispatch[] => {
    const { problem, lengths } = batchOf(sequences, options);
    return planCachedAttention(problem, lengths, traits);
  };
  const namesOf = (plan: readonly Dispatch[]) => plan.map(({ kernel }) => kernel.name);

  test.each<{ sequences: Sequences; options?: BatchOptions; kernels: string[]; why: string }>([
    { sequences: [], kernels: [], why: 'no sequences' },
    { sequences: [[0, 40]], kernels: [], why: 'no queries' },
    { sequences: [[0, 40]], options: { rotary }, kernels: [], why: 'no queries to rotate' },
    { sequences: [[1, 0]], kernels: ['attn_decode'], why: 'no keys: zeros must be written' },
    { sequences: [[40, 0]], kernels: ['attn_prefill'], why: 'no keys for many queries' },
    { sequences: [[1, 9000]], kernels: ['attn_decode', 'merge_states'], why: 'chunks' },
    {
      sequences: [
        [1, 40],
        [40, 40],
      ],
      kernels: ['attn_decode', 'attn_prefill'],
      why: 'both kernels',
    },
    {
      sequences: [[1, 40]],
      options: { newTokens: [1] },
      kernels: ['append_kv', 'attn_decode'],
      why: 'new keys and values first',
    },
    {
      sequences: [[1, 40]],
      options: { newTokens: [1], rotary },
      kernels: ['append_kv', 'append_kv', 'attn_decode'],
      why: 'queries rotated as well',
    },
    {
      sequences: [[1, 40]],
      options: { newTokens: [0], rotary },
      kernels: ['append_kv', 'attn_decode'],
      why: 'queries rotated, nothing new',
    },
    {
      sequences: [[1, 40]],
      options: { rotary },
      kernels: ['append_kv', 'attn_decode'],
      why: 'queries rotated, nothing to append',
    },
    {
      sequences: [[0, 40]],
      options: { newTokens: [3], rotary },
      kernels: ['append_kv'],
      why: 'new tokens, no queries',
    },
  ])('$why: $kernels', ({ sequences, options, kernels }) => {
    expect(namesOf(planOf(sequences, options))).toEqual(kernels);
  });

  test('slopes and sinks on the GPU are gathered first', () => {
    const { problem, lengths } = batchOf([[1, 40]]);
    const slopes = { values: fakeTensor('f32', [1]), perSequence: false };
    const sinks = fakeTensor('f32', [1]);
    const kernels = ['gather_heads', 'attn_decode'];
    expect(namesOf(planCachedAttention({ ...problem, slopes }, lengths, GPU))).toEqual(kernels);
    expect(namesOf(planCachedAttention({ ...problem, sinks }, lengths, GPU))).toEqual(kernels);
  });

  test('new tokens are listed sequence by sequence, if they are of few of them', () => {
    const sequences: Sequences = [
      [1, 4],
      [2, 2],
      [1, 7],
    ];
    const options = { newTokens: [5, 0, 0], rotary };
    const [kv, q] = planOf(sequences, options);
    const listOf = ({ bindings, params }: Dispatch) => {
      const words = bindings['batch_info'] as Uint32Array;
      return [...words.subarray(2 * params['items_at']!)];
    };
    expect(listOf(kv!)).toEqual([0, 0, 0, 1, 0, 2, 0, 3, 0, 4]);
    expect(q!.params).toMatchObject({ n_items: 3, item_tokens: 2, items_at: 0 });
  });

  test('a device that can bind ten buffers appends and rotates at once', () => {
    const traits = traitsOf({ maxStorageBuffers: 10 });
    const sequences: Sequences = [
      [1, 4],
      [2, 9],
    ];
    const [first, ...rest] = planOf(sequences, { newTokens: [2, 0], rotary }, traits);
    expect(first!.spec).toMatchObject({ APPENDS: true, QUERIES: true, ROTARY: true });
    expect(first!.params).toMatchObject({ n_items: 2, item_tokens: 2 });
    expect(new Set(namesOf(rest))).toEqual(new Set(['attn_decode']));
    const buffers = (plan: Dispatch) =>
      plan.kernel.bindings.filter(({ access }) => access !== 'uniform').length;
    expect(buffers(first!)).toBe(10);
    expect(
      planOf(sequences, { newTokens: [2, 0], rotary })
        .map(buffers)
        .slice(0, 2),
    ).toEqual([8, 5]);
  });

  test('keys, values and queries that must be apart are', () => {
    const { problem, lengths } = batchOf([[1, 40]], { newTokens: [1], rotary });
    const apart = { ...problem, append: { ...problem.append!, apart: true } };
    const plan = planCachedAttention(apart, lengths, traitsOf({ maxStorageBuffers: 10 }));
    expect(namesOf(plan)).toEqual(['append_kv', 'append_kv', 'append_kv', 'attn_decode']);
    const written = plan.map(({ bindings }) =>
      ['k_cache', 'v_cache', 'rotated_q'].filter((name) => bindings[name]),
    );
    expect(written).toEqual([['k_cache'], ['v_cache'], ['rotated_q'], []]);
    expect(plan[1]!.bindings['cosines']).toBeNull();
  });

  test('rotary alone rotates queries, to where attention reads them', () => {
    const batch = batchOf([[2, 40]], { rotary });
    const [rotate, attend] = planCachedAttention(batch.problem, batch.lengths, GPU);
    const { tensor } = batch.problem.q;
    expect(rotate!.bindings['q']).toBe(tensor);
    expect(rotate!.bindings['rotated_q']).toEqual({ scratch: 'rotated q', bytes: tensor.buffer.size });
    expect(attend!.bindings['q']).toBe(rotate!.bindings['rotated_q']);
  });

  test('a recording keeps every list of a plan', () => {
    let written: readonly number[] = [];
    const device = {
      limits: { maxStorageBufferBindingSize: 2 ** 27 },
      createBuffer: ({ size }: GPUBufferDescriptor) => fakeBuffer(size),
      queue: {
        writeBuffer: (_: GPUBuffer, at: number, words: Uint32Array) => {
          expect(at).toBe(0);
          written = [...words];
        },
      },
    } as unknown as GPUDevice;
    const bound: DataLocations[] = [];
    const pipelines = { get: () => undefined } as unknown as Pipelines;
    const bindGroups = {
      keyOf: (_: Dispatch, locations: DataLocations) => String(bound.push(locations)),
    } as unknown as BindGroups;
    const sequences: Sequences = [
      [1, 40],
      [2, 30],
      [1, 9000],
    ];
    const plan = planOf(sequences, { heads: [4, 1], newTokens: [1, 2, 0], rotary });
    const faults = { createBuffer: device.createBuffer } as unknown as Faults;
    new Recording(device, new Memory(device, faults), pipelines, bindGroups).update(plan);
    const arrays = plan.flatMap((dispatch, i) =>
      Object.entries(dispatch.bindings).flatMap(([name, array]) =>
        ArrayBuffer.isView(array)
          ? [{ what: `${name} of ${dispatch.kernel.name}`, array, range: bound[i]!.arrays.get(array)! }]
          : [],
      ),
    );
    expect(arrays.length).toBeGreaterThan(10);
    for (const { what, array, range } of arrays)
      expect
        .soft(written.slice(range.offset / 4, range.offset / 4 + array.length), what)
        .toEqual([...wordsOf(array)]);
  });

  test('much work is cut into dispatches that cover every item once', () => {
    for (const sequences of [
      [[6000, 6000]],
      Array.from({ length: 100 }, () => [1, 100_000]),
    ] as Sequences[]) {
      const options = { heads: [2, 2], masks: { right: 0 } } as const;
      const plan = planOf(sequences, options, SOFTWARE).filter(({ params }) => 'first_item' in params);
      expect(plan.length).toBeGreaterThan(2);
      const ranges = plan.map(({ params }) => [params['first_item']!, params['end_item']!] as const);
      ranges.forEach(([first], i) => expect(first).toBe(i === 0 ? 0 : ranges[i - 1]![1]));
      expect(ranges.at(-1)![1]).toBe(itemsOf(workOf(sequences, options, SOFTWARE)).length);
      const tiles = workOf(sequences, options, SOFTWARE).lists[0]!.keyTiles;
      const loads = ranges.map(([first, end]) => tiles.subarray(first, end).reduce((sum, n) => sum + n, 0));
      expect(Math.max(...loads)).toBeLessThan(2 * Math.min(...loads.slice(0, -1)));
    }
  });

  test('no dimension of a grid is above the limit, and every item has a workgroup', () => {
    const narrow = traitsOf({ maxWorkgroupsPerDimension: 100 });
    const sequences: Sequences = [...Array.from({ length: 60 }, () => [1, 600] as const), [2000, 2000]];
    const { problem, lengths } = batchOf(sequences, {
      heads: [8, 2],
      numSplits: 2,
      newTokens: sequences.map(([nQueries]) => nQueries),
      rotary,
    });
    const slopes = { values: fakeTensor('f32', [61, 8]), perSequence: true };
    const plan = planCachedAttention({ ...problem, slopes }, lengths, narrow);
    expect([...new Set(namesOf(plan))]).toEqual([
      'gather_heads',
      'append_kv',
      'attn_decode',
      'attn_prefill',
      'merge_states',
    ]);
    const wide = planCachedAttention({ ...problem, slopes }, lengths, GPU);
    plan.forEach(({ grid: [x, y, z] }, i) => {
      expect(Math.max(x, y, z)).toBeLessThanOrEqual(100);
      expect(x * y * z).toBeGreaterThanOrEqual(wide[i]!.grid[0]);
    });
  });
});
