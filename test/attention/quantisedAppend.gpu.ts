import { attnWithKvCache, createRuntime, read, tensorFrom } from '../../src/index.js';
import { QUANTISED } from '../../src/core/dtype.js';
import { scaleShape } from '../../src/core/kvFormats.js';
import { elementCount } from '../../src/core/tensor.js';
import { attnWithKvCacheReference } from '../../src/reference/attention.js';
import { Random } from '../../tools/random.js';
import { checkNear } from '../reference/tolerance.js';
import { downloadCache } from './quantisedCache.js';
import type { GpuCase } from '../platforms/gpuCase.js';
import { checkKvCache, type KvCacheCase } from './kvCacheCase.js';

/** Cached keys, queries and new tokens. */
const MIXED = [
  [70, 3, 3],
  [0, 5, 5],
  [31, 1, 1],
] as const;

const STEPS = [
  [203, 1, 1],
  [0, 1, 1],
  [32, 1, 1],
] as const;

const HALF = { dim: 16, interleaved: true };
const WHOLE = { dim: 64, interleaved: false };

// prettier-ignore
const rows: readonly KvCacheCase[] = [
  { why: 'i8, steps in rows', lengths: STEPS, heads: [4, 2], headDim: 64, dtype: 'f32', kvDType: 'i8', causal: true },
  { why: 'i8, rotated, in pages', lengths: STEPS, heads: [4, 2], headDim: 64, dtype: 'f16', kvDType: 'i8', scaleDType: 'f16', rotary: WHOLE, pageSize: 16, causal: true },
  { why: 'i8, any bytes', lengths: MIXED, ragged: true, heads: [4, 2], headDim: 59, headDimV: 31, dtype: 'f32', kvDType: 'i8', scaleDType: 'f16', rotary: HALF, gap: 1, pageSize: 3, causal: true },
  { why: 'i8, on the GPU, pages that are not there', lengths: STEPS, heads: [2, 2], headDim: 40, dtype: 'bf16', kvDType: 'i8', pageSize: 4, onGpu: true, missing: 'pages' },
  { why: 'i8, a head of more octets than lanes', lengths: STEPS, heads: [2, 1], headDim: 256, dtype: 'f32', kvDType: 'i8', rotary: HALF, causal: true },
  { why: 'i4, steps in rows', lengths: STEPS, heads: [4, 2], headDim: 64, dtype: 'f32', kvDType: 'i4', causal: true },
  { why: 'i4, rotated, ragged, in pages', lengths: MIXED, ragged: true, heads: [4, 2], headDim: 96, headDimV: 32, dtype: 'f16', kvDType: 'i4', scaleDType: 'f16', rotary: HALF, pageSize: 16, causal: true },
  { why: 'i4, strides of single elements', lengths: MIXED, ragged: true, heads: [4, 2], headDim: 32, dtype: 'f32', kvDType: 'i4', scaleDType: 'f16', gap: 1, pageSize: 3, onGpu: true },
  { why: 'e4m3, steps in rows', lengths: STEPS, heads: [4, 2], headDim: 64, dtype: 'f32', kvDType: 'e4m3', causal: true },
  { why: 'e4m3, rotated, any bytes', lengths: MIXED, ragged: true, heads: [4, 2], headDim: 59, dtype: 'f32', kvDType: 'e4m3', rotary: HALF, gap: 3, pageSize: 3, causal: true },
  { why: 'e4m3, scales on the GPU', lengths: STEPS, heads: [4, 2], headDim: 64, dtype: 'bf16', newDType: 'f32', kvDType: 'e4m3', rotary: WHOLE, pageSize: 4, onGpu: true, missing: 'pages' },
];

const inBoth: GpuCase[] = QUANTISED.map((dtype) => ({
  name: `${dtype}, values that are a view of keys`,
  async run(t) {
    const runtime = createRuntime(await t.device('full'));
    const [nTokens, nHeads, headDim, headDimV] = [9, 4, 96, 64];
    const random = new Random(5);
    const normals = (shape: readonly number[]) => {
      const data = random.normals(elementCount(shape));
      return { data, shape, tensor: tensorFrom(runtime, data, { shape }) };
    };
    const q = normals([1, nTokens, nHeads, headDim]);
    const k = normals([1, nTokens, 1, headDim]);
    const kCache = runtime.createTensor([1, 12, 1, headDim], dtype, 'keys');
    const vCache = { ...kCache, shape: [1, 12, 1, headDimV], strides: [12 * headDim, headDim, headDim, 1] };
    const kScale =
      dtype === 'e4m3' ? [0.01] : runtime.createTensor(scaleShape(dtype, kCache.shape), 'f16', 'scales');
    const { out } = attnWithKvCache(runtime, {
      q: q.tensor,
      k: k.tensor,
      kCache,
      vCache,
      kScale,
      cacheSeqlens: 0,
      causal: true,
    });
    const got = await read(runtime, out);
    const keys = await downloadCache(runtime.device, kCache, kScale);
    checkNear('keys', { actual: keys.subarray(0, k.data.length), reference: k.data }, 0.25);
    const values = Float32Array.from({ length: 12 * headDimV }, (_, i) => {
      return keys[Math.floor(i / headDimV) * headDim + (i % headDimV)]!;
    });
    const want = attnWithKvCacheReference({
      q,
      kCache: { data: keys, shape: kCache.shape },
      vCache: { data: values, shape: vCache.shape },
      cacheSeqlens: nTokens,
      causal: true,
    });
    checkNear('out', { actual: got, reference: want.out.data }, 1e-5);
    runtime.destroy();
  },
}));

const appended: GpuCase[] = rows.map((kvCase) => ({
  name: kvCase.why,
  async run(t) {
    const runtime = createRuntime(await t.device('full'));
    try {
      await checkKvCache(runtime, kvCase);
    } finally {
      runtime.destroy();
    }
  },
}));

export const cases: GpuCase[] = [...appended, ...inBoth];
