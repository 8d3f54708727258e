import { describe, expect, test } from 'vitest';
import type { DeviceTraits } from '../../src/core/deviceTraits.js';
import type { Dispatch } from '../../src/core/dispatch.js';
import { chunkWord, splitParts } from '../../src/kernels/shared/attention.js';
import type { DeviceLengths, Rotary } from '../../src/problem/attentionProblem.js';
import { decodeTileKeys } from '../../src/kernels/attnDecode.js';
import { tileKeys, tileRows } from '../../src/kernels/attnPrefill.js';
import { attentionWork, type Work, type WorkGroup } from '../../src/plan/attentionWork.js';
import { planAttention } from '../../src/plan/planAttention.js';
import { bytesOf } from '../../src/runtime/uploads.js';
import type { BindGroups, DataLocations } from '../../src/runtime/boundDispatch.js';
import type { Faults } from '../../src/runtime/faults.js';
import { Memory } from '../../src/runtime/memory.js';
import type { Pipelines } from '../../src/runtime/pipelines.js';
import { Recording } from '../../src/runtime/recording.js';
import { batchOf, type Batch, type BatchOptions } from './batch.js';
import { fakeBuffer, fakeTensor } from '../runtime/fakeDevice.js';
import { Random } from '../../tools/random.js';
import { traitsOf } from './traits.js';

type Sequences = readonly (readonly [nQueries: number, nKeys: number])[];

const GPU = traitsOf({});
/** Prefills by 32 rows and 16 keys. */
const SOFTWARE = traitsOf({ deviceClass: 'software', maxWorkgroupBytes: 32768 });

function workOf(sequences: Sequences, options: BatchOptions = {}, traits: DeviceTraits = GPU): Work {
  const { problem, lengths } = batchOf(sequences, options);
  return attentionWork(problem, lengths, traits);
}

/** Item of attention.wgsl, with what the plan knows of it. */
interface Job {
  readonly sequence: number;
  readonly rowTile: number;
  readonly chunk: number;
  readonly nChunks: number;
  readonly slot: number;
  readonly keyTiles: number;
  readonly group: WorkGroup;
}

function jobsOf({ groups }: Pick<Work, 'groups'>): Job[] {
  return groups.flatMap((group) =>
    Array.from(group.keyTiles, (keyTiles, i): Job => {
      const [sequence, rowTile, chunks, slot] = group.items.subarray(4 * i, 4 * i + 4) as unknown as [
        number,
        number,
        number,
        number,
      ];
      return {
        sequence,
        rowTile,
        chunk: chunks % 65536,
        nChunks: Math.floor(chunks / 65536),
        slot,
        keyTiles,
        group,
      };
    }),
  );
}

function kernelOf({ tile }: WorkGroup): string {
  return 'decode' in tile ? 'attn_decode' : 'attn_prefill';
}

function rowsOf({ tile }: WorkGroup): number {
  return 'decode' in tile ? tile.decode.rows : tileRows(tile.prefill);
}

function keysOf({ tile }: WorkGroup): number {
  return 'decode' in tile ? decodeTileKeys(tile.decode) : tileKeys(tile.prefill);
}

/** Into how many chunks each sequence that has queries was cut. */
function chunksOf(work: Work): number[] {
  const chunks = new Map(jobsOf(work).map(({ sequence, nChunks }) => [sequence, nChunks]));
  return [...chunks].toSorted(([a], [b]) => a - b).map(([, nChunks]) => nChunks);
}

