import { attnWithKvCache } from '../../src/index.js';
import type { HostTensor } from '../../src/reference/attention.js';
import { elementCount } from '../../src/core/tensor.js';
import { download } from '../../tools/deviceTensor.js';
import { attentionCases, type On } from '../attention/attentionCases.js';
import {
  checkKvCache,
  compareKvCache,
  drawKvCache,
  placeKvCache,
  type KvCacheCase,
  type KvCacheInputs,
} from '../attention/kvCacheCase.js';
import { assert, type GpuCase } from '../platforms/gpuCase.js';
import { matricesOf, type MatrixName } from './matrixDevices.js';

// Caches of i8, i4 and e4m3 on subgroup matrices, turned or not: what is staged as codes, and what is scaled and rounded.

const PROMPTS = [
  [96, 40, 0],
  [40, 40, 0],
  [5, 40, 0],
] as const;

const GROWING = [
  [70, 33, 33],
  [0, 33, 33],
  [203, 33, 33],
] as const;

const LAVAPIPE: MatrixName = '8×8×8 of f16 by 8';
const BASE = { lengths: PROMPTS, heads: [4, 2], headDim: 64, dtype: 'f16', causal: true } as const;
const TURNED = { ...BASE, kvRotation: 'hadamard' } as const;
const F16 = { scaleDType: 'f16' } as const;

// prettier-ignore
const cached: readonly (KvCacheCase & On)[] = [
  { why: 'i8 in rows, with lse', matrices: LAVAPIPE, ...BASE, kvDType: 'i8' },
  { why: 'i8 in pages, split, with lse', matrices: '16×16×16 of f16 by 32', ...BASE, ...F16, kvDType: 'i8', pageSize: 16, numSplits: 2 },
  { why: 'i8, bf16, any bytes, pages that are not there', matrices: '8×16×16 of f16 by 16', ...BASE, dtype: 'bf16', headDim: 59, headDimV: 31, kvDType: 'i8', gap: 1, pageSize: 3, onGpu: true, missing: 'pages' },
  { why: 'i8, tiles between first keys and a window', matrices: LAVAPIPE, ...BASE, lengths: [[300, 40, 0]], ...F16, kvDType: 'i8', pageSize: 16, windowSize: [30, 0], firstKeys: 20 },
  { why: 'i8, a mask of bits', matrices: LAVAPIPE, ...BASE, lengths: [[300, 40, 0]], kvDType: 'i8', bits: 'nothing' },
  { why: 'i8 in pages, a function hides keys', matrices: LAVAPIPE, ...BASE, lengths: [[300, 40, 0]], dtype: 'bf16', kvDType: 'i8', pageSize: 16, maskMod: 'stripes' },
  { why: 'i4, a mask of bits', matrices: LAVAPIPE, ...BASE, lengths: [[300, 40, 0]], kvDType: 'i4', bits: 'nothing' },
  { why: 'i4, bf16, a mask of bits', matrices: LAVAPIPE, ...BASE, lengths: [[300, 40, 0]], dtype: 'bf16', kvDType: 'i4', bits: 'nothing', returnLse: false },
  { why: 'i4, turned, in pages, a bias hides keys', matrices: LAVAPIPE, ...TURNED, ...F16, lengths: [[300, 40, 0]], kvDType: 'i4', pageSize: 16, bias: 'f16' },
  { why: 'e4m3, a mask of bits', matrices: LAVAPIPE, ...BASE, lengths: [[300, 40, 0]], kvDType: 'e4m3', bits: 'nothing' },
  { why: 'e4m3, turned, a mask of bits', matrices: LAVAPIPE, ...TURNED, lengths: [[300, 40, 0]], dtype: 'bf16', kvDType: 'e4m3', bits: 'nothing' },
  { why: 'i8 on matrices of f32', matrices: '8×8×8 of f32 by 32', ...BASE, dtype: 'f32', kvDType: 'i8', pageSize: 16 },
  { why: 'i8, turned', matrices: LAVAPIPE, ...TURNED, lengths: GROWING, kvDType: 'i8' },
  { why: 'i8, turned, rotated, bf16, in pages', matrices: '16×8×16 of f16 by 32', ...TURNED, ...F16, lengths: GROWING, dtype: 'bf16', kvDType: 'i8', pageSize: 16, rotary: { dim: 64, interleaved: false } },
  { why: 'i4 in rows', matrices: LAVAPIPE, ...BASE, kvDType: 'i4' },
  { why: 'i4 in pages, three groups, split', matrices: '16×16×16 of f16 by 32', ...BASE, ...F16, headDim: 96, headDimV: 64, kvDType: 'i4', pageSize: 3, numSplits: 3, onGpu: true, missing: 'pages' },
  { why: 'i4, strides of single elements', matrices: LAVAPIPE, ...BASE, headDimV: 32, kvDType: 'i4', gap: 1 },
  { why: 'i4 on matrices of f32', matrices: '8×8×8 of f32 by 32', ...BASE, kvDType: 'i4' },
  { why: 'i4, turned, in pages', matrices: LAVAPIPE, ...TURNED, ...F16, lengths: GROWING, kvDType: 'i4', pageSize: 16 },
  { why: 'e4m3 with lse', matrices: LAVAPIPE, ...BASE, kvDType: 'e4m3', pageSize: 16 },
  { why: 'e4m3, bf16, scales on the GPU', matrices: '16×8×8 of f16 by 32', ...BASE, dtype: 'bf16', kvDType: 'e4m3', scalesOnGpu: true, gap: 1 },
  { why: 'e4m3, turned', matrices: LAVAPIPE, ...TURNED, kvDType: 'e4m3' },
  { why: 'i8, a shared prefix, turned', matrices: LAVAPIPE, ...TURNED, lengths: [[192, 16, 0], [170, 16, 0], [161, 16, 0]], kvDType: 'i8', pageSize: 16, sharedPrefix: 160 },
];

