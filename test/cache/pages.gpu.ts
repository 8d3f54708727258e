import { copyPages } from '../../src/cache/copyPages.js';
import { PagedKvCache, type PagedKvCacheOptions } from '../../src/cache/pagedKvCache.js';
import { bytesPerElement } from '../../src/core/dtype.js';
import { elementCount, endBytes, stridesOf, type Tensor } from '../../src/core/tensor.js';
import { createRuntime, PageflashError, type Runtime } from '../../src/index.js';
import { downloadBuffer, upload } from '../../tools/deviceTensor.js';
import { assert, assertEqual, type GpuCase, type GpuTest } from '../platforms/gpuCase.js';
import { Random } from '../../tools/random.js';
import { withRuntime } from '../platforms/withRuntime.js';

type Pairs = readonly (readonly [from: number, to: number])[];

/** A pool of seven pages as a view of one of the buffers. */
interface PoolView extends Omit<Tensor, 'buffer'> {
  readonly in?: number;
}

const LAYOUTS: readonly { readonly why: string; readonly pools: readonly PoolView[] }[] = [
  { why: 'words', pools: [{ dtype: 'f32', shape: [7, 4, 2, 8], offset: 3 }] },
  { why: 'halves, 16 bytes at a time', pools: [{ dtype: 'f16', shape: [7, 4, 1, 40], offset: 24 }] },
  { why: 'words, but no multiple of 16 bytes', pools: [{ dtype: 'bf16', shape: [7, 2, 3, 5], offset: 6 }] },
  {
    why: 'the last word of a page only half its own',
    pools: [{ dtype: 'f16', shape: [7, 3, 1, 9], strides: [32, 9, 9, 1], offset: 8 }],
  },
  { why: 'one half a page', pools: [{ dtype: 'bf16', shape: [7, 1, 1, 1], strides: [2, 1, 1, 1] }] },
  {
    why: 'integers in two buffers',
    pools: [
      { dtype: 'i32', shape: [7, 1, 1, 3] },
      { dtype: 'u32', shape: [7, 70, 1, 1], in: 1 },
    ],
  },
  { why: 'heads before tokens', pools: [{ dtype: 'f32', shape: [7, 4, 3, 8], strides: [112, 8, 32, 1] }] },
  {
    why: 'keys and values of a page side by side',
    pools: [
      { dtype: 'f16', shape: [7, 4, 2, 8], strides: [112, 16, 8, 1] },
      { dtype: 'f16', shape: [7, 4, 2, 6], strides: [112, 12, 6, 1], offset: 64 },
    ],
  },
  {
    why: 'layers in two buffers, values wider than keys',
    pools: [0, 1, 2, 3].flatMap((layer): PoolView[] => [
      { dtype: 'f16', shape: [7, 2, 2, 16], offset: layer * 2048, in: layer % 2 },
      { dtype: 'f16', shape: [7, 2, 2, 24], offset: layer * 2048 + 1024, in: layer % 2 },
    ]),
  },
];

/** Three pages are permuted through a fourth. */
const ROTATION: Pairs = [
  [0, 6],
  [1, 0],
  [2, 1],
  [6, 2],
];

async function withCache(
  t: GpuTest,
  options: PagedKvCacheOptions,
  use: (cache: PagedKvCache, runtime: Runtime) => Promise<void>,
  lowerLimits: Partial<GPUSupportedLimits> = {},
): Promise<void> {
  const runtime = createRuntime(withLimits(await t.device('full'), lowerLimits));
  const cache = await PagedKvCache.create(runtime, options);
  try {
    await use(cache, runtime);
  } finally {
    cache.destroy();
    runtime.destroy();
  }
}

/** The device as if it had been made with lower limits. */
function withLimits(device: GPUDevice, lower: Partial<GPUSupportedLimits>): GPUDevice {
  const over = (target: object, values: object): object =>
    new Proxy(target, {
      get(_, name) {
        if (name in values) return values[name as keyof typeof values];
        const value: unknown = Reflect.get(target, name, target);
        return typeof value === 'function' ? value.bind(target) : value;
      },
    });
  const limits = over(device.limits, lower) as GPUSupportedLimits;
  const createBuffer = (descriptor: GPUBufferDescriptor): GPUBuffer => {
    assert(descriptor.size <= limits.maxBufferSize, `a buffer of ${descriptor.size} bytes`);
    return device.createBuffer(descriptor);
  };
  return over(device, { limits, createBuffer }) as GPUDevice;
}

/** Buffers of random bytes, with some after the last pool. */
class Pools {
  readonly tensors: readonly Tensor[];
  readonly #device: GPUDevice;
  readonly #contents = new Map<GPUBuffer, Uint8Array<ArrayBuffer>>();