/** Batches of all sorts, the same ones each time. */
function randomBatches(count: number): { sequences: Sequences; options: BatchOptions }[] {
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

describe('which kernel takes a sequence', () => {
  test.each([
    { nQueries: 1, heads: [1, 1], kernel: 'attn_decode', why: 'one token' },
    { nQueries: 1, heads: [64, 1], kernel: 'attn_decode', why: 'one token of however many heads' },
    { nQueries: 4, heads: [4, 1], kernel: 'attn_decode', why: '16 rows' },
    { nQueries: 16, heads: [8, 8], kernel: 'attn_decode', why: '16 rows of each kv head' },
    { nQueries: 17, heads: [8, 8], kernel: 'attn_prefill', why: 'more rows' },
    { nQueries: 2, heads: [9, 1], kernel: 'attn_prefill', why: 'two tokens of more rows' },
  ] as const)('$kernel: $why', ({ nQueries, heads, kernel }) => {
    const { groups } = workOf([[nQueries, 100]], { heads });
    expect(groups.map(kernelOf)).toEqual([kernel]);
  });

  test('a batch is as many groups as it needs tiles and outcomes', () => {
    const sequences: Sequences = [
      [1, 100],
      [40, 40],
      [2, 7],
      [1, 30],
      [1, 9000],
    ];
    const { groups } = workOf(sequences, { heads: [4, 1], numSplits: 2 });
    expect(groups.map((group) => [kernelOf(group), rowsOf(group), group.split])).toEqual([
      ['attn_decode', 4, false],
      ['attn_prefill', 32, true],
      ['attn_decode', 8, false],
      ['attn_decode', 4, true],
    ]);
  });
});

describe('jobs', () => {
  /** (sequence, row tile, tiles of keys) of prefills that are not split. */
  const prefillJobs = (sequences: Sequences, options: BatchOptions = {}) =>
    jobsOf(workOf(sequences, { numSplits: 1, ...options }, SOFTWARE)).map(
      ({ sequence, rowTile, keyTiles }) => [sequence, rowTile, keyTiles],
    );

  test('heaviest first, equals in order', () => {
    const sequences: Sequences = [
      [64, 64],
      [40, 200],
      [0, 50],
    ];
    expect(prefillJobs(sequences)).toEqual([
      [1, 0, 13],
      [1, 1, 13],
      [0, 0, 4],
      [0, 1, 4],
    ]);
  });

  test('causal order spares the tiles above the diagonal', () => {
    expect(prefillJobs([[96, 96]], { masks: { right: 0 } })).toEqual([
      [0, 2, 6],
      [0, 1, 4],
      [0, 0, 2],
    ]);
  });

  test('windows and chunks spare tiles on both sides', () => {
    expect(prefillJobs([[32, 320]], { masks: { left: 40, right: 0 } })).toEqual([[0, 0, 5]]);
    expect(prefillJobs([[32, 320]], { masks: { right: 0, attentionChunk: 64 } })).toEqual([[0, 0, 4]]);
  });

  test('keys hidden at the start spare tiles', () => {
    const { problem, lengths } = batchOf([[32, 320]]);
    const padded = { ...lengths, firstKey: Int32Array.of(100) };
    expect(Array.from(attentionWork(problem, padded, SOFTWARE).groups[0]!.keyTiles)).toEqual([14]);
  });

  test('the heads of a group are rows', () => {
    expect(prefillJobs([[20, 32]], { heads: [4, 1] })).toEqual([
      [0, 0, 2],
      [0, 1, 2],
      [0, 2, 2],
    ]);
  });

  test('rows that see no key are jobs all the same, since they must be written', () => {
    expect(prefillJobs([[40, 0]])).toEqual([
      [0, 0, 0],
      [0, 1, 0],
    ]);
    expect(jobsOf(workOf([[1, 0]])).map(({ keyTiles }) => keyTiles)).toEqual([0]);
  });

  test.each([
    { device: 'a GPU', traits: GPU },
    { device: 'a software adapter', traits: SOFTWARE },
  ])('cover every tile of rows and every chunk of keys once, on $device', ({ traits }) => {
    for (const { sequences, options } of randomBatches(100)) {
      const work = workOf(sequences, options, traits);
      const group = options.heads![0] / options.heads![1];
      const jobs = jobsOf(work);
      const want = sequences.flatMap(([nQueries], sequence) => {
        const own = jobs.find((job) => job.sequence === sequence);
        if (!own) return [];
        const nTiles = Math.ceil((nQueries * group) / rowsOf(own.group));
        return Array.from({ length: nTiles * own.nChunks }, (_, i) =>
          [sequence, Math.floor(i / own.nChunks), i % own.nChunks, own.nChunks].join(),
        );
      });
      const got = jobs.map(({ sequence, rowTile, chunk, nChunks }) =>
        [sequence, rowTile, chunk, nChunks].join(),
      );
      expect(got.toSorted()).toEqual(want.toSorted());
      expect(new Set(jobs.map(({ sequence }) => sequence)).size).toBe(
        sequences.filter(([n]) => n > 0).length,
      );
      for (const { keyTiles, split } of work.groups) {
        expect(keyTiles).toEqual(keyTiles.toSorted((a, b) => b - a));
        expect(split).toBe(jobs.find((job) => job.group.keyTiles === keyTiles)!.nChunks > 1);
      }
    }
  });
});

describe('chunks', () => {
  test('each token of a split sequence has slots of its own, one behind the other', () => {
    for (const { sequences, options } of randomBatches(100)) {
      const work = workOf(sequences, options);
      const merges = Array.from({ length: work.merges.length / 4 }, (_, i) =>
        Array.from(work.merges.subarray(4 * i, 4 * i + 4)),
      );
      let slots = 0;
      const want = new Map(
        jobsOf(work)
          .filter(({ nChunks }) => nChunks > 1)
          .map(({ sequence, nChunks, slot }) => [sequence, { nChunks, slot }]),
      );
      const tokens = [...want]
        .toSorted(([a], [b]) => a - b)
        .flatMap(([sequence, { nChunks, slot }]) => {
          expect(slot).toBe(slots);
          slots += sequences[sequence]![0] * nChunks;
          // A token's first slot, as attention.wgsl has it.
          return Array.from({ length: sequences[sequence]![0] }, (_, token) => [
            sequence,
            token,
            slot + token * nChunks,
            nChunks,
          ]);
        });
      expect(merges).toEqual(tokens);
      expect(work.nSlots).toBe(slots);
    }
  });

  test.each([
    { numSplits: 1, chunks: 1, why: 'one is none' },
    { numSplits: 3, chunks: 3, why: 'as many as asked for' },
    { numSplits: 8, chunks: 8, why: 'one for each tile of keys' },
    { numSplits: 100, chunks: 8, why: 'no more than there are tiles' },
  ])('numSplits: $why', ({ numSplits, chunks }) => {
    expect(chunksOf(workOf([[1, 1000]], { numSplits }))).toEqual([chunks]);
    expect(chunksOf(workOf([[40, 250]], { numSplits }))).toEqual([chunks]);
  });

  test('numSplits: a sequence that sees no key has one', () => {
    const sequences: Sequences = [
      [1, 0],
      [30, 0],
    ];
    expect(chunksOf(workOf(sequences, { numSplits: 4 }))).toEqual([1, 1]);
  });

  test('numSplits: no more than an item can count', () => {
    const roomy = traitsOf({ maxBindingBytes: 2 ** 30 });
    expect(chunkWord(65534, 65535)).toBeLessThan(2 ** 32);
    const most = jobsOf(workOf([[1, 128 * 65_535]], { numSplits: 70_000 }, roomy));
    expect(most).toHaveLength(65_535);
    // A tile more, and each chunk has two.
    const jobs = jobsOf(workOf([[1, 128 * 65_536]], { numSplits: 70_000 }, roomy));
    expect(jobs).toHaveLength(65_536 / 2);
    expect(jobs.every(({ nChunks }) => nChunks === 65_536 / 2)).toBe(true);
  });

  test('with numSplits fixed, a sequence is computed alike alone and among others', () => {
    for (const { sequences, options } of randomBatches(60)) {
      const numSplits = options.numSplits || 3;
      const batch = jobsOf(workOf(sequences, { ...options, numSplits }));
      sequences.forEach((sequence, b) => {
        const howOf = (jobs: Job[]) =>
          jobs.map(({ rowTile, chunk, nChunks, group }) => ({ rowTile, chunk, nChunks, tile: group.tile }));
        const alone = jobsOf(workOf([sequence], { ...options, numSplits }));
        expect(howOf(batch.filter((job) => job.sequence === b))).toEqual(howOf(alone));
      });
    }
  });

  test.each([
    { sequence: [1, 32_768], traits: GPU, workgroups: 512 },
    { sequence: [1, 1_000_000], traits: GPU, workgroups: 512 },
    { sequence: [64, 32_768], traits: GPU, workgroups: 512 },
    { sequence: [1, 32_768], traits: SOFTWARE, workgroups: 16 },
  ] as const)(
    'a sequence of $sequence alone is split until it fills the device',
    ({ sequence, traits, workgroups }) => {
      const jobs = jobsOf(workOf([sequence], { heads: [32, 8] }, traits));
      expect(jobs.length * 8).toBeGreaterThan(workgroups / 2);
      expect(jobs.length * 8).toBeLessThan(workgroups * 2);
    },
  );

  test('short sequences are not split, nor are those that fill the device by their number', () => {
    const times = (count: number, sequence: readonly [number, number]) =>
      Array.from({ length: count }, () => sequence);
    expect(workOf(times(3, [1, 250])).nSlots).toBe(0);
    expect(workOf(times(600, [1, 4000])).nSlots).toBe(0);
    expect(workOf(times(20, [1, 4000]), {}, SOFTWARE).nSlots).toBe(0);
    expect(workOf([[20_000, 20_000]]).nSlots).toBe(0);
  });

  test('prompts beside decoding sequences do not change how those are split', () => {
    const decoding: Sequences = [
      [1, 9000],
      [1, 3000],
    ];
    expect(chunksOf(workOf([...decoding, [500, 500]])).slice(0, 2)).toEqual(chunksOf(workOf(decoding)));
  });

  test.each([
    { sequences: 8, device: 'a GPU', traits: GPU },
    { sequences: 64, device: 'a GPU', traits: GPU },
    { sequences: 300, device: 'a GPU', traits: GPU },
    { sequences: 8, device: 'a software adapter', traits: SOFTWARE },
    { sequences: 64, device: 'a software adapter', traits: SOFTWARE },
  ])(
    '$sequences sequences of 100 to 4000 keys are pieces of like length on $device',
    ({ sequences, traits }) => {
      const random = new Random(1);
      const lengths = Array.from({ length: sequences }, () => [1, random.int(100, 4001)] as const);
      const jobs = jobsOf(workOf(lengths, { heads: [8, 2] }, traits));
      const pieces = jobs.map(({ sequence, chunk, nChunks, group }) => {
        // As attention.wgsl cuts them.
        const tiles = Math.ceil(lengths[sequence]![1] / keysOf(group));
        const perChunk = Math.ceil(tiles / nChunks);
        return Math.min(perChunk, tiles - chunk * perChunk);
      });
      const mean = pieces.reduce((sum, n) => sum + n, 0) / pieces.length;
      expect(Math.min(...pieces)).toBeGreaterThan(0);
      expect(Math.max(...pieces)).toBeLessThanOrEqual(2 * mean);
    },
  );

  test('parts never take more memory than is reasonable, or than the device binds', () => {
    for (const maxBindingBytes of [2 ** 27, 2 ** 20, 2 ** 16]) {
      const traits = traitsOf({ maxBindingBytes });
      for (const { sequences, options } of randomBatches(60)) {
        const batch = batchOf(sequences, { ...options, numSplits: 0, heads: [64, 4] });
        const { nSlots } = attentionWork(batch.problem, batch.lengths, traits);
        const { bytes } = splitParts(batch.problem, nSlots).out;
        expect(bytes).toBeLessThanOrEqual(Math.min(2 ** 25, maxBindingBytes));
      }
    }
  });

  test('numSplits that needs more memory than the device binds is refused', () => {
    expect(() =>
      workOf([[1, 9000]], { numSplits: 64 }, traitsOf({ maxBindingBytes: 8192 })),
    ).toThrowErrorMatchingInlineSnapshot(
      `[PageflashError: test: numSplits = 64 needs 9216 bytes for the parts of the output; this device binds at most 8192. Pass fewer, or 0 to let it be chosen.]`,
    );
  });
});

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
      sequsedK: null,
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
      planAttention(batch.problem, bounds(batch, most), GPU).map(({ kernel }) => kernel.name);
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
    const append = planAttention(batch.problem, bounds(batch, [1, 40], 2), GPU)[1]!;
    expect(append.kernel.name).toBe('append_kv');
    expect([...(append.bindings['items'] as Uint32Array)]).toEqual([0, 0, 0, 1, 1, 0, 1, 1]);
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
  const planOf = (sequences: Sequences, options: BatchOptions = {}, traits = GPU): Dispatch[] => {
    const { problem, lengths } = batchOf(sequences, options);
    return planAttention(problem, lengths, traits);
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
      kernels: ['append_kv', 'append_kv', 'attn_decode'],
      why: 'new keys and values first',
    },
    {
      sequences: [[1, 40]],
      options: { newTokens: [1], rotary },
      kernels: ['append_kv', 'append_kv', 'append_kv', 'attn_decode'],
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
      kernels: ['append_kv', 'append_kv'],
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
    expect(namesOf(planAttention({ ...problem, slopes }, lengths, GPU))).toEqual(kernels);
    expect(namesOf(planAttention({ ...problem, sinks }, lengths, GPU))).toEqual(kernels);
  });

  test('new tokens are listed sequence by sequence, once for keys and values', () => {
    const sequences: Sequences = [
      [1, 4],
      [2, 2],
      [1, 7],
    ];
    const [k, v, q] = planOf(sequences, { newTokens: [2, 0, 3], rotary });
    expect([...(k!.bindings['items'] as Uint32Array)]).toEqual([0, 0, 0, 1, 2, 0, 2, 1, 2, 2]);
    expect(v!.bindings['items']).toBe(k!.bindings['items']);
    expect([...(q!.bindings['items'] as Uint32Array)]).toEqual([0, 0, 1, 0, 1, 1, 2, 0]);
  });

  test('rotary alone rotates queries, to where attention reads them', () => {
    const batch = batchOf([[2, 40]], { rotary });
    const [rotate, attend] = planAttention(batch.problem, batch.lengths, GPU);
    const { tensor } = batch.problem.q;
    expect(rotate!.bindings['fresh']).toBe(tensor);
    expect(rotate!.bindings['cache']).toEqual({ scratch: 'rotated q', bytes: tensor.buffer.size });
    expect(attend!.bindings['q']).toBe(rotate!.bindings['cache']);
  });

  test('a recording keeps every list of a plan', () => {
    const written = new Map<GPUBuffer, Uint8Array>();
    const device = {
      createBuffer: ({ size }: GPUBufferDescriptor) => fakeBuffer(size),
      queue: {
        writeBuffer: (buffer: GPUBuffer, _at: number, bytes: Uint8Array) => written.set(buffer, bytes),
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
      expect.soft([...written.get(range.buffer)!], what).toEqual([...bytesOf(array)]);
  });

  test('much work is cut into dispatches that cover every job once', () => {
    for (const sequences of [
      [[6000, 6000]],
      Array.from({ length: 100 }, () => [1, 100_000]),
    ] as Sequences[]) {
      const options = { heads: [2, 2], masks: { right: 0 } } as const;
      const plan = planOf(sequences, options, SOFTWARE).filter(({ params }) => 'first_item' in params);
      expect(plan.length).toBeGreaterThan(2);
      const ranges = plan.map(({ params }) => [params['first_item']!, params['n_items']!] as const);
      ranges.forEach(([first], i) => expect(first).toBe(i === 0 ? 0 : ranges[i - 1]![1]));
      expect(ranges.at(-1)![1]).toBe(jobsOf(workOf(sequences, options, SOFTWARE)).length);
      const tiles = workOf(sequences, options, SOFTWARE).groups[0]!.keyTiles;
      const loads = ranges.map(([first, end]) => tiles.subarray(first, end).reduce((sum, n) => sum + n, 0));
      expect(Math.max(...loads)).toBeLessThan(2 * Math.min(...loads.slice(0, -1)));
    }
  });

  test('no dimension of a grid is above the limit, and every job has a workgroup', () => {
    const narrow = traitsOf({ maxWorkgroupsPerDimension: 100 });
    const sequences: Sequences = [...Array.from({ length: 60 }, () => [1, 600] as const), [2000, 2000]];
    const { problem, lengths } = batchOf(sequences, {
      heads: [8, 2],
      numSplits: 2,
      newTokens: sequences.map(([nQueries]) => nQueries),
      rotary,
    });
    const slopes = { values: fakeTensor('f32', [61, 8]), perSequence: true };
    const plan = planAttention({ ...problem, slopes }, lengths, narrow);
    expect([...new Set(namesOf(plan))]).toEqual([
      'gather_heads',
      'append_kv',
      'attn_decode',
      'attn_prefill',
      'merge_states',
    ]);
    const wide = planAttention({ ...problem, slopes }, lengths, GPU);
    plan.forEach(({ grid: [x, y, z] }, i) => {
      expect(Math.max(x, y, z)).toBeLessThanOrEqual(100);
      expect(x * y * z).toBeGreaterThanOrEqual(wide[i]!.grid[0]);
    });
  });
});
