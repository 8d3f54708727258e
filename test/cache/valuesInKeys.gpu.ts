import type { QuantisedDType } from '../../src/core/dtype.js';
import type { ScaleDType } from '../../src/core/kvFormats.js';
import {
  attnWithKvCache,
  BlockAllocator,
  PagedKvCache,
  planAttnWithKvCache,
  type Runtime,
} from '../../src/index.js';
import { attnWithKvCacheReference, type HostTensor } from '../../src/reference/attention.js';
import { download, upload } from '../../tools/deviceTensor.js';
import { Random } from '../../tools/random.js';
import { refusal } from '../check/refusal.js';
import { assert, assertEqual, type GpuCase } from '../platforms/gpuCase.js';
import { withRuntime } from '../platforms/withRuntime.js';
import { checkOut } from '../reference/tolerance.js';

// A PagedKvCache whose values are a part of its keys, as MLA has them: 4 heads share keys of 72, of which 64 are values.

const [N_HEADS, D, DV, PAGE_SIZE] = [4, 72, 64, 4];
const SHAPE = { nLayers: 2, nKvHeads: 1, headDim: D, headDimV: DV, valuesInKeys: true } as const;

function createCache(runtime: Runtime): Promise<PagedKvCache> {
  return PagedKvCache.create(runtime, { ...SHAPE, dtype: 'f32', pageSize: PAGE_SIZE, nPages: 16 });
}

/** Random queries of some tokens, and their keys. */
function drawTokens(random: Random, nTokens: number): { readonly q: HostTensor; readonly k: HostTensor } {
  const draw = (shape: readonly number[]): HostTensor => ({
    shape,
    data: random.normals(shape.reduce((a, b) => a * b, 1)),
  });
  return { q: draw([nTokens, N_HEADS, D]), k: draw([nTokens, 1, D]) };
}

export const cases: GpuCase[] = [
  {
    name: 'one plan appends keys to all layers, whose values are a view of them; a fork copies both',
    run: (t) =>
      withRuntime(t, async (runtime) => {
        const { device } = runtime;
        const random = new Random(1);
        const cache = await createCache(runtime);
        assertEqual(cache.pageBytes, 2 * PAGE_SIZE * D * 4, 'bytes of a page in both layers');
        const pages = new BlockAllocator(cache);
        const chat = pages.create();
        const other = pages.create();
        /** Appends tokens of a sequence to both layers; returns the last layer's output and what it must be. */
        const step = async (id: typeof chat, known: HostTensor[], nNew: number) => {
          const copies = pages.append(id, nNew);
          assert(copies !== 'full', 'the cache is full');
          cache.copyPages(copies);
          const batch = pages.batch([id], [nNew]);
          const plan = planAttnWithKvCache(runtime, {
            q: upload(device, 'f32', [nNew, N_HEADS, D], new Float32Array(nNew * N_HEADS * D)),
            k: upload(device, 'f32', [nNew, 1, D], new Float32Array(nNew * D)),
            ...cache.layer(0),
            ...batch,
            causal: true,
          });
          const outputs: Float32Array[] = [];
          for (let layer = 0; layer < cache.nLayers; layer++) {
            const { q, k } = drawTokens(random, nNew);
            const before = known[layer] ?? { shape: [0], data: new Float32Array(0) };
            const keys = new Float32Array([...before.data, ...k.data]);
            known[layer] = { shape: [1, keys.length / D, 1, D], data: keys };
            const onGpu = {
              q: upload(device, 'f32', q.shape, q.data),
              k: upload(device, 'f32', k.shape, k.data),
            };
            const out = runtime.createTensor([nNew, N_HEADS, DV], 'f32');
            plan.record({ ...onGpu, ...cache.layer(layer), out });
            outputs.push(await download(device, out));
            const want = attnWithKvCacheReference({
              q: { shape: [1, nNew, N_HEADS, D], data: q.data },
              kCache: known[layer]!,
              headDimV: DV,
              cacheSeqlens: keys.length / D,
              causal: true,
            });
            checkOut({ actual: outputs[layer]!, reference: want.out.data, dtype: 'f32' });
          }
          plan.destroy();
        };
        const known: HostTensor[] = [];
        await step(chat, known, 6);
        await step(chat, known, 1);
        const fork = pages.fork(chat);
        await step(fork, [...known], 2);
        await step(chat, known, 1);
        // Swapped to the host and back, to other pages.
        const contents = await cache.readPages(pages.pages(chat));
        assertEqual(contents[0]!.length, cache.pageBytes, 'bytes of what is read');
        pages.append(other, 8);
        const moved = pages.batch([other], [8]).blockTable;
        cache.writePages(Array.from(moved).slice(0, contents.length), contents);
        const again = await cache.readPages(Array.from(moved).slice(0, contents.length));
        assertEqual(again, contents, 'pages that were written again');
        await runtime.done();
        cache.destroy();
      }),
  },
  {
    name: 'new values beside new keys are refused, and layers whose values lie elsewhere',
    run: (t) =>
      withRuntime(t, async (runtime) => {
        const { device } = runtime;
        const cache = await createCache(runtime);
        const apart = await PagedKvCache.create(runtime, {
          ...SHAPE,
          valuesInKeys: false,
          dtype: 'f32',
          pageSize: PAGE_SIZE,
          nPages: 16,
        });
        const q = upload(device, 'f32', [1, 1, N_HEADS, D], new Float32Array(N_HEADS * D));
        const k = upload(device, 'f32', [1, 1, 1, D], new Float32Array(D));
        const v = upload(device, 'f32', [1, 1, 1, DV], new Float32Array(DV));
        const args = { q, k, cacheSeqlens: [3], blockTable: [2], causal: true };
        const plan = planAttnWithKvCache(runtime, { ...args, ...cache.layer(0) });
        const out = runtime.createTensor([1, 1, N_HEADS, DV], 'f32');
        const elsewhere = { ...cache.layer(1), vCache: cache.layer(0).vCache };
        assertEqual(
          [
            refusal(() => planAttnWithKvCache(runtime, { ...args, v, ...cache.layer(0) })),
            refusal(() => planAttnWithKvCache(runtime, { ...args, ...apart.layer(0) })),
            refusal(() => plan.record({ ...elsewhere, out })),
          ],
          [
            'argument: planAttnWithKvCache: vCache is a view of kCache, so new keys bring their values with them. Leave v out.',
            'argument: planAttnWithKvCache: v is missing: new tokens need both k and v. It may only be left out where vCache is a view of kCache.',
            'buffer: planAttnWithKvCache.record: v is left out, so vCache must be a view of kCache in every layer.',
          ],
          'what is refused',
        );
        plan.record({ ...cache.layer(1), out });
        await runtime.done();
        for (const each of [cache, apart]) each.destroy();
      }),
  },
  ...(
    [
      ['i8', 'f16'],
      ['i8', 'f32'],
      ['i4', 'f16'],
      ['i4', 'f32'],
      ['e4m3', undefined],
    ] as const
  ).map(([dtype, scaleDType]) => decodeQuantised(dtype, scaleDType)),
];

