import { attnVarlen, attnWeights, attnWithKvCache, createRuntime, type Tensor } from '../../src/index.js';
import { download } from '../../tools/deviceTensor.js';
import { assert, assertEqual, type DeviceKind, type GpuCase } from '../platforms/gpuCase.js';
import { sharedRuntime, withRuntime } from '../platforms/withRuntime.js';
import { checkMerged, checkSame } from '../reference/tolerance.js';
import { drawKvCache, placeKvCache, SMALL_DECODE, type KvCacheCase, MIXED } from './kvCacheCase.js';
import { draw, place, SMALL_VARLEN, type VarlenCase } from './varlenCase.js';
import { checkKvCacheWeights, checkVarlenWeights } from './weightsCase.js';

/** Empty sequences, single tokens, more queries than keys, and keys at and beyond the edge of a tile of 256. */
const RAGGED = [
  [113, 203],
  [0, 17],
  [1, 1],
  [40, 7],
  [1, 257],
  [5, 0],
  [64, 256],
] as const;

const EVEN = [
  [33, 70],
  [33, 70],
  [33, 70],
] as const;

type Row<Case> = Case & { readonly device?: DeviceKind };

const BASE = { heads: [4, 2], headDim: 64, dtype: 'f32' } as const;

// prettier-ignore
const varlen: readonly Row<VarlenCase>[] = [
  // One pipeline, every mask.
  { why: 'neither mask nor group', lengths: RAGGED, ...BASE, heads: [2, 2] },
  { why: 'causal', lengths: RAGGED, ...BASE, causal: true },
  { why: 'a window', lengths: RAGGED, ...BASE, windowSize: [5, 3] },
  { why: 'a window that begins beyond a tile of keys', lengths: [[8, 600]], ...BASE, windowSize: [70, 0] },
  { why: 'chunks of attention', lengths: RAGGED, ...BASE, causal: true, attentionChunk: 48 },
  { why: 'sinks take some of the weight', lengths: RAGGED, ...BASE, causal: true, sinks: 'some heads' },
  { why: 'only part of the keys', lengths: RAGGED, ...BASE, causal: true, partlyUsed: true },
  { why: 'lengths on the GPU: the kernel finds sequences', lengths: RAGGED, ...BASE, causal: true, partlyUsed: true, onGpu: true },
  { why: 'many sequences on the GPU', lengths: Array.from({ length: 70 }, (_, b) => [b % 5, (b * 7) % 40] as const), ...BASE, causal: true, onGpu: true },
  { why: 'a scale below zero', lengths: EVEN, ...BASE, softmaxScale: -0.3 },
  { why: 'raw scores near ±3e5', lengths: EVEN, ...BASE, magnitude: 4e4 },
  { why: 'one key far above the rest', lengths: EVEN, ...BASE, scores: 'spike' },
  { why: 'a dense batch', lengths: EVEN, ...BASE, causal: true, dense: true },
  { why: 'gaps, 16-byte aligned, and weights with room', lengths: EVEN, ...BASE, causal: true, gap: 8 },
  { why: 'no rows at all', lengths: [[0, 5]], ...BASE },
  { why: 'no keys at all', lengths: [[3, 0]], ...BASE },

  // Heads, types and pages.
  { why: 'more heads than a workgroup takes, one of them alone', lengths: EVEN, ...BASE, heads: [9, 1], causal: true },
  { why: 'five heads of eight', lengths: EVEN, ...BASE, heads: [5, 1], headDim: 40 },
  { why: 'rows at any element', lengths: EVEN, ...BASE, headDim: 59, dtype: 'f16', gap: 1, causal: true },
  { why: 'bf16, dense, with gaps', lengths: EVEN, ...BASE, headDim: 96, dtype: 'bf16', gap: 8, dense: true },
  { why: 'f16 beside keys in f32', lengths: RAGGED, ...BASE, dtype: 'f16', kvDType: 'f32' },
  { why: 'f32 beside keys in bf16, in pages', lengths: RAGGED, ...BASE, kvDType: 'bf16', pageSize: 16, causal: true },
  { why: 'pages of three', lengths: RAGGED, ...BASE, headDim: 80, dtype: 'f16', pageSize: 3, causal: true, device: 'plain' },
  { why: 'pages of one, tables on the GPU', lengths: EVEN, ...BASE, pageSize: 1, windowSize: [9, 9], onGpu: true },
  { why: 'the largest head, on a device with defaults', lengths: EVEN, ...BASE, heads: [8, 1], headDim: 256, dtype: 'bf16', pageSize: 64, causal: true, device: 'plain' },
  { why: 'softcap', lengths: EVEN, ...BASE, headDim: 128, softcap: 15, causal: true },
  { why: 'softcap, halves', lengths: EVEN, ...BASE, dtype: 'f16', softcap: 50 },
  { why: 'ALiBi per sequence', lengths: RAGGED, ...BASE, causal: true, alibi: 'per sequence' },
  { why: 'ALiBi per head, on both sides, on the GPU', lengths: RAGGED, ...BASE, alibi: 'per head', onGpu: true },
];

