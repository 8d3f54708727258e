import { describe, expect, test } from 'vitest';
import type { DeviceTraits } from '../../src/core/deviceTraits.js';
import type { Dispatch } from '../../src/core/dispatch.js';
import { UNKNOWN_PACE } from '../../src/core/pace.js';
import { contiguousStrides } from '../../src/core/tensor.js';
import {
  attnWeights,
  attnWithKvCache,
  type AttnWeightsArgs,
  type AttnWithKvCacheArgs,
  type Runtime,
} from '../../src/index.js';
import { link, variantName } from '../../src/wgsl/link.js';
import { refusal } from '../check/refusal.js';
import { traitsOf } from '../plan/traits.js';
import { fakeTensor } from '../runtime/fakeDevice.js';

// A device with the default limits binds eight storage buffers. It takes every pair of options.

/** Formats of the cache; a call has one. */
const FORMATS = ['i8', 'i4', 'e4m3', 'e4m3, scales on the GPU'] as const;

const OPTIONS = [
  'pages',
  'lse',
  'split',
  ...FORMATS,
  'mask',
  'bias',
  'new tokens',
  'rotary',
  'rotary sections',
  'positions',
  'positions on the GPU',
  'tree',
  'tree on the GPU',
  'first keys',
  'window',
  'chunk',
  'softcap',
  'sinks',
  'sinks on the GPU',
  'slopes',
  'slopes on the GPU',
  'lengths on the GPU',
  'rows on the GPU',
  'left padding',
  'shared prefix',
  'values in keys',
] as const;
type Option = (typeof OPTIONS)[number];

const NOT_TOGETHER: readonly (readonly Option[])[] = [
  FORMATS,
  ['positions', 'positions on the GPU'],
  ['tree', 'tree on the GPU'],
  ['sinks', 'sinks on the GPU'],
  ['slopes', 'slopes on the GPU'],
];

/** With the number of query tokens, a call that has some of the options. */
function argsOf(options: readonly Option[], nQueries: number, dtype: 'f32' | 'f16'): AttnWithKvCacheArgs {
  const has = (option: Option) => options.includes(option);
  const [batch, nHeads, nKvHeads, headDim, nKeys, pageSize] = [2, 8, 2, 64, 640, 16];
  const isPaged = has('pages') || has('shared prefix');
  const hasSections = has('rotary sections');
  const rows = isPaged ? [100, pageSize] : [batch, nKeys];
  const format = FORMATS.find(has);
  const kvDType = format ? (format.startsWith('e4m3') ? 'e4m3' : (format as 'i8' | 'i4')) : dtype;
  const scales = () => {
    if (format === 'e4m3, scales on the GPU') return fakeTensor('f32', [nKvHeads]);
    if (format === 'e4m3') return [1, 2];
    const groups = format === 'i4' ? [headDim / 32] : [];
    return fakeTensor('f16', [...rows, nKvHeads, ...groups]);
  };
  const kCache = fakeTensor(kvDType, [...rows, nKvHeads, headDim]);
  const values = [...rows, nKvHeads, headDim / 2];
  const inKeys = has('values in keys');
  const kScale = format && scales();
  const vScale = format && !inKeys ? scales() : undefined;
  const tokens = [batch, nQueries];
  const words = Math.ceil(nQueries / 32);
  const columns = nKeys / pageSize;
  const appends = has('new tokens');
  const angles = () => fakeTensor('f32', [2000, headDim / 2]);
  const positions = Array.from({ length: batch * nQueries * (hasSections ? 3 : 1) }, (_, i) => i);
  return {
    q: fakeTensor(dtype, [...tokens, nHeads, headDim]),
    kCache,
    vCache: inKeys
      ? { ...kCache, shape: values, strides: contiguousStrides(kCache.shape) }
      : fakeTensor(kvDType, [...rows, nKvHeads, headDim]),
    cacheSeqlens: has('lengths on the GPU') ? fakeTensor('i32', [batch]) : [500, 400],
    causal: true,
    // The planner splits the keys of a few long sequences by itself.
    numSplits: has('split') ? 3 : 1,
    ...(kScale && { kScale }),
    ...(vScale && { vScale }),
    ...(isPaged && {
      blockTable: Array.from({ length: batch * columns }, (_, i) => (i % columns < 25 ? i % columns : i)),
    }),
    ...(has('lse') && { returnLse: true }),
    ...(has('mask') && { mask: fakeTensor('u32', [1, nHeads, nQueries, nKeys / 32]) }),
    ...(has('bias') && { bias: fakeTensor(dtype, [batch, 1, nQueries, nKeys]) }),
    ...(appends && {
      k: fakeTensor(dtype, [...tokens, nKvHeads, headDim]),
      ...(!inKeys && { v: fakeTensor(dtype, [...tokens, nKvHeads, headDim]) }),
    }),
    ...((has('rotary') || hasSections) && { rotaryCos: angles(), rotarySin: angles() }),
    ...(hasSections && { rotarySections: [8, 12, 12] }),
    ...((has('positions') || (hasSections && !has('positions on the GPU'))) && { positions }),
    ...(has('positions on the GPU') && {
      positions: fakeTensor('i32', hasSections ? [3, ...tokens] : tokens),
    }),
    ...(has('tree') && { treeMask: new Uint32Array(batch * nQueries * words).fill(1) }),
    ...(has('tree on the GPU') && { treeMask: fakeTensor('u32', [...tokens, words]) }),
    ...(has('first keys') && { firstKeys: 4 }),
    ...((has('window') || has('first keys')) && { windowSize: [100, 20] }),
    ...(has('chunk') && { attentionChunk: 200 }),
    ...(has('softcap') && { softcap: 20 }),
    ...(has('sinks') && { sinks: new Float32Array(nHeads) }),
    ...(has('sinks on the GPU') && { sinks: fakeTensor('f32', [nHeads]) }),
    ...(has('slopes') && { alibiSlopes: new Float32Array(nHeads) }),
    ...(has('slopes on the GPU') && { alibiSlopes: fakeTensor('f32', [batch, nHeads]) }),
    ...(has('rows on the GPU') && { cacheBatchIdx: fakeTensor('i32', [batch]) }),
    ...(has('left padding') && { cacheLeftpad: [0, 3] }),
    ...(has('shared prefix') && {
      sharedPrefix: { blockTable: Array.from({ length: 25 }, (_, i) => i), length: 400 },
    }),
  };
}

