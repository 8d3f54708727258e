import { PagedKvCache, type PagedKvCacheOptions } from '../../src/cache/pagedKvCache.js';
import type { QuantisedDType } from '../../src/core/dtype.js';
import { I4_GROUP } from '../../src/core/kvFormats.js';
import {
  attnWithKvCache,
  createRuntime,
  PageManager,
  planAttnWithKvCache,
  read,
  tensorFrom,
  type Runtime,
  type Tensor,
} from '../../src/index.js';
import { Random } from '../../tools/random.js';
import { checkQuantised, HARD_HEADS, repeated } from '../reference/quantised.js';
import { assertEqual, type GpuCase } from '../platforms/gpuCase.js';

const N_TOKENS = 7;
const HEADS = 2;
const DIM = 64;
const SHAPE = { nLayers: 2, nKvHeads: HEADS, headDim: DIM, pageSize: 4, nPages: 8 } as const;

const FORMATS: readonly (Pick<PagedKvCacheOptions, 'scaleDType' | 'kScale' | 'vScale'> & {
  readonly dtype: QuantisedDType;
})[] = [
  { dtype: 'i8' },
  { dtype: 'i8', scaleDType: 'f32' },
  { dtype: 'i4' },
  { dtype: 'e4m3', kScale: [0.02, [0.03, 0.5]], vScale: [[0.25, 0.01], 0.02] },
];

/** New tokens of each layer, written to two pages of a cache by one plan. Returns the pages, and the sequence. */
function fill(runtime: Runtime, cache: PagedKvCache, pages: PageManager) {
  const sequence = pages.add(Array.from({ length: N_TOKENS }, (_, i) => i));
  if (pages.reserve(sequence) === 'full') throw new Error('The pages are full.');
  const batch = pages.batch([sequence]);
  const random = new Random(3);
  const drawn = () =>
    tensorFrom(runtime, random.normals(N_TOKENS * HEADS * DIM), { shape: [N_TOKENS, HEADS, DIM] });
  const [q, out] = [drawn(), drawn()];
  const layers = [0, 1].map((layer) => ({ k: drawn(), v: drawn(), ...cache.layer(layer), out }));
  const plan = planAttnWithKvCache(runtime, { q, ...layers[0]!, ...batch, causal: true });
  const encoder = runtime.device.createCommandEncoder();
  const pass = encoder.beginComputePass();
  for (const layer of layers) plan.record({ ...layer, pass });
  pass.end();
  runtime.device.queue.submit([encoder.finish()]);
  const own = [...batch.blockTable.subarray(0, 2)];
  pages.commit(sequence);
  return { sequence, own };
}

/** Codes and scales of pages, in all layers. */
async function contentsOf(runtime: Runtime, cache: PagedKvCache, pages: readonly number[]) {
  const tensors: Tensor[] = [0, 1].flatMap((i) => {
    const { kCache, vCache, kScale, vScale } = cache.layer(i);
    const scales = kCache.dtype === 'e4m3' ? [] : [kScale!, vScale!];
    return [kCache, vCache, ...scales];
  });
  const all = await Promise.all(tensors.map((tensor) => read(runtime, tensor)));
  return all.map((numbers, i) => {
    const size = numbers.length / tensors[i]!.shape[0]!;
    return pages.map((page) => [...numbers.subarray(page * size, (page + 1) * size)]);
  });
}