const DECODE = [
  [203, 1, 1],
  [0, 1, 1],
  [255, 1, 1],
  [700, 1, 1],
] as const;

// prettier-ignore
const kvCache: readonly Row<KvCacheCase>[] = [
  { why: 'decoding', lengths: DECODE, ...BASE, causal: true },
  { why: 'new tokens counted by cacheSeqlens', lengths: [[203, 1, 0], [0, 1, 0], [64, 1, 0]], ...BASE },
  { why: 'rows of the cache, left padding', lengths: DECODE, ...BASE, causal: true, batchIdx: true, leftpad: true },
  { why: 'chunks of attention behind left padding', lengths: MIXED, ragged: true, ...BASE, causal: true, attentionChunk: 20, leftpad: true },
  { why: 'queries are rotated', lengths: MIXED, ragged: true, ...BASE, causal: true, rotary: { dim: 32, interleaved: true } },
  { why: 'queries are rotated to one position', lengths: [[40, 3, 3], [7, 3, 3]], ...BASE, dtype: 'f16', rotary: { dim: 64, interleaved: false } },
  { why: 'everything on the GPU', lengths: MIXED, ragged: true, ...BASE, causal: true, onGpu: true, batchIdx: true, leftpad: true, rotary: { dim: 64, interleaved: true }, pageSize: 4 },
  { why: 'pages', lengths: MIXED, ragged: true, ...BASE, kvDType: 'f16', causal: true, windowSize: [40, -1], pageSize: 16, sinks: true },
  { why: 'pages that are not there', lengths: DECODE, ...BASE, causal: true, pageSize: 4, onGpu: true, missing: 'pages' },
  { why: 'rows that are not there', lengths: DECODE, ...BASE, causal: true, onGpu: true, batchIdx: true, missing: 'rows' },
];

/** Σ_j weights[i, h, j] · v[j] of a sequence, v as [keys, Hkv, Dv]. */
function weigh(
  weights: Float32Array,
  v: ArrayLike<number>,
  {
    nKeys,
    heads: [nHeads, nKvHeads],
    headDim,
  }: { nKeys: number; heads: readonly [number, number]; headDim: number },
): Float64Array {
  const out = new Float64Array((weights.length / nKeys) * headDim);
  for (let row = 0; row < weights.length / nKeys; row++) {
    const kvHead = Math.floor(((row % nHeads) * nKvHeads) / nHeads);
    for (let j = 0; j < nKeys; j++)
      for (let d = 0; d < headDim; d++)
        out[row * headDim + d]! += weights[row * nKeys + j]! * v[(j * nKvHeads + kvHead) * headDim + d]!;
  }
  return out;
}

