import { attn } from '../../src/index.js';
import { attnReference } from '../../src/reference/attention.js';
import { download, upload } from '../../tools/deviceTensor.js';
import type { GpuCase } from '../platforms/gpuCase.js';
import { checkMalformedBatch, type BatchKind } from './malformedBatch.js';
import { checkTakenCalls } from './callsOnGpu.js';
import { Random } from '../../tools/random.js';
import { checkOut } from '../reference/tolerance.js';
import { withRuntime } from '../platforms/withRuntime.js';

const KINDS: readonly BatchKind[] = ['end to end', 'pages', 'rows of a cache', 'pages of a cache'];

/** Batches of each kind. */
const BATCHES = 20;

/** Changed calls; they need several kernels. */
const TAKEN = 4;

const numbers = KINDS.map((kind, i): GpuCase => ({
  name: `numbers on the GPU that are anything: ${kind}`,
  why: 'kernels neither read nor write outside of their tensors',
  run: (t) =>
    withRuntime(t, async (runtime) => {
      for (let batch = 0; batch < BATCHES; batch++) {
        const seed = 1000 * i + batch;
        try {
          await checkMalformedBatch(runtime, kind, new Random(seed));
        } catch (error) {
          throw new Error(`with the seed ${seed}: ${(error as Error).message}`, { cause: error });
        }
      }
      await runtime.done();
    }),
}));

export const cases: GpuCase[] = [
  ...numbers,
  {
    name: 'changed arguments that are taken all the same',
    why: 'they are valid for a real device, too, and mean what the reference says',
    run: (t) => withRuntime(t, (runtime) => checkTakenCalls(runtime, 1, TAKEN)),
  },
  {
    name: 'a soft cap far above all scores',
    why: 'tanh keeps its digits near zero, so there is as good as none',
    run: (t) =>
      withRuntime(t, async (runtime) => {
        const { device } = runtime;
        const random = new Random(1);
        const [q, k, v] = [4, 50, 50].map((tokens) => {
          const shape = [1, tokens, 1, 32];
          return { shape, data: random.normals(32 * tokens) };
        });
        const host = { q: q!, k: k!, v: v! };
        const [onGpuQ, onGpuK, onGpuV] = [host.q, host.k, host.v].map(({ shape, data }) =>
          upload(device, 'f32', shape, data),
        );
        const { out } = attn(runtime, { q: onGpuQ!, k: onGpuK!, v: onGpuV!, softcap: 2 ** 30 });
        const actual = await download(device, out);
        checkOut({ actual, reference: attnReference(host).out.data, dtype: 'f32' });
        for (const { buffer } of [onGpuQ!, onGpuK!, onGpuV!, out]) buffer.destroy();
      }),
  },
];