/** What a call would submit on such a device. */
function dispatchesOf(traits: DeviceTraits, call: (runtime: Runtime) => void): readonly Dispatch[] {
  let dispatches: readonly Dispatch[] = [];
  call({
    traits,
    pace: UNKNOWN_PACE,
    assertAlive() {},
    createTensor: (shape: readonly number[], dtype: 'f32') => {
      const tensor = fakeTensor(dtype, shape);
      return { ...tensor, buffer: Object.assign(tensor.buffer, { destroy() {} }) };
    },
    inNameOf: (_: string, run: () => unknown) => run(),
    submit: (submitted: readonly Dispatch[]) => void (dispatches = submitted),
  } as unknown as Runtime);
  return dispatches;
}

const GPU = traitsOf({});
const MATRICES = traitsOf({
  tier: 'T2',
  shaderF16: true,
  subgroupMinSize: 32,
  subgroupMaxSize: 32,
  matrices: { componentType: 'f16', resultComponentType: 'f32', M: 16, N: 16, K: 16 },
});

const attend =
  (nQueries: number, dtype: 'f32' | 'f16', traits: DeviceTraits) => (options: readonly Option[]) =>
    dispatchesOf(traits, (runtime) => attnWithKvCache(runtime, argsOf(options, nQueries, dtype)));

/** By kernel, its dispatches with some options, on a device with default limits. */
const KERNELS: Readonly<Record<string, (options: readonly Option[]) => readonly Dispatch[]>> = {
  attn_decode: attend(1, 'f32', GPU),
  attn_prefill: attend(40, 'f32', GPU),
  attn_matrix: attend(40, 'f16', MATRICES),
  attn_weights: (options) =>
    dispatchesOf(GPU, (runtime) => {
      const lse = fakeTensor('f32', [2, 8, 3]);
      attnWeights(runtime, { ...argsOf(options, 3, 'f32'), lse, rows: [1, 2, 5] } as AttnWeightsArgs);
    }),
};

const PAIRS = OPTIONS.flatMap((a, i) => OPTIONS.slice(i + 1).map((b) => [a, b] as const)).filter((pair) =>
  NOT_TOGETHER.every((group) => !pair.every((option) => group.includes(option))),
);

function storageBuffers({ kernel }: Dispatch): readonly string[] {
  return kernel.bindings.filter(({ access }) => access !== 'uniform').map(({ name }) => name);
}