export const cases: GpuCase[] = [
  ...varlen.map(({ device: kind = 'full', ...row }): GpuCase => ({
    name: row.why,
    run: async (t) => checkVarlenWeights(sharedRuntime(await t.device(kind)), row),
  })),
  ...kvCache.map(({ device: kind = 'full', ...row }): GpuCase => ({
    name: `cache: ${row.why}`,
    run: async (t) => checkKvCacheWeights(sharedRuntime(await t.device(kind)), row),
  })),
  {
    name: 'weights of values are the output that attention gives',
    run: (t) =>
      withRuntime(t, async (runtime) => {
        const { device } = runtime;
        const [queries, keys] = [5, 90];
        const one: VarlenCase = { ...SMALL_VARLEN, lengths: [[queries, keys]], sinks: true, softcap: 20 };
        const inputs = draw(one);
        const { args } = place(device, one, inputs);
        const { out, lse } = attnVarlen(runtime, { ...args, returnLse: true });
        const { weights } = attnWeights(runtime, { ...args, lse, rows: [0, 1, 2, 3, 4] });
        assertEqual(weights.shape, [queries, 4, keys]);
        const { heads, headDim } = one;
        const weighed = weigh(await download(device, weights), inputs.v.data, {
          nKeys: keys,
          heads,
          headDim,
        });
        checkMerged('out', { actual: weighed, reference: await download(device, out) });
      }),
  },
  {
    name: 'the arguments of a step over pages, with its lse: rows sum up to 1',
    run: (t) =>
      withRuntime(t, async (runtime) => {
        const { device } = runtime;
        const step: KvCacheCase = { ...SMALL_DECODE, pageSize: 16 };
        const { args } = placeKvCache(device, step, drawKvCache(step));
        const { lse } = attnWithKvCache(runtime, { ...args, returnLse: true });
        const { weights } = attnWeights(runtime, { ...args, lse, rows: [2, 0, 1] });
        const [, nHeads, nKeys] = weights.shape as [number, number, number];
        const numbers = await download(device, weights);
        for (let row = 0; row < 3 * nHeads; row++) {
          const sum = numbers.subarray(row * nKeys, (row + 1) * nKeys).reduce((total, p) => total + p, 0);
          assert(Math.abs(sum - 1) < 1e-5, `row ${row} sums up to ${sum}`);
        }
      }),
  },
  {
    name: 'rows of padding are zeros where only the GPU knows, whatever lse holds there',
    run: (t) =>
      withRuntime(t, async (runtime) => {
        const { device } = runtime;
        const padded: VarlenCase = { ...SMALL_VARLEN, onGpu: true };
        const { args } = place(device, padded, draw(padded));
        // The last sequence has no queries any more: row 20, which was its own, is padding.
        const cuSeqlensQ = Int32Array.of(0, 20, 20);
        device.queue.writeBuffer((args.cuSeqlensQ as Tensor).buffer, 0, cuSeqlensQ);
        const lse = runtime.createTensor([4, 21], 'f32', 'lse');
        device.queue.writeBuffer(lse.buffer, 0, new Float32Array(84).fill(NaN));
        const { weights } = attnWeights(runtime, { ...args, lse, rows: [20] });
        checkSame('weights', {
          actual: await download(device, weights),
          reference: new Float32Array(4 * weights.shape[2]!),
        });
      }),
  },
  {
    name: 'the same bits each time, in a pass of the caller as well',
    run: async (t) => {
      const device = await t.device('full');
      const runtime = createRuntime(device);
      const { args } = place(device, SMALL_VARLEN, draw(SMALL_VARLEN));
      const { lse } = attnVarlen(runtime, { ...args, returnLse: true });
      const given = { ...args, lse, rows: [3, 20] };
      const first = await download(device, attnWeights(runtime, given).weights);
      const encoder = device.createCommandEncoder();
      const pass = encoder.beginComputePass();
      const { weights } = attnWeights(runtime, { ...given, pass });
      pass.end();
      device.queue.submit([encoder.finish()]);
      checkSame('weights', { actual: await download(device, weights), reference: first });
      runtime.destroy();
    },
  },
];
