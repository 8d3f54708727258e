import { PagedKvCache, type PagedKvCacheOptions } from '../../src/cache/pagedKvCache.js';
import {
  attnVariants,
  attnVarlen,
  attnWithKvCache,
  createRuntime,
  planAttnVarlen,
  type Runtime,
  type Tensor,
} from '../../src/index.js';
import { BROKEN_KERNEL } from './brokenKernel.js';
import { downloadBuffer, upload } from '../../tools/deviceTensor.js';
import { assert, assertEqual, type GpuCase, type GpuTest } from '../platforms/gpuCase.js';
import { refusal, rejection } from '../check/refusal.js';
import { TwoChats } from './twoChats.js';
import { draw, place, type VarlenCase } from '../attention/varlenCase.js';
import { withRuntime } from '../platforms/withRuntime.js';

/** One kernel does all of it, as each device compiles it anew. */
const SMALL: VarlenCase = {
  why: 'small',
  lengths: [
    [4, 33],
    [1, 40],
  ],
  heads: [4, 2],
  headDim: 32,
  dtype: 'f32',
  causal: true,
};

const CACHE = {
  nLayers: 2,
  nKvHeads: 1,
  headDim: 32,
  dtype: 'f32',
  pageSize: 4,
  nPages: 8,
} as const satisfies PagedKvCacheOptions;

async function bitsOf({ device }: Runtime, { buffer }: Tensor): Promise<Uint32Array> {
  return new Uint32Array(await downloadBuffer(device, buffer));
}

function assertRefused(sentence: string, code: string, ...words: readonly string[]): void {
  assert(sentence.startsWith(`${code}: `), `not of the code ${code}: ${sentence}`);
  for (const word of words) assert(sentence.includes(word), `no "${word}" in: ${sentence}`);
}

/** Works as if nothing had ever failed. */
async function assertFine(runtime: Runtime): Promise<void> {
  const { args } = place(runtime.device, SMALL, draw(SMALL));
  const { out } = attnVarlen(runtime, args);
  await runtime.done();
  const bits = await bitsOf(runtime, out);
  assert(
    bits.some((word) => word !== 0),
    'nothing was computed',
  );
}

/** A device on which some buffers are too large for its memory: those of a label, for as long as `isFull`. */
class FullDevice {
  readonly device: GPUDevice;
  isFull = true;

  constructor(device: GPUDevice, label: string) {
    const createBuffer = (descriptor: GPUBufferDescriptor): GPUBuffer => {
      const isTooLarge = this.isFull && descriptor.label === label;
      return device.createBuffer(
        isTooLarge ? { ...descriptor, size: device.limits.maxBufferSize } : descriptor,
      );
    };
    this.device = new Proxy(device, {
      get(_, name) {
        if (name === 'createBuffer') return createBuffer;
        const value: unknown = Reflect.get(device, name, device);
        return typeof value === 'function' ? value.bind(device) : value;
      },
    });
  }
}

/** Take buffers of the largest size until there is no memory for one more. Software drivers have none for the first. */
async function takeMemory(device: GPUDevice): Promise<GPUBuffer[]> {
  const taken: GPUBuffer[] = [];
  for (;;) {
    device.pushErrorScope('out-of-memory');
    const buffer = device.createBuffer({
      size: device.limits.maxBufferSize,
      usage: GPUBufferUsage.STORAGE,
    });
    if (await device.popErrorScope()) return taken;
    taken.push(buffer);
  }
}

/** What a case does while there is no memory for the largest buffer of the device. */
async function withoutMemory(
  t: GpuTest,
  label: string,
  use: (runtime: Runtime, full: FullDevice) => Promise<void>,
): Promise<void> {
  const device = await t.ownDevice();
  const taken = await takeMemory(device);
  const full = new FullDevice(device, label);
  const runtime = createRuntime(full.device);
  try {
    await use(runtime, full);
  } finally {
    runtime.destroy();
    for (const buffer of taken) buffer.destroy();
    device.destroy();
  }
}

