import {
  attnVariants,
  attnWithKvCache,
  createRuntime,
  prepareModel,
  type PrepareProgress,
} from '../../src/index.js';
import { countCalls } from '../../tools/countCalls.js';
import { assert, assertEqual, type GpuCase } from '../platforms/gpuCase.js';
import { drawKvCache, placeKvCache, type KvCacheCase } from './kvCacheCase.js';
import { withRuntime } from '../platforms/withRuntime.js';

const DECODING: KvCacheCase = {
  why: 'a token each, after few and after many',
  lengths: [
    [40, 1, 1],
    [1500, 1, 1],
  ],
  heads: [4, 2],
  headDim: 32,
  dtype: 'f32',
  pageSize: 16,
};

/** Milliseconds that `prepare` may block the thread at a time, in Chrome. */
const LONGEST_TURN = 5;

export const cases: GpuCase[] = [
  {
    name: 'prepareModel compiles what steps of the model then need, and runs it',
    run: (t) =>
      withRuntime(t, async (runtime) => {
        const { device } = runtime;
        const seen: PrepareProgress[] = [];
        await prepareModel(runtime, {
          nHeads: 4,
          nKvHeads: 2,
          headDim: 32,
          dtype: 'f32',
          paged: true,
          maxTokens: 1,
          maxContext: 1501,
          warmUp: true,
          onProgress: (progress) => seen.push(progress),
        });
        const { done, total } = seen.at(-1)!;
        assertEqual(done, total, 'kernels that are ready');
        const { args } = placeKvCache(device, DECODING, drawKvCache(DECODING));
        const counts = countCalls(device, () => {
          attnWithKvCache(runtime, args);
          attnWithKvCache(runtime, { ...args, numSplits: 2 });
        });
        assertEqual(counts.createShaderModule + counts.createComputePipeline, 0, 'compiled by a call');
        await runtime.done();
      }),
  },
  {
    name: `prepare makes one module a turn, and in Chrome keeps the thread for ${LONGEST_TURN} ms at most`,
    why: 'frames are to be drawn meanwhile',
    async run(t) {
      const device = await t.ownDevice();
      // Compilers run beside the thread, and would take minutes here.
      device.createComputePipelineAsync = () => Promise.resolve({} as GPUComputePipeline);
      const rounds: Turn[][] = [];
      for (let round = 0; round < ROUNDS; round++) rounds.push(await timeTurns(device));
      const modules = Math.max(...rounds.flat().map((turn) => turn.modules));
      assertEqual(modules, 1, 'the most modules of a turn');
      // In Node, Dawn parses a module on the thread that makes it.
      if (t.platform !== 'chrome') return;
      // Others on the machine may interrupt any turn, but hardly the same one each time.
      const shortest = rounds[0]!.map((_, i) => Math.min(...rounds.map((round) => round[i]!.ms)));
      assert(shortest.length >= 50, `only ${shortest.length} turns were timed`);
      const p95 = shortest.toSorted((a, b) => a - b)[Math.floor(0.95 * shortest.length)]!;
      assert(p95 <= LONGEST_TURN, `one turn in twenty takes more than ${p95} ms`);
    },
  },
];

const ROUNDS = 3;

interface Turn {
  readonly ms: number;
  /** Shader modules that were made in it. */
  readonly modules: number;
}

/** The turns of the event loop in which a new runtime prepares something. */
async function timeTurns(device: GPUDevice): Promise<Turn[]> {
  const runtime = createRuntime(device);
  const variants = [32, 64, 128].flatMap((headDim) =>
    (['f32', 'f16', 'bf16'] as const).flatMap((dtype) =>
      attnVariants(runtime, { headDim, dtype, group: 4, paged: true, newDType: dtype, rotary: true }),
    ),
  );
  const turns: Turn[] = [];
  const Original = globalThis.MessageChannel;
  const make = device.createShaderModule.bind(device);
  let modules = 0;
  device.createShaderModule = (descriptor) => {
    modules++;
    return make(descriptor);
  };
  let began: number | undefined;
  /** A turn begins with the message that was waited for, and ends where the next one is sent. */
  globalThis.MessageChannel = class extends Original {
    constructor() {
      super();
      if (began !== undefined) turns.push({ ms: performance.now() - began, modules });
      began = undefined;
      modules = 0;
      this.port1.addEventListener('message', () => (began = performance.now()));
    }
  };
  try {
    await runtime.prepare(variants);
  } finally {
    globalThis.MessageChannel = Original;
    device.createShaderModule = make;
    runtime.destroy();
  }
  return turns;
}
