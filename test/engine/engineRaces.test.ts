import { describe, expect, test } from 'vitest';
import { checkSampling } from '../../demo/engine/kernels/sampling.js';
import { title, type GpuCase, type GpuTest } from '../platforms/gpuCase.js';
import { cpuDevice, type CpuDevice, type Edit } from '../wgslOnCpu/cpuDevice.js';
import { cases as layers } from './engineLayers.gpu.js';
import { linearCase, type LinearShape } from './engineLinear.gpu.js';
import { naiveCases } from './engineNaive.gpu.js';
import { samplingCase } from './engineSample.gpu.js';

// The cases that compare the engine's kernels with their references on a GPU, on a device whose kernels run on the CPU,
// where every access to memory is noted. Sizes are small, since this is slow, but every way to write a kernel is there.

/** ms, for a busy machine. */
const SLOW = 60_000;

async function runOnCpu({ run }: GpuCase, cpu: CpuDevice): Promise<void> {
  const t: Pick<GpuTest, 'platform' | 'device'> = {
    platform: 'node',
    device: () => Promise.resolve(cpu.device),
  };
  await run(t as GpuTest);
}

function testEach(cases: readonly GpuCase[]): void {
  test.each(cases.map((each) => ({ each, name: title(each) })))(
    '$name',
    async ({ each }) => {
      const cpu = cpuDevice();
      await runOnCpu(each, cpu);
      expect(cpu.races).toEqual([]);
      expect(cpu.nDispatches).toBeGreaterThan(0);
    },
    SLOW,
  );
}

const LINEAR: readonly LinearShape[] = [
  {
    format: 'f32',
    nIn: 32,
    nOut: 10,
    steps: [1, 2, 4, 8, 33],
    why: 'every kernel, outputs that end within four',
  },
  {
    format: 'f16',
    nIn: 100,
    nOut: 7,
    steps: [3, 33],
    bias: true,
    why: 'inputs that end within a group; a bias',
  },
  {
    format: 'f16',
    nIn: 33,
    nOut: 5,
    steps: [2, 33],
    adds: true,
    why: 'rows that begin within quads, added to y',
  },
  {
    format: 'bf16',
    nIn: 64,
    nOut: 66,
    steps: [5, 33],
    xType: 'f16',
    yType: 'f16',
    bias: true,
    why: 'halves in and out',
  },
  {
    format: 'f16',
    nIn: 35,
    nOut: 6,
    steps: [3, 33],
    xType: 'f16',
    yType: 'f16',
    why: 'halves whose rows begin within words',
  },
  {
    format: 'bf16',
    nIn: 36,
    nOut: 8,
    steps: [9],
    xType: 'f16',
    why: 'halves that end within a group; two rounds of rows',
  },
  { format: 'i8', nIn: 72, nOut: 9, steps: [1, 8, 33], why: 'scales of bytes' },
  { format: 'i4', nIn: 96, nOut: 9, steps: [1, 8, 33], why: 'scales of nibbles, an odd number of groups' },
  { format: 'f16', nIn: 1024, nOut: 3, steps: [1], why: 'as many lanes as a workgroup has' },
];

describe('linear_vector, linear_tiled', () => testEach(LINEAR.map(linearCase)));

describe('embed, rms_norm, head_norm, gate, softcap_logits', () =>
  testEach(layers.filter(({ name }) => name !== 'softcap_logits of more quads than a row of the grid has')));

const SAMPLED = { vocabSize: 37, rowStride: 39, spread: 2, why: 'rows that begin within quads' };

describe('sample_mark, sample_scan, sample_pick', () => testEach([samplingCase(SAMPLED)]));

const NAIVE = naiveCases([
  { slots: [2, 0], cacheSeqlens: [0, 0], cuSeqlensQ: [0, 3, 5] },
  { slots: [0, 2], cacheSeqlens: [2, 3], cuSeqlensQ: [0, 1, 3] },
]);

describe('naive_append, naive_scores, naive_softmax, naive_weighted_sum', () => testEach(NAIVE));

const BARRIER = 'workgroupBarrier();';

describe('every barrier is needed', () => {
  const norms = (name: string): GpuCase => layers.find((each) => each.name === name)!;
  // Flat, so that it matters whether half of the mass is that of six tokens or of all.
  const filters = checkSampling({ temperature: 3, topK: 6, topP: 0.5, seed: 17 });
  const sampling = samplingCase({ ...SAMPLED, combinations: Array.from({ length: 6 }, () => filters) });
  const product = linearCase(
    { format: 'i4', nIn: 512, nOut: 6, steps: [8, 33], why: 'several lanes and slices' },
    1,
  );

  test.each([
    { kernel: 'linear_vector', each: product },
    { kernel: 'linear_tiled', each: product },
    { kernel: 'rms_norm', each: norms('rms_norm [3, 576]') },
    { kernel: 'head_norm', each: norms('head_norm 3 × [9, 3, 64]') },
    { kernel: 'sample_scan', each: sampling },
    { kernel: 'sample_pick', each: sampling },
    { kernel: 'naive_softmax', each: NAIVE[0]! },
  ])(
    '$kernel',
    async ({ kernel, each }) => {
      let nBarriers = 0;
      for (let without = 0; without === 0 || without < nBarriers; without++) {
        const edit: Edit = (code, entryPoint) => {
          if (entryPoint !== kernel) return code;
          nBarriers = code.split(BARRIER).length - 1;
          return withoutBarrier(code, without);
        };
        // Atomics do not race, but in the wrong order they give wrong results.
        const isFoundIn = async (isReversed: boolean): Promise<boolean> => {
          const cpu = cpuDevice({ edit, isReversed });
          const isRight = await runOnCpu(each, cpu).then(
            () => true,
            () => false,
          );
          expect(cpu.races.filter((race) => race.kernel !== kernel)).toEqual([]);
          return cpu.races.length > 0 || !isRight;
        };
        const isFound = (await isFoundIn(false)) || (await isFoundIn(true));
        expect(isFound, `something is wrong without barrier ${without}`).toBe(true);
      }
      expect(nBarriers).toBeGreaterThan(0);
    },
    SLOW,
  );
});

function withoutBarrier(code: string, index: number): string {
  const parts = code.split(BARRIER);
  return parts.slice(0, index + 1).join(BARRIER) + parts.slice(index + 1).join(BARRIER);
}