const moved: GpuCase[] = FORMATS.map(({ dtype, ...scales }) => ({
  name: `pages of ${dtype} with scales ${scales.scaleDType ?? (scales.kScale ? 'given' : 'f16')} are copied, moved and saved with their scales`,
  async run(t) {
    const runtime = createRuntime(await t.device('full'));
    const options = { ...SHAPE, dtype, ...scales };
    const cache = await PagedKvCache.create(runtime, options);
    const pages = new PageManager({ nPages: 8, pageSize: 4 });
    const { sequence, own } = fill(runtime, cache, pages);
    const want = await contentsOf(runtime, cache, own);
    const spare = [2, 3, 4, 5, 6, 7].filter((page) => !own.includes(page));
    if (!want.flat(2).some((x) => x !== 0)) throw new Error('Nothing was written.');

    cache.copyPages(own.map((page, i) => [page, spare[i]!] as const));
    assertEqual(await contentsOf(runtime, cache, spare.slice(0, 2)), want, 'copied');

    cache.writePages(spare.slice(2, 4), await cache.readPages(own));
    assertEqual(await contentsOf(runtime, cache, spare.slice(2, 4)), want, 'moved');

    const bytes = new Uint8Array(
      await new Response(cache.save({ pages, sequence, fingerprint: 'f' })).arrayBuffer(),
    );
    const other = await PagedKvCache.create(runtime, options);
    const saved = await other.readSaved({ source: [bytes], fingerprint: 'f' });
    const into = new PageManager({ nPages: 8, pageSize: 4 });
    const restored = await other.restore({ pages: into, saved });
    if (restored === 'full') throw new Error('There is no room.');
    into.append(restored, [9]);
    into.reserve(restored);
    // The second page has a slot that no token is in.
    const [first] = into.batch([restored]).blockTable;
    const whole = want.map(([page]) => [page!]);
    assertEqual(await contentsOf(runtime, other, [first!]), whole, 'restored');

    cache.destroy();
    other.destroy();
    runtime.destroy();
  },
}));

interface HardFormat {
  readonly dtype: QuantisedDType;
  readonly scaleDType?: 'f32' | 'f16';
}

const HARD_FORMATS: readonly HardFormat[] = [
  { dtype: 'i8', scaleDType: 'f32' },
  { dtype: 'i8', scaleDType: 'f16' },
  { dtype: 'i4', scaleDType: 'f32' },
  { dtype: 'i4', scaleDType: 'f16' },
  { dtype: 'e4m3' },
];

const hard: GpuCase[] = HARD_FORMATS.map(({ dtype, scaleDType }) => ({
  name: `${dtype} of any numbers, scales ${scaleDType ?? 'given'}`,
  async run(t) {
    const runtime = createRuntime(await t.device('full'));
    const heads = HARD_HEADS.map(({ head }) => repeated(head, 32));
    const n = heads.length;
    const cache = await PagedKvCache.create(runtime, {
      nLayers: 1,
      nKvHeads: 1,
      headDim: 32,
      pageSize: n,
      nPages: 1,
      dtype,
      ...(scaleDType && { scaleDType }),
    });
    const fresh = Float32Array.from(heads.flatMap((head) => [...head]));
    const k = tensorFrom(runtime, fresh, { shape: [1, n, 1, 32] });
    const q = tensorFrom(runtime, new Float32Array(32), { shape: [1, 1, 1, 32] });
    const layer = cache.layer(0);
    attnWithKvCache(runtime, { q, k, v: k, ...layer, cacheSeqlens: 0, blockTable: [0] });
    await runtime.done();
    const { kCache, vCache, kScale, vScale } = layer;
    for (const [tensor, scale] of [
      [kCache, kScale],
      [vCache, vScale],
    ] as const) {
      // prettier-ignore
      const codes = await read(runtime, tensor);
      const scales = scale ? await read(runtime, scale) : new Float32Array(n).fill(1);
      const perHead = dtype === 'i4' ? 32 / I4_GROUP : 1;
      heads.forEach((values, i) => {
        checkQuantised(HARD_HEADS[i]!.why, {
          dtype,
          codes: codes.subarray(i * 32, (i + 1) * 32),
          scales: scales.subarray(i * perHead, (i + 1) * perHead),
          ...(scaleDType && { scaleDType }),
          values,
        });
      });
    }
    cache.destroy();
    runtime.destroy();
  },
}));

export const cases: GpuCase[] = [...moved, ...hard];
