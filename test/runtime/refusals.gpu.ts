import { PagedKvCache } from '../../src/cache/pagedKvCache.js';
import { attnVarlen, attnWithKvCache, createRuntime, planAttnVarlen } from '../../src/index.js';
import { BROKEN_KERNEL } from './brokenKernel.js';
import { upload } from '../../tools/deviceTensor.js';
import { assert, assertEqual, type GpuCase } from '../platforms/gpuCase.js';
import { refusal, rejection } from '../check/refusal.js';
import { draw, place } from '../attention/varlenCase.js';
import { withRuntime } from '../platforms/withRuntime.js';
import { assertFine, assertRefused, bitsOf, CACHE, SMALL } from './faultCase.js';

export const cases: GpuCase[] = [
  {
    name: 'done waits for what was submitted, and resolves if all went well',
    run: (t) =>
      withRuntime(t, async (runtime) => {
        await runtime.done();
        await assertFine(runtime);
      }),
  },
  {
    name: 'a buffer that was destroyed is reported once, by done, in the name of its call',
    run: (t) =>
      withRuntime(t, async (runtime) => {
        const { args } = place(runtime.device, SMALL, draw(SMALL));
        args.q.buffer.destroy();
        attnVarlen(runtime, args);
        assertRefused(await rejection(runtime.done()), 'buffer', 'attnVarlen: ', 'destroyed');
        await runtime.done();
        await assertFine(runtime);
      }),
  },
  {
    name: 'it is reported by the next call if that comes first, which then does nothing',
    run: (t) =>
      withRuntime(t, async (runtime) => {
        const { device } = runtime;
        const { args } = place(device, SMALL, draw(SMALL));
        const good = place(device, SMALL, draw(SMALL)).args;
        const plan = planAttnVarlen(runtime, good);
        const out = upload(device, 'f32', good.q.shape, []);
        args.k.buffer.destroy();
        for (const next of [
          () => attnVarlen(runtime, { ...good, out }),
          () => plan.record({ out }),
          () => runtime.createTensor([4], 'f32'),
        ]) {
          attnVarlen(runtime, args);
          await device.queue.onSubmittedWorkDone();
          // The error is reported by then, or in the same turn of the event loop.
          await new Promise((resolve) => setTimeout(resolve, 0));
          assertRefused(refusal(next), 'buffer', 'attnVarlen: ', 'destroyed');
        }
        const untouched = new Float32Array((await bitsOf(runtime, out)).buffer as ArrayBuffer);
        assert(untouched.every(Number.isNaN), 'the next call has written');
        plan.record({ out });
        await runtime.done();
      }),
  },
  {
    name: 'a buffer that is destroyed after its plan was made is reported in the name of the plan',
    run: (t) =>
      withRuntime(t, async (runtime) => {
        const { args } = place(runtime.device, SMALL, draw(SMALL));
        const plan = planAttnVarlen(runtime, args);
        const out = runtime.createTensor(args.q.shape, 'f32');
        plan.record({ out });
        await runtime.done();
        args.v.buffer.destroy();
        plan.record({ out });
        assertRefused(await rejection(runtime.done()), 'buffer', 'planAttnVarlen.record: ', 'destroyed');
      }),
  },
  {
    name: "another device's buffer is reported, at once where pageflash has made it",
    run: (t) =>
      withRuntime(t, async (runtime) => {
        const other = createRuntime(await t.ownDevice());
        const { args } = place(runtime.device, SMALL, draw(SMALL));
        const foreign = place(other.device, SMALL, draw(SMALL)).args;
        attnVarlen(runtime, { ...args, k: foreign.k });
        assertRefused(await rejection(runtime.done()), 'buffer', 'attnVarlen: ');

        const { q } = args;
        const made = other.createTensor(q.shape, q.dtype);
        const { out } = attnVarlen(other, foreign);
        const cache = await PagedKvCache.create(other, CACHE);
        for (const tensor of [made, out])
          assertEqual(
            refusal(() => attnVarlen(runtime, { ...args, q: tensor })),
            "device: attnVarlen: q was made by another device than the runtime's. Make it on this one, or bring it over by way of the host.",
          );
        const step = { q: upload(runtime.device, 'f32', [1, 1, 4, 32], []), cacheSeqlens: 0 };
        assertRefused(
          refusal(() => attnWithKvCache(runtime, { ...step, ...cache.layer(0), blockTable: [0] })),
          'device',
          'kCache was made by another device',
        );
        // Two runtimes of one device share what they make.
        attnVarlen(createRuntime(other.device), { ...foreign, q: made });
        await other.done();
        await assertFine(runtime);
        other.device.destroy();
      }),
  },
  {
    name: 'a cache whose buffer was destroyed is reported in the name of writePages',
    run: (t) =>
      withRuntime(t, async (runtime) => {
        const cache = await PagedKvCache.create(runtime, CACHE);
        cache.buffers[0]!.destroy();
        cache.writePages([0], [new Uint8Array(cache.pageBytes)]);
        assertRefused(await rejection(runtime.done()), 'buffer', 'PagedKvCache.writePages: ', 'destroyed');
        cache.copyPages([[0, 1]]);
        assertRefused(await rejection(runtime.done()), 'buffer', 'PagedKvCache.copyPages: ', 'destroyed');
      }),
  },
  {
    name: 'a kernel that was not prepared and is refused is reported with the words of the compiler',
    run: (t) =>
      withRuntime(t, async (runtime) => {
        const dispatch = {
          kernel: BROKEN_KERNEL,
          spec: {},
          params: {},
          bindings: {},
          grid: [1, 1, 1],
        } as const;
        runtime.submit([dispatch]);
        assertRefused(await rejection(runtime.done()), 'compile', 'let x: u32 = -1.5;');
        assertRefused(
          refusal(() => runtime.submit([dispatch])),
          'compile',
          'let x: u32 = -1.5;',
        );
        await assertFine(runtime);
      }),
  },
];
