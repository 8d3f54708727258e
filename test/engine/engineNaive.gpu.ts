import type { Gpu } from '../../demo/engine/gpu/gpu.js';
import { NaiveAttention, type NaiveAttentionOptions } from '../../demo/engine/naive/naiveAttention.js';
import type { NaiveStep } from '../../demo/engine/naive/naiveChunks.js';
import { rotaryTables, type RotaryTables } from '../../src/index.js';
import { attnWithKvCacheReference, type HostTensor } from '../../src/reference/attention.js';
import { Random } from '../../tools/random.js';
import { assert, assertEqual, type GpuCase, type GpuTest } from '../platforms/gpuCase.js';
import { readNumbers, rounded, run, store } from './gpuArrays.js';
import { sharedGpu } from './sharedGpu.js';

interface NaiveShape {
  readonly nHeads: number;
  readonly nKvHeads: number;
  readonly headDim: number;
  readonly dtype: 'f32' | 'f16';
  readonly softcap: number;
  readonly rotary: { readonly rotaryDim: number; readonly rotaryInterleaved: boolean };
  /** Of layers. */
  readonly windows: readonly (number | null)[];
  readonly scoresBytes?: number;
}

const CAPACITY = 90;
const N_SLOTS = 4;
const MAX_ROWS = 140;

/** Prompts, one of them in chunks, beside tokens of others; a slot that is taken over; a step of nothing. */
const STEPS: readonly NaiveStep[] = [
  { slots: [2, 0], cacheSeqlens: [0, 0], cuSeqlensQ: [0, 70, 75] },
  { slots: [0, 3, 2], cacheSeqlens: [5, 0, 70], cuSeqlensQ: [0, 1, 34, 35] },
  { slots: [3, 1, 0, 2], cacheSeqlens: [33, 0, 6, 71], cuSeqlensQ: [0, 40, 40, 41, 42] },
  { slots: [], cacheSeqlens: [], cuSeqlensQ: [0] },
  { slots: [2], cacheSeqlens: [0], cuSeqlensQ: [0, 90] },
];

function optionsOf(gpu: Gpu, shape: NaiveShape): NaiveAttentionOptions & { tables: RotaryTables } {
  const { nHeads, nKvHeads, headDim, dtype, softcap, windows, rotary, scoresBytes } = shape;
  const tables = rotaryTables({ headDim, maxPositions: CAPACITY, theta: 100, ...rotary });
  const onGpu = {
    cos: gpu.bufferOf('cosines', tables.rotaryCos),
    sin: gpu.bufferOf('sines', tables.rotarySin),
    ...rotary,
  };
  const bytes = dtype === 'f32' ? 4 : 2;
  return {
    nHeads,
    nKvHeads,
    headDim,
    dtype,
    softcap,
    nSlots: N_SLOTS,
    capacity: CAPACITY,
    softmaxScale: 0.4,
    maxRows: MAX_ROWS,
    qkv: gpu.buffer('qkv', MAX_ROWS * (nHeads + 2 * nKvHeads) * headDim * bytes),
    out: gpu.buffer('out', MAX_ROWS * nHeads * headDim * bytes),
    layers: windows.map((window) => ({ window, rotary: onGpu })),
    scoresBytes,
    tables,
  };
}