type Change = (inputs: KvCacheInputs) => void;

/** What becomes of numbers that are about 1. */
const EXTREMES: readonly (readonly [why: string, change: Change])[] = [
  [
    'values that grow by 2 every 8 keys',
    ({ quantised }) => scaleTokens(quantised!.v!, (at) => 2 ** (at / 8 - 15)),
  ],
  [
    'values that shrink by 2 every 8 keys',
    ({ quantised }) => scaleTokens(quantised!.v!, (at) => 2 ** (15 - at / 8)),
  ],
  [
    'keys of 1e4, tiny queries',
    ({ q, quantised }) => {
      scaleAll(q, 2 ** -13);
      scaleTokens(quantised!.k, () => 2 ** 13);
    },
  ],
  [
    'keys of 1e-4, large queries',
    ({ q, quantised }) => {
      scaleAll(q, 2 ** 13);
      scaleTokens(quantised!.k, () => 2 ** -13);
    },
  ],
  ['one key that stands out', ({ quantised }) => scaleTokens(quantised!.k, (at) => (at === 50 ? 16 : 1))],
  [
    'one value that stands out, which few rows see',
    ({ quantised }) => scaleTokens(quantised!.v!, (at) => (at === 150 ? 2 ** 12 : 2 ** -10)),
  ],
];

/** Scores of outputs in f16 are exact, those of outputs in bf16 are of operands that are rounded to f16. */
const extremes: readonly GpuCase[] = (['f16', 'bf16'] as const).flatMap((dtype) =>
  (['i8', 'i4'] as const).flatMap((kvDType) =>
    ([undefined, 'hadamard'] as const).flatMap((kvRotation): GpuCase[] => {
      const shape = { lengths: [[120, 40, 0]], heads: [4, 2], headDim: 64, causal: true } as const;
      const kvCase: KvCacheCase = { why: '', ...shape, dtype, kvDType, kvRotation };
      const name = `${dtype}, ${kvDType}${kvRotation ? ', turned' : ''}, keeps its range:`;
      return [
        // f16 has none of these itself.
        ...(dtype === 'bf16' ? [2 ** -20, 2 ** 60] : []).map((factor): GpuCase => ({
          name: `${name} values of ${factor.toPrecision(1)}`,
          async run(t) {
            const inputs = drawKvCache(kvCase);
            scaleTokens(inputs.quantised!.v!, () => factor);
            const out = await outOnMatrices(await t.device('full'), kvCase, inputs);
            scaleTokens(inputs.quantised!.v!, () => 1 / factor);
            compareOut(
              kvCase,
              inputs,
              out.map((x) => x / factor),
            );
          },
        })),
        ...EXTREMES.map(([why, change]): GpuCase => ({
          name: `${name} ${why}`,
          async run(t) {
            const inputs = drawKvCache(kvCase);
            change(inputs);
            compareOut(kvCase, inputs, await outOnMatrices(await t.device('full'), kvCase, inputs));
          },
        })),
      ];
    }),
  ),
);

async function outOnMatrices(
  device: GPUDevice,
  kvCase: KvCacheCase,
  inputs: KvCacheInputs,
): Promise<Float32Array> {
  const { runtime, takeKernels } = await matricesOf(device, LAVAPIPE);
  const { args, lent } = placeKvCache(runtime.device, kvCase, inputs);
  takeKernels();
  const { out } = attnWithKvCache(runtime, args);
  assert(takeKernels().includes('attn_matrix'), 'attn_matrix did not run');
  const got = await download(runtime.device, out);
  for (const { buffer } of [...lent, out]) buffer.destroy();
  return got;
}

/** Nothing is appended. */
function compareOut(kvCase: KvCacheCase, inputs: KvCacheInputs, out: Float32Array): void {
  const { kCache, vCache } = inputs;
  const caches = { kCache: Float32Array.from(kCache.data), vCache: Float32Array.from(vCache!.data) };
  compareKvCache(kvCase, inputs, { out, lse: null, ...caches });
}

export const cases: GpuCase[] = [...attentionCases(cached, checkKvCache), ...extremes];

interface Scaled {
  readonly scales: HostTensor;
  readonly values: HostTensor;
}

/** Multiplies what the codes of each token in the only row of a cache stand for. */
function scaleTokens({ scales, values }: Scaled, factorOf: (token: number) => number): void {
  for (const { data, shape } of [scales, values]) {
    const perToken = elementCount(shape) / values.shape[1]!;
    data.forEach((x, i) => ((data as Float32Array)[i] = x * factorOf(Math.floor(i / perToken))));
  }
}

function scaleAll({ data }: HostTensor, factor: number): void {
  data.forEach((x, i) => ((data as Float32Array)[i] = x * factor));
}