/** A prompt and then tokens one by one, over two layers of quantised pages: keys are written once, and their scales. */
function decodeQuantised(dtype: QuantisedDType, scaleDType: ScaleDType | undefined): GpuCase {
  const [headDim, headDimV, nLayers] = [96, 64, 2];
  return {
    name: `MLA over keys in ${dtype}${scaleDType ? ` with scales in ${scaleDType}` : ''}`,
    run: (t) =>
      withRuntime(t, async (runtime) => {
        const { device } = runtime;
        const random = new Random(3);
        const draw = (shape: readonly number[]): HostTensor => ({
          shape,
          data: random.normals(shape.reduce((a, b) => a * b, 1)),
        });
        const headScales = dtype === 'e4m3' ? [0.02, 0.01] : undefined;
        const cache = await PagedKvCache.create(runtime, {
          nLayers,
          nKvHeads: 1,
          headDim,
          headDimV,
          valuesInKeys: true,
          dtype,
          scaleDType,
          kScale: headScales,
          pageSize: PAGE_SIZE,
          nPages: 8,
        });
        const pages = new BlockAllocator(cache);
        const chat = pages.create();
        const known: HostTensor[] = Array.from({ length: nLayers }, () => ({
          shape: [1, 32, 1, headDim],
          data: new Float32Array(32 * headDim),
        }));
        let nCached = 0;
        for (const nNew of [7, 1, 1]) {
          assert(pages.append(chat, nNew) !== 'full', 'the cache is full');
          const batch = pages.batch([chat], [nNew]);
          for (let i = 0; i < nLayers; i++) {
            const [q, k] = [draw([1, nNew, N_HEADS, headDim]), draw([1, nNew, 1, headDim])];
            const { vScale, ...layer } = cache.layer(i);
            const { out } = attnWithKvCache(runtime, {
              q: upload(device, 'f32', [nNew, N_HEADS, headDim], q.data),
              k: upload(device, 'f32', [nNew, 1, headDim], k.data),
              ...layer,
              // Given or left out, those of keys serve both.
              ...(i === 0 && { vScale }),
              ...batch,
              causal: true,
            });
            const want = attnWithKvCacheReference({
              q,
              kCache: known[i]!,
              headDimV,
              k,
              cacheSeqlens: nCached,
              causal: true,
              kvDType: dtype,
              scaleDType,
              kScale: headScales && [headScales[i]!],
            });
            known[i] = want.kCache;
            checkOut({ actual: await download(device, out), reference: want.out.data, dtype: 'f32' });
          }
          nCached += nNew;
        }
        await runtime.done();
        cache.destroy();
      }),
  };
}