/** By kernel. */
const most: Record<string, string[]> = Object.fromEntries(Object.keys(KERNELS).map((name) => [name, []]));

describe.each(Object.entries(KERNELS))('%s', (name, dispatchesWith) => {
  /** The bindings that the text of a variant has, by the variant's name. */
  const texts = new Map<string, string>();

  test('takes every pair of options, with at most eight storage buffers', { timeout: 60_000 }, () => {
    for (const pair of PAIRS) {
      const dispatches = dispatchesWith(pair);
      const ran = dispatches.filter(({ kernel }) => kernel.name === name);
      expect(ran.length, pair.join(' + ')).toBeGreaterThan(0);
      for (const dispatch of dispatches) {
        const bound = storageBuffers(dispatch);
        expect(bound.length, `${pair.join(' + ')} in ${dispatch.kernel.name}`).toBeLessThanOrEqual(8);
        const variant = variantName(dispatch.kernel, dispatch.spec);
        const text = texts.get(variant) ?? bindingsOf(link(dispatch.kernel, dispatch.spec));
        texts.set(variant, text);
        const layout = dispatch.kernel.bindings.map((each) => `${each.binding} ${each.name}`);
        expect(layout, variant).toEqual(expect.arrayContaining(text.split(', ')));
        if (dispatch.kernel.name === name) expect(layout.join(', '), variant).toBe(text);
      }
      if (ran.some((dispatch) => storageBuffers(dispatch).length === 8)) most[name]!.push(pair.join(' + '));
    }
  });
});

test('pairs that take all eight', () => {
  expect(most).toMatchInlineSnapshot(`
    {
      "attn_decode": [
        "pages + i8",
        "pages + i4",
        "pages + mask",
        "lse + i8",
        "lse + i4",
        "lse + mask",
        "i8 + mask",
        "i8 + bias",
        "i8 + shared prefix",
        "i4 + mask",
        "i4 + bias",
        "i4 + shared prefix",
        "mask + bias",
        "mask + shared prefix",
      ],
      "attn_matrix": [
        "pages + i8",
        "pages + i4",
        "pages + mask",
        "lse + i8",
        "lse + i4",
        "lse + mask",
        "i8 + mask",
        "i8 + bias",
        "i8 + shared prefix",
        "i4 + mask",
        "i4 + bias",
        "i4 + shared prefix",
        "mask + bias",
        "mask + shared prefix",
      ],
      "attn_prefill": [
        "pages + i8",
        "pages + i4",
        "pages + mask",
        "lse + i8",
        "lse + i4",
        "lse + mask",
        "i8 + mask",
        "i8 + bias",
        "i8 + shared prefix",
        "i4 + mask",
        "i4 + bias",
        "i4 + shared prefix",
        "mask + bias",
        "mask + shared prefix",
      ],
      "attn_weights": [],
    }
  `);
});

/** What a text declares, by number. */
function bindingsOf(code: string): string {
  return [...code.matchAll(/@binding\((\d+)\) var<[^>]+> (\w+)/g)]
    .map(([, binding, name]) => ({ binding: Number(binding), name }))
    .toSorted((a, b) => a.binding - b.binding)
    .map(({ binding, name }) => `${binding} ${name}`)
    .join(', ');
}

test('what takes more is refused, with the options that do', () => {
  const refused = (...options: Option[]) => refusal(() => KERNELS['attn_decode']!(options));
  expect([
    refused('pages', 'i8', 'lse'),
    refused('pages', 'i4', 'mask', 'bias'),
    refusal(() => KERNELS['attn_weights']!(['pages', 'i8', 'mask', 'bias'])),
  ]).toMatchInlineSnapshot(`
    [
      "limit: attnWithKvCache: attn_decode needs 9 storage buffers with blockTable, lse, kScale, vScale, but this device binds at most 8. Ask for maxStorageBuffersPerShaderStage, or use requestDevice().",
      "limit: attnWithKvCache: attn_decode needs 10 storage buffers with blockTable, kScale, vScale, mask, bias, but this device binds at most 8. Ask for maxStorageBuffersPerShaderStage, or use requestDevice().",
      "limit: attnWeights: attn_weights needs 9 storage buffers with blockTable, kScale, mask, bias, but this device binds at most 8. Ask for maxStorageBuffersPerShaderStage, or use requestDevice().",
    ]
  `);
  // Parts of split keys bring their sums along.
  expect(KERNELS['attn_decode']!(['pages', 'i8', 'lse', 'split']).length).toBeGreaterThan(0);
});
