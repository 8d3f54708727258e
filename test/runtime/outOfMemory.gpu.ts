import { PagedKvCache } from '../../src/cache/pagedKvCache.js';
import { attnVarlen, createRuntime, planAttnVarlen, type Runtime } from '../../src/index.js';
import { assert, assertEqual, type GpuCase, type GpuTest } from '../platforms/gpuCase.js';
import { refusal, rejection } from '../check/refusal.js';
import { draw, place, type VarlenCase } from '../attention/varlenCase.js';
import { assertFine, assertRefused, bitsOf, CACHE, SMALL } from './faultCase.js';

/** A device that has no memory for buffers of a label while `isFull`. */
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

/** Takes buffers of the largest size until there is no memory for one more. Software drivers lack it for the first. */
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

/** Runs a case while there is no memory for the largest buffer of the device. */
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

/** The memory is really exhausted: the device is asked for the largest buffer that it allows. */
export const cases: GpuCase[] = [
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
  ...['parts', 'uploads'].map((name): GpuCase => ({
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
      withoutMemory(t, 'pageflash uploads of a plan', async (runtime, full) => {
        const { args } = place(runtime.device, SMALL, draw(SMALL));
        const out = runtime.createTensor(args.q.shape, 'f32');
        const plan = planAttnVarlen(runtime, args);
        assertRefused(
          await rejection(runtime.done()),
          'limit',
          'planAttnVarlen',
          'no memory for',
          'uploads of a plan',
        );
        full.isFull = false;
        plan.record({ out });
        await runtime.done();
        assertEqual(await bitsOf(runtime, out), await bitsOf(runtime, attnVarlen(runtime, args).out), 'out');
      }),
  },
];

const SPLIT: VarlenCase = { ...SMALL, lengths: [[1, 300]], numSplits: 3 };