  constructor(device: GPUDevice, views: readonly PoolView[], random: Random) {
    this.#device = device;
    const sizes: number[] = [];
    for (const { in: index = 0, ...view } of views) {
      const end = endBytes({ ...view, buffer: undefined as unknown as GPUBuffer });
      sizes[index] = Math.max(sizes[index] ?? 0, Math.ceil(end / 4) * 4 + 32);
    }
    const buffers = sizes.map((size) => {
      const bytes = randomBytes(random, size);
      const { buffer } = upload(device, 'u32', [size / 4], new Uint32Array(bytes.buffer));
      this.#contents.set(buffer, bytes);
      return buffer;
    });
    this.tensors = views.map(({ in: index = 0, ...view }) => ({ ...view, buffer: buffers[index]! }));
  }

  /** The copies, made on the host. */
  copyOnHost(pairs: Pairs): void {
    for (const tensor of this.tensors) {
      const elementBytes = bytesPerElement(tensor.dtype);
      const first = (tensor.offset ?? 0) * elementBytes;
      const stride = stridesOf(tensor)[0]! * elementBytes;
      const pageBytes = elementCount(tensor.shape.slice(1)) * elementBytes;
      const bytes = this.#contents.get(tensor.buffer)!;
      for (const [from, to] of pairs) {
        const source = first + from * stride;
        bytes.copyWithin(first + to * stride, source, source + pageBytes);
      }
    }
  }