const refused: GpuCase[] = [
  {
    name: 'done waits for what was submitted, and has nothing to say if all went well',
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
    name: 'or by the next call, which does nothing',
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
          // The error is told by then, or in the same breath.
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
    name: 'a kernel that was not prepared and is refused is reported by the words of the compiler',
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

const lost: GpuCase[] = [
  {
    name: 'all that is pending on a device that is destroyed rejects with the reason',
    run: async (t) => {
      const device = await t.ownDevice();
      const runtime = createRuntime(device, { profile: device.features.has('timestamp-query') });
      const cache = await PagedKvCache.create(runtime, CACHE);
      const { args } = place(device, SMALL, draw(SMALL));
      for (let i = 0; i < 10; i++) attnVarlen(runtime, args);
      const pending = Object.entries({
        done: runtime.done(),
        'PagedKvCache.readPages': cache.readPages([0, 5]),
        prepare: runtime.prepare(attnVariants(runtime, { headDim: 32, dtype: 'f16' })),
        'PagedKvCache.create': PagedKvCache.create(runtime, CACHE),
        ...(device.features.has('timestamp-query') && { takeProfile: runtime.takeProfile() }),
      }).map(([caller, promise]) => ({ caller, sentence: rejection(promise as Promise<unknown>) }));
      device.destroy();
      for (const { caller, sentence } of pending)
        assertRefused(await sentence, 'device', `${caller}: `, 'lost (destroyed)');
      assertRefused(
        refusal(() => attnVarlen(runtime, args)),
        'device',
        'attnVarlen: ',
        'lost (destroyed)',
      );
      for (const call of [
        () => runtime.done(),
        () => runtime.prepare([]),
        () => cache.readPages([0]),
        () => PagedKvCache.create(runtime, CACHE),
      ])
        assertRefused(await rejection(call()), 'device', 'lost (destroyed)');
      for (const call of [
        () => runtime.createTensor([1], 'f32'),
        () => planAttnVarlen(runtime, args),
        () => cache.copyPages([[0, 1]]),
        () => cache.writePages([], []),
        () => cache.layer(0),
      ])
        assertRefused(refusal(call), 'device', 'lost (destroyed)');
      runtime.destroy();
      cache.destroy();
    },
  },
  {
    name: 'a device is destroyed while a pass is being recorded, with a call and with a plan',
    run: async (t) => {
      const device = await t.ownDevice();
      const runtime = createRuntime(device);
      const { args } = place(device, SMALL, draw(SMALL));
      const out = runtime.createTensor(args.q.shape, 'f32');
      const plan = planAttnVarlen(runtime, args);
      const encoder = device.createCommandEncoder();
      const pass = encoder.beginComputePass();
      attnVarlen(runtime, { ...args, out, pass });
      plan.record({ out, pass });
      device.destroy();
      // Nobody can know yet: what comes before the news is lost without a word.
      attnVarlen(runtime, { ...args, out, pass });
      plan.record({ out, pass });
      pass.end();
      device.queue.submit([encoder.finish()]);
      assertRefused(await rejection(runtime.done()), 'device', 'lost (destroyed)');
      assertRefused(
        refusal(() => plan.record({ out })),
        'device',
        'planAttnVarlen.record: ',
        'lost (destroyed)',
      );
      assertRefused(
        refusal(() => plan.update({ causal: true })),
        'device',
        'planAttnVarlen.update: ',
        'lost (destroyed)',
      );
      plan.destroy();
      runtime.destroy();
    },
  },
  {
    name: 'who waits for a runtime that is destroyed does not wait for ever',
    run: async (t) => {
      const device = await t.ownDevice();
      const runtime = createRuntime(device);
      const { args } = place(device, SMALL, draw(SMALL));
      attnVarlen(runtime, args);
      const pending = rejection(runtime.done());
      runtime.destroy();
      assertRefused(await pending, 'device', 'done: ', 'since it was destroyed.');
      await assertFine(createRuntime(device));
      device.destroy();
    },
  },
  {
    name: 'after a loss, page tables and swapped-out pages go on with a new device, bit for bit',
    run: async (t) => {
      const chats = new TwoChats();
      const device = await t.ownDevice();
      await chats.begin(device);
      device.destroy();
      const next = await t.ownDevice();
      await chats.goOn(next);
      next.destroy();
    },
  },
];

/** Memory is short for real: the device is asked for the largest buffer that it allows, which it has no memory for. */
const outOfMemory: GpuCase[] = [
  {
    name: 'a tensor that there is no memory for is reported, and one larger than buffers can be refused',
    run: (t) =>
      withoutMemory(t, 'logits', async (runtime) => {
        const { maxBufferSize } = runtime.device.limits;
        const before = runtime.memoryBytes;
        runtime.createTensor([7, 5], 'f32', 'logits');
        assertEqual(
          await rejection(runtime.done()),
          'limit: createTensor: after the call had returned, the device had no memory for 140 bytes of logits. Its results are not valid. Free something, or do less at a time.',
        );
        const nWords = Math.floor(maxBufferSize / 4) + 1;
        assertEqual(
          refusal(() => runtime.createTensor([nWords], 'f32', 'logits')),
          `limit: createTensor: logits needs a buffer of ${4 * nWords} bytes, but this device allows ${maxBufferSize}. Ask for maxBufferSize, use requestDevice(), or do less at a time.`,
        );
        assertEqual(runtime.memoryBytes, before, 'bytes of the runtime');
        await assertFine(runtime);
      }),
  },
  {
    name: 'a cache that there is no memory for is refused, and leaves nothing behind',
    run: (t) =>
      withoutMemory(t, 'pageflash kv cache', async (runtime, full) => {
        full.isFull = false;
        const good = await PagedKvCache.create(runtime, CACHE);
        full.isFull = true;
        const before = runtime.memoryBytes;
        assertEqual(
          await rejection(PagedKvCache.create(runtime, CACHE)),
          `limit: PagedKvCache.create: the device has no memory for 8 pages, ${good.bytes} bytes. Ask for fewer, or free something.`,
        );
        assertEqual(runtime.memoryBytes, before, 'bytes of the runtime');
        const page = Uint8Array.from({ length: good.pageBytes }, (_, i) => i % 251);
        good.writePages([3], [page]);
        good.copyPages([[3, 4]]);
        assertEqual((await good.readPages([4]))[0]!, page, 'a page of the cache from before');
        await runtime.done();
      }),
  },
  ...['parts of out', 'uploads'].map((name): GpuCase => ({
    name: `a call that there is no memory for is reported, and smaller ones go on: ${name}`,
    run: (t) =>
      withoutMemory(t, `pageflash ${name}`, async (runtime, full) => {
        const { args } = place(runtime.device, SPLIT, draw(SPLIT));
        full.isFull = false;
        const want = await bitsOf(runtime, attnVarlen(createRuntime(full.device), args).out);
        full.isFull = true;
        const before = runtime.memoryBytes;
        attnVarlen(runtime, args);
        assertRefused(await rejection(runtime.done()), 'limit', 'attnVarlen: ', 'no memory for', name);
        assert(runtime.memoryBytes < before + 2 ** 20, `${runtime.memoryBytes} bytes are held`);
        full.isFull = false;
        const { out } = attnVarlen(runtime, args);
        await runtime.done();
        assertEqual(await bitsOf(runtime, out), want, 'out');
      }),
  })),
  {
    name: 'a plan whose buffers there was no memory for finds others',
    run: (t) =>
      withoutMemory(t, 'pageflash params 0', async (runtime, full) => {
        const { args } = place(runtime.device, SMALL, draw(SMALL));
        const out = runtime.createTensor(args.q.shape, 'f32');
        const plan = planAttnVarlen(runtime, args);
        assertRefused(
          await rejection(runtime.done()),
          'limit',
          'planAttnVarlen',
          'no memory for',
          'params 0',
        );
        full.isFull = false;
        plan.record({ out });
        await runtime.done();
        assertEqual(await bitsOf(runtime, out), await bitsOf(runtime, attnVarlen(runtime, args).out), 'out');
      }),
  },
];

const SPLIT: VarlenCase = { ...SMALL, lengths: [[1, 300]], numSplits: 3 };

export const cases: GpuCase[] = [...refused, ...lost, ...outOfMemory];
