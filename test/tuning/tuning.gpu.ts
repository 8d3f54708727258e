import { attnVarlen, createRuntime, tune, type Runtime, type Tuning } from '../../src/index.js';
import { chunkRule } from '../../src/plan/chunkRule.js';
import { decodeCandidates } from '../../src/plan/decodeTile.js';
import { prefillCandidates } from '../../src/plan/prefillTile.js';
import { DECODE_SHAPE, PREFILL_SHAPE, shapeOf } from '../../src/plan/tunedTiles.js';
import { defaultTuning } from '../../src/tuning/variations.js';
import { downloadBuffer } from '../../tools/deviceTensor.js';
import { checkKvCache } from '../attention/kvCacheCase.js';
import { checkVarlen, draw, place, type VarlenCase } from '../attention/varlenCase.js';
import { assert, assertEqual, type GpuCase } from '../platforms/gpuCase.js';
import { withRuntime } from '../platforms/withRuntime.js';

/** A prompt of many tiles, and a token over many keys. */
const MANY_TILES: VarlenCase = {
  why: 'many tiles',
  lengths: [
    [150, 150],
    [1, 700],
  ],
  heads: [4, 2],
  headDim: 32,
  dtype: 'f32',
  causal: true,
  numSplits: 2,
};

const SMALL_MODEL = { nHeads: 4, nKvHeads: 2, headDim: 32, dtype: 'f32' } as const;

/** A runtime with a tuning, on the device of another, for as long as `use` takes. */
async function withTuning<T>(
  { device }: Runtime,
  tuning: Tuning,
  use: (runtime: Runtime) => Promise<T>,
): Promise<T> {
  const runtime = createRuntime(device, { tuning });
  try {
    return await use(runtime);
  } finally {
    runtime.destroy();
  }
}

/** The bits of a call's results, and how many dispatches it took. */
async function bitsOf(runtime: Runtime): Promise<{ bits: Uint32Array; nDispatches: number }> {
  const { device } = runtime;
  const { args, lent } = place(device, MANY_TILES, draw(MANY_TILES));
  const encoder = device.createCommandEncoder();
  const pass = encoder.beginComputePass();
  let nDispatches = 0;
  const counting = {
    setPipeline: (pipeline: GPUComputePipeline) => pass.setPipeline(pipeline),
    setBindGroup: (index: number, group: GPUBindGroup) => pass.setBindGroup(index, group),
    dispatchWorkgroups(...grid: [number, number, number]) {
      nDispatches++;
      pass.dispatchWorkgroups(...grid);
    },
  };
  const { out } = attnVarlen(runtime, { ...args, pass: counting as unknown as GPUComputePassEncoder });
  pass.end();
  device.queue.submit([encoder.finish()]);
  const bits = new Uint32Array(await downloadBuffer(device, out.buffer));
  for (const { buffer } of [...lent, out]) buffer.destroy();
  return { bits, nDispatches };
}

export const cases: GpuCase[] = [
  {
    name: 'results have the same bits, however work is cut into dispatches',
    run: (t) =>
      withRuntime(t, async (runtime) => {
        const own = defaultTuning(runtime.traits, undefined);
        const at = (macsPerSecond: number) =>
          withTuning(
            runtime,
            { ...own, rates: { macsPerSecond, bytesPerSecond: 1e3 * macsPerSecond } },
            bitsOf,
          );
        const plain = await bitsOf(runtime);
        const fast = await at(1e15);
        const slow = await at(1e4);
        assert(
          slow.nDispatches > fast.nDispatches + 2,
          `${fast.nDispatches} dispatches were to become more, not ${slow.nDispatches}`,
        );
        assertEqual(fast.bits, plain.bits, 'out, in few dispatches');
        assertEqual(slow.bits, plain.bits, 'out, in many dispatches');
      }),
  },
  {
    name: 'the last tiles that may be tuned compute what the reference does',
    why: 'they are not those that calls run by default',
    run: (t) =>
      withRuntime(t, async (runtime) => {
        const { traits } = runtime;
        const sizes = { headDim: 32, headDimV: 32, paged: false };
        const prefill = prefillCandidates(traits, { ...sizes, qDType: 'f32', kvDType: 'f32' }).at(-1)!;
        const decode = decodeCandidates(traits, { ...sizes, kvDType: 'f32', nRows: 2 }).at(-1)!;
        const tuning: Tuning = {
          ...defaultTuning(traits, undefined),
          chunks: { ...chunkRule(traits), minKeys: 128 },
          prefill: [
            {
              headDim: 32,
              headDimV: 32,
              dtype: 'f32',
              kvDType: 'f32',
              tile: shapeOf(prefill, PREFILL_SHAPE),
            },
          ],
          decode: [
            { headDim: 32, headDimV: 32, kvDType: 'f32', rows: 2, tile: shapeOf(decode, DECODE_SHAPE) },
          ],
        };
        await withTuning(runtime, tuning, (tuned) => checkVarlen(tuned, { ...MANY_TILES, numSplits: 0 }));
      }),
  },
  {
    name: 'what tune returns serves createRuntime, and attention is what it was',
    why: 'however far it comes within its time',
    run: (t) =>
      withRuntime(t, async (runtime) => {
        const steps: string[] = [];
        const tuning = await tune(runtime, {
          ...SMALL_MODEL,
          budgetMs: 4000,
          onProgress: ({ step }) => steps.push(step),
        });
        assertEqual(steps.at(-1), 'done');
        const parsed = JSON.parse(JSON.stringify(tuning)) as Tuning;
        assertEqual(JSON.stringify(parsed), JSON.stringify(tuning), 'the tuning after a turn as JSON');
        await withTuning(runtime, parsed, (tuned) => checkVarlen(tuned, MANY_TILES));
      }),
  },
  {
    name: 'what is tuned for a cache of i4 serves it, turned and not',
    run: (t) =>
      withRuntime(t, async (runtime) => {
        const tuning = await tune(runtime, { ...SMALL_MODEL, kvDType: 'i4', budgetMs: 4000 });
        const shape = { heads: [4, 2], headDim: 32, dtype: 'f32', kvDType: 'i4', pageSize: 16 } as const;
        await withTuning(runtime, tuning, async (tuned) => {
          const step = { why: 'a step', ...shape, lengths: [[300, 1, 1]], causal: true } as const;
          await checkKvCache(tuned, step);
          await checkKvCache(tuned, { ...step, kvRotation: 'hadamard' });
          await checkKvCache(tuned, { ...step, why: 'a prompt', lengths: [[20, 70, 70]] });
        });
      }),
  },
  {
    name: 'a runtime learns the pace of its device from calls that it submits itself',
    run: (t) =>
      withRuntime(t, async (runtime) => {
        assertEqual(runtime.pace.macsPerSecond, 0, 'the pace of a new runtime');
        const q = runtime.createTensor([2048, 4, 64], 'f32');
        const lengths = { cuSeqlensQ: [0, 2048], cuSeqlensK: [0, 2048] };
        const { out } = attnVarlen(runtime, { q, k: q, v: q, ...lengths });
        await runtime.done();
        // Told in a later turn.
        await new Promise((resolve) => setTimeout(resolve, 20));
        assert(runtime.pace.macsPerSecond > 1e6, `the pace is ${runtime.pace.macsPerSecond}`);
        for (const { buffer } of [q, out]) buffer.destroy();
      }),
  },
];