/** Runs the steps on the GPU and by the reference, whose cache goes from step to step, and compares every row. */
async function compare(gpu: Gpu, shape: NaiveShape, steps: readonly NaiveStep[]): Promise<void> {
  const { nHeads, nKvHeads, headDim, dtype, softcap, windows } = shape;
  const { tables, ...options } = optionsOf(gpu, shape);
  const naive = await NaiveAttention.create(gpu, options);
  const random = new Random(5);
  const tolerance = dtype === 'f32' ? 1e-5 : 4e-3;
  const cacheShape = [N_SLOTS, CAPACITY, nKvHeads, headDim];
  const empty = (): HostTensor => ({
    data: new Float64Array(N_SLOTS * CAPACITY * nKvHeads * headDim),
    shape: cacheShape,
  });
  const caches = windows.map(() => ({ k: empty(), v: empty() }));
  const angles = (data: Float32Array): HostTensor => ({
    data: Float64Array.from(data),
    shape: [CAPACITY, tables.rotaryDim / 2],
  });

  for (const [i, step] of steps.entries()) {
    const nRows = step.cuSeqlensQ[step.slots.length]!;
    naive.begin(step);
    for (const [layer, window] of windows.entries()) {
      if (nRows === 0) {
        run(gpu, (recorder) => naive.record(recorder, layer));
        continue;
      }
      const rowSize = (nHeads + 2 * nKvHeads) * headDim;
      const qkv = rounded(dtype, random.normals(nRows * rowSize));
      const stored = store(dtype, qkv);
      gpu.device.queue.writeBuffer(options.qkv, 0, stored.buffer, stored.byteOffset, stored.byteLength);
      run(gpu, (recorder) => naive.record(recorder, layer));
      const heads = (first: number, count: number): HostTensor => ({
        data: Float64Array.from({ length: nRows * count * headDim }, (_, at) => {
          const row = Math.floor(at / (count * headDim));
          return qkv[row * rowSize + first * headDim + (at % (count * headDim))]!;
        }),
        shape: [nRows, count, headDim],
      });
      const want = attnWithKvCacheReference({
        q: heads(0, nHeads),
        k: heads(nHeads, nKvHeads),
        v: heads(nHeads + nKvHeads, nKvHeads),
        kCache: caches[layer]!.k,
        vCache: caches[layer]!.v,
        cacheSeqlens: Int32Array.from(step.cacheSeqlens),
        cacheBatchIdx: Int32Array.from(step.slots),
        cuSeqlensQ: Int32Array.from(step.cuSeqlensQ),
        cuSeqlensKNew: Int32Array.from(step.cuSeqlensQ),
        rotaryCos: angles(tables.rotaryCos),
        rotarySin: angles(tables.rotarySin),
        rotaryInterleaved: tables.rotaryInterleaved,
        causal: true,
        windowSize: [window === null ? -1 : window - 1, -1],
        softmaxScale: options.softmaxScale,
        softcap,
        dtype,
      });
      caches[layer] = { k: want.kCache, v: want.vCache };
      const got = await readNumbers(gpu, options.out, dtype);
      for (let at = 0; at < want.out.data.length; at++) {
        const error = Math.abs(got[at]! - want.out.data[at]!);
        assert(
          error <= tolerance,
          `step ${i}, layer ${layer}: out[${at}] is ${got[at]}, expected ${want.out.data[at]}`,
        );
      }
    }
  }
  naive.destroy();
}

const BASE: NaiveShape = {
  nHeads: 4,
  nKvHeads: 2,
  headDim: 16,
  dtype: 'f32',
  softcap: 0,
  rotary: { rotaryDim: 16, rotaryInterleaved: false },
  windows: [null],
};

const SHAPES: readonly (Partial<NaiveShape> & { why: string })[] = [
  { windows: [null, 8, 1], why: 'layers with and without windows' },
  { dtype: 'f16', windows: [null, 33], why: 'halves, two a word' },
  {
    nHeads: 6,
    nKvHeads: 1,
    headDim: 10,
    rotary: { rotaryDim: 6, rotaryInterleaved: false },
    why: 'rotary of a part of an odd size',
  },
  {
    dtype: 'f16',
    rotary: { rotaryDim: 8, rotaryInterleaved: true },
    softcap: 2,
    why: 'neighbours rotated, softcap',
  },
  { scoresBytes: 4 * 4 * 200, windows: [null, 20], why: 'scores of two rows at a time' },
  { scoresBytes: 4 * 4 * 90, why: 'no more scores than those of one query' },
];

async function onFullAndPlain(t: GpuTest, use: (gpu: Gpu) => Promise<void>): Promise<void> {
  for (const kind of ['full', 'plain'] as const) {
    const gpu = sharedGpu(await t.device(kind));
    try {
      await use(gpu);
    } finally {
      gpu.destroy();
    }
  }
}

