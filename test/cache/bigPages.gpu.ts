import { PagedKvCache } from '../../src/cache/pagedKvCache.js';
import { attnWithKvCache, createRuntime } from '../../src/index.js';
import { downloadBuffer, upload } from '../../tools/deviceTensor.js';
import { assert, assertEqual, type DeviceKind, type GpuCase, type GpuTest } from '../platforms/gpuCase.js';
import { Random } from '../../tools/random.js';

const MiB = 2 ** 20;
const SHAPE = { nLayers: 2, nKvHeads: 1, headDim: 32, dtype: 'f32', pageSize: 16 } as const;
const PAGE_BYTES = 16 * 32 * 4;
const N_TOKENS = 40;

interface Big {
  readonly device: DeviceKind;
  /** Of the keys of a layer; its values take as much again. */
  readonly layerBytes: (device: GPUDevice) => number;
  readonly nBuffers: (device: GPUDevice) => number;
}

/** The same three pages at the ends and in the middle of a large cache, and at the start of a small one. */
async function checkBig(t: GpuTest, { device: kind, layerBytes, nBuffers }: Big): Promise<void> {
  const device = await t.device(kind);
  const runtime = createRuntime(device);
  const nPages = layerBytes(device) / PAGE_BYTES;
  const big = await PagedKvCache.create(runtime, { ...SHAPE, nPages });
  const small = await PagedKvCache.create(runtime, { ...SHAPE, nPages: 4 });
  try {
    assertEqual(big.buffers.length, nBuffers(device), 'buffers');
    assertEqual(big.bytes, 4 * layerBytes(device), 'bytes');
    const random = new Random(1);
    const normals = (n: number, nHeads: number) =>
      upload(device, 'f32', [1, n, nHeads, 32], random.normals(n * nHeads * 32));
    const contents = Array.from({ length: 3 }, () => {
      const numbers = random.normals(big.pageBytes / 4);
      return new Uint8Array(numbers.buffer);
    });
    const inBig = [nPages - 1, 0, nPages / 2];
    big.writePages(inBig, contents);
    small.writePages([0, 1, 2], contents);

    const [q, k, v] = [normals(1, 4), normals(1, 1), normals(1, 1)];
    for (let layer = 0; layer < SHAPE.nLayers; layer++) {
      const decode = async (cache: PagedKvCache, blockTable: readonly number[]) => {
        const args = { q, k, v, cacheSeqlens: N_TOKENS, causal: true, numSplits: 1 };
        const { out } = attnWithKvCache(runtime, { ...args, ...cache.layer(layer), blockTable });
        const bits = new Uint32Array(await downloadBuffer(device, out.buffer));
        out.buffer.destroy();
        return bits;
      };
      // The new token goes to the page named last, which is each of the three once.
      for (let i = 0; i < 3; i++) {
        const turn = (pages: readonly number[]) => [...pages.slice(i), ...pages.slice(0, i)];
        const want = await decode(small, turn([0, 1, 2]));
        assert(new Set(want).size > 8, 'nothing was computed');
        assertEqual(await decode(big, turn(inBig)), want, `layer ${layer}, page ${inBig[(i + 2) % 3]} last`);
      }
    }

    big.copyPages([
      [nPages - 1, nPages - 2],
      [nPages - 2, 1],
    ]);
    const pages = await big.readPages([...inBig, nPages - 2, 1, 2, nPages - 3]);
    const want = await small.readPages([0, 1, 2, 0, 0]);
    want.forEach((page, i) => assertEqual(pages[i]!, page, `page ${i}`));
    for (const page of pages.slice(-2))
      assert(
        page.every((byte) => byte === 0),
        'a neighbour was written',
      );
    await runtime.done();
  } finally {
    for (const cache of [big, small]) cache.destroy();
    runtime.destroy();
  }
}

export const cases: GpuCase[] = [
  {
    name: 'a cache of 512 MiB on a device of default limits lies in several buffers',
    run: (t) => checkBig(t, { device: 'plain', layerBytes: () => 128 * MiB, nBuffers: () => 2 }),
  },
  {
    name: 'pages beyond the first 128 MiB of a buffer, and of a binding where it can be as large',
    run: (t) =>
      checkBig(t, {
        device: 'full',
        layerBytes: ({ limits }) =>
          Math.min(
            160 * MiB,
            2 * PAGE_BYTES * Math.floor(limits.maxStorageBufferBindingSize / PAGE_BYTES / 2),
          ),
        nBuffers: ({ limits }) => (limits.maxBufferSize < 640 * MiB ? 2 : 1),
      }),
  },
];