  /** Every byte of every buffer, also between and after the pages. */
  async check(): Promise<void> {
    for (const [buffer, bytes] of this.#contents)
      assertEqual(new Uint8Array(await downloadBuffer(this.#device, buffer)), bytes, 'bytes');
  }
}

function randomBytes(random: Random, length: number): Uint8Array<ArrayBuffer> {
  return Uint8Array.from({ length }, () => random.int(0, 256));
}

/** So many copies among so few pages that most depend on others. */
function randomPairs(random: Random, nPairs: number, nPages: number): Pairs {
  return Array.from({ length: nPairs }, () => [random.int(0, nPages), random.int(0, nPages)]);
}

/** Fills a cache with random pages. */
function fill(cache: PagedKvCache, random: Random): Uint8Array[] {
  const contents = Array.from({ length: cache.nPages }, () => randomBytes(random, cache.pageBytes));
  cache.writePages([...contents.keys()], contents);
  return contents;
}

async function checkCache(cache: PagedKvCache, contents: readonly Uint8Array[]): Promise<void> {
  const pages = await cache.readPages([...contents.keys()]);
  contents.forEach((content, page) => assertEqual(pages[page], content, `page ${page}`));
}

const SMALL: PagedKvCacheOptions = {
  nLayers: 3,
  nKvHeads: 2,
  headDim: 16,
  headDimV: 24,
  dtype: 'f16',
  pageSize: 4,
  nPages: 9,
};

export const cases: GpuCase[] = [
  ...LAYOUTS.map(({ why, pools }, seed): GpuCase => ({
    name: 'copies pages one after the other, and changes nothing else',
    why,
    run: (t) =>
      withRuntime(t, async (runtime) => {
        const random = new Random(seed);
        const placed = new Pools(runtime.device, pools, random);
        const pairs = randomPairs(random, 30, 7);
        copyPages(runtime, { pools: placed.tensors, pairs });
        placed.copyOnHost(pairs);
        await placed.check();
      }),
  })),
  {
    name: 'pairs may be flat, to the same page, or none',
    run: (t) =>
      withRuntime(t, async (runtime) => {
        const placed = new Pools(runtime.device, [{ dtype: 'f32', shape: [7, 2, 1, 4] }], new Random(1));
        const pools = placed.tensors[0]!;
        copyPages(runtime, { pools, pairs: [] });
        copyPages(runtime, { pools, pairs: [[3, 3]] });
        await placed.check();
        copyPages(runtime, { pools, pairs: Int32Array.from(ROTATION.flat()) });
        placed.copyOnHost(ROTATION);
        copyPages(runtime, { pools, pairs: Uint32Array.of(4, 4, 4, 5) });
        placed.copyOnHost([[4, 5]]);
        await placed.check();
      }),
  },
  {
    name: "copies recorded into the caller's pass see those before them, and wait for its submission",
    run: (t) =>
      withRuntime(t, async (runtime) => {
        const { device } = runtime;
        const placed = new Pools(device, LAYOUTS[1]!.pools, new Random(2));
        const encoder = device.createCommandEncoder();
        const pass = encoder.beginComputePass();
        const steps = [ROTATION, [[2, 3]], [[3, 5], [5, 4]], ROTATION] as const; // prettier-ignore
        for (const pairs of steps) copyPages(runtime, { pools: placed.tensors, pairs, pass });
        pass.end();
        await placed.check();
        device.queue.submit([encoder.finish()]);
        for (const pairs of steps) placed.copyOnHost(pairs);
        await placed.check();
      }),
  },
  {
    name: 'a cache copies its pages in every layer, at once or in a pass',
    why: 'with so few workgroups a row, the grid has two dimensions',
    run: (t) => {
      const use = async (cache: PagedKvCache, { device }: Runtime): Promise<void> => {
        const random = new Random(3);
        const contents = fill(cache, random);
        const pairs = randomPairs(random, 30, cache.nPages);
        cache.copyPages(pairs);
        const encoder = device.createCommandEncoder();
        const pass = encoder.beginComputePass();
        cache.copyPages(Int32Array.of(1, 8, 8, 0), pass);
        pass.end();
        device.queue.submit([encoder.finish()]);
        for (const [from, to] of [...pairs, [1, 8], [8, 0]] as const) contents[to] = contents[from]!;
        await checkCache(cache, contents);
      };
      return withCache(t, { ...SMALL, nLayers: 20 }, use, { maxComputeWorkgroupsPerDimension: 3 });
    },
  },
  ...(['f32', 'f16', 'bf16'] as const).map((dtype): GpuCase => ({
    name: `pages of ${dtype} go to the host and come back elsewhere with every bit`,
    why: 'an odd number of elements a page, several buffers, several ways to the host',
    run: (t) => {
      const options = { ...SMALL, dtype, nKvHeads: 1, headDim: 11, headDimV: 7, pageSize: 19, nPages: 9 };
      const use = async (cache: PagedKvCache): Promise<void> => {
        assert(cache.buffers.length > 1, `there are ${cache.buffers.length} buffers`);
        assertEqual(
          cache.buffers.reduce((sum, { size }) => sum + size, 0),
          cache.bytes,
          'bytes of the buffers',
        );
        const contents = fill(cache, new Random(4));
        await checkCache(cache, contents);
        const saved = await cache.readPages(Int32Array.of(7, 2, 2));
        cache.writePages([0, 5, 8], saved);
        cache.copyPages([[8, 4]]);
        for (const [from, to] of [[7, 0], [2, 5], [2, 8], [2, 4]] as const) contents[to] = contents[from]!; // prettier-ignore
        await checkCache(cache, contents);
      };
      return withCache(t, options, use, { maxBufferSize: 8192 });
    },
  })),
  {
    name: 'pages are read as they were when they were asked for',
    run: (t) =>
      withCache(t, SMALL, async (cache) => {
        const contents = fill(cache, new Random(5));
        cache.copyPages([[0, 1]]);
        const reading = cache.readPages([1, 2]);
        cache.copyPages([[3, 1]]);
        cache.writePages([2], [contents[3]!]);
        const [one, two] = await reading;
        assertEqual(one, contents[0]!, 'page 1');
        assertEqual(two, contents[2]!, 'page 2');
        assertEqual((await cache.readPages([])).length, 0, 'pages of none');
      }),
  },
  {
    name: 'swaps and copies of a step are made in their order, awaited or not',
    why: 'each page goes where the next one is taken away',
    run: (t) =>
      withCache(t, SMALL, async (cache) => {
        const contents = fill(cache, new Random(6));
        const out = cache.movePages({ swapsOut: [[0, 5], [1, 6]], copies: [[2, 0], [0, 1]], swapsIn: [] }); // prettier-ignore
        const back = cache.movePages({ swapsOut: [[3, 0]], copies: [[4, 3]], swapsIn: [[5, 4], [0, 2]] }); // prettier-ignore
        await Promise.all([out, back]);
        await cache.movePages({ swapsOut: [], copies: [[4, 7]], swapsIn: Int32Array.of(6, 8) });
        const from = [2, 2, 3, 4, 0, 5, 6, 0, 1];
        await checkCache(cache, from.map((page) => contents[page]!)); // prettier-ignore
        assertEqual(cache.hostBytes, 3 * cache.pageBytes, 'bytes on the host');
      }),
  },
  {
    name: 'a page on the host is keys and values, layer after layer, each filled up to 16 bytes',
    run: (t) => {
      const options = { ...SMALL, nLayers: 2, nKvHeads: 1, headDim: 3, headDimV: 5, pageSize: 1, nPages: 2 };
      return withCache(t, options, async (cache, { device }) => {
        assertEqual(cache.pageBytes, 64, 'bytes of a page');
        for (const layer of [0, 1]) {
          const { kCache, vCache } = cache.layer(layer);
          for (const [{ buffer, offset, strides, shape }, value] of [
            [kCache, 1],
            [vCache, 2],
          ] as const) {
            // prettier-ignore
            const words = Math.ceil(shape[3]! / 2);
            const bytes = new Uint8Array(4 * words).fill(10 * layer + value);
            device.queue.writeBuffer(buffer, 2 * (offset! + strides![0]!), bytes);
          }
        }
        const part = (value: number, bytes: number) =>
          Array.from({ length: 16 }, (_, i) => (i < bytes ? value : 0));
        const [empty, page] = await cache.readPages([0, 1]);
        assertEqual(empty, new Uint8Array(64), 'page 0');
        assertEqual([...page!], [...part(1, 8), ...part(2, 12), ...part(11, 8), ...part(12, 12)], 'page 1');
      });
    },
  },
  {
    name: 'pages that cannot be read are refused',
    why: 'zeros in their place would go unnoticed',
    run: (t) =>
      withCache(t, SMALL, async (cache) => {
        cache.buffers[0]!.destroy();
        const error = await cache.readPages([0]).catch((thrown: unknown) => thrown);
        assert(error instanceof PageflashError && error.code === 'buffer', `not refused: ${String(error)}`);
      }),
  },
];