async function refusalOf(make: () => Promise<unknown>): Promise<string> {
  try {
    await make();
  } catch (error) {
    return (error as Error).message;
  }
  return 'nothing was refused';
}

/** Every shape against the reference, whose cache goes from step to step. */
export function naiveCases(steps: readonly NaiveStep[]): GpuCase[] {
  return SHAPES.map(({ why, ...shape }) => ({
    name: 'naive attention equals the reference, step after step',
    why,
    run: async (t) => onFullAndPlain(t, (gpu) => compare(gpu, { ...BASE, ...shape }, steps)),
  }));
}

export const cases: GpuCase[] = [
  ...naiveCases(STEPS),
  {
    name: 'naive attention that does not fit says so, with sizes',
    run: async (t) => {
      const gpu = sharedGpu(await t.device('plain'));
      const { tables: _, ...options } = optionsOf(gpu, BASE);
      const create = (changed: Partial<NaiveAttentionOptions>): Promise<string> =>
        refusalOf(() => NaiveAttention.create(gpu, { ...options, ...changed }));
      try {
        assertEqual(
          await create({ capacity: 1_000_000, nSlots: 2 }),
          'Naive attention does not fit: the keys of a layer, of 2 sequences of up to 1000000 tokens, take 256 MB, and ' +
            'the device binds at most 134 MB.',
        );
        assertEqual(
          await create({ scoresBytes: 1000 }),
          'Naive attention does not fit: the scores of one token with 90 keys take 1.44 kB, and there are at most ' +
            '1.00 kB for them.',
        );
        assertEqual(
          await create({ nKvHeads: 3 }),
          'naive attention: 4 query heads are not a multiple of 3 kv heads.',
        );
        assertEqual(await create({ headDim: 15 }), 'naive attention: headDim must be even, not 15.');
        assertEqual(
          await create({ headDim: 8 }),
          'naive attention: rotaryDim must be even and at most headDim, 8, not 16.',
        );
      } finally {
        gpu.destroy();
      }
    },
  },
  {
    name: 'a step that naive attention has no room for is refused',
    run: async (t) => {
      const gpu = sharedGpu(await t.device('full'));
      try {
        const { tables: _, ...options } = optionsOf(gpu, BASE);
        const naive = await NaiveAttention.create(gpu, options);
        const refusal = (step: NaiveStep): Promise<string> => refusalOf(async () => naive.begin(step));
        const one = { slots: [0], cacheSeqlens: [0], cuSeqlensQ: [0, 1] };
        assertEqual(await refusal(one), 'nothing was refused');
        const refused: readonly (readonly [Partial<NaiveStep>, string])[] = [
          [{ slots: [4] }, 'slots[0] is 4, and the cache has rows 0 to 3.'],
          [{ cacheSeqlens: [90] }, 'sequence 0 has 91 tokens, and the cache holds 90 of each.'],
          [{ cuSeqlensQ: [0, 141] }, 'the step has 141 tokens, and there is room for 140.'],
          [{ cuSeqlensQ: [0, -1] }, 'cuSeqlensQ goes down after sequence 0.'],
          [{ cuSeqlensQ: [1, 2] }, 'cuSeqlensQ begins with 1, not 0.'],
          [{ cuSeqlensQ: [0] }, 'cuSeqlensQ has 1 numbers, not 2.'],
          [{ cacheSeqlens: [] }, 'cacheSeqlens has 0 numbers, not 1.'],
          [
            { slots: [1, 1], cacheSeqlens: [0, 0], cuSeqlensQ: [0, 1, 2] },
            'sequences share row 1 of the cache.',
          ],
        ];
        for (const [changed, sentence] of refused)
          assertEqual(await refusal({ ...one, ...changed }), `naive attention: ${sentence}`);
      } finally {
        gpu.destroy();
      }
    },
  },
];
