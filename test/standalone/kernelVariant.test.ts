import { describe, expect, test } from 'vitest';
import type { DeviceTraits } from '../../src/core/deviceTraits.js';
import type { Dispatch } from '../../src/core/dispatch.js';
import type {
  AttentionProblem,
  DeviceLengths,
  PagedRows,
  Rotary,
} from '../../src/problem/attentionProblem.js';
import { copyPagesDispatches, groupPools } from '../../src/kernels/copyPages.js';
import { MERGE_KINDS, mergeSpec, mergeStatesKernel, mergeTile } from '../../src/kernels/mergeStates.js';
import { listNewTokens } from '../../src/kernels/appendKv.js';
import { appendQuantisedDispatch } from '../../src/kernels/appendQuantised.js';
import { hostBatchInfo } from '../../src/kernels/shared/batchInfo.js';
import type { QuantisedDType } from '../../src/core/dtype.js';
import { scaleShape, type ScaleDType } from '../../src/core/kvFormats.js';
import { denseRows, pagedRows } from '../../src/problem/tokenRows.js';
import { turnedProblem } from '../../src/problem/turned.js';
import { variantName } from '../../src/wgsl/link.js';
import { planWeights } from '../../src/plan/planWeights.js';
import { planCachedAttention } from '../../src/plan/planAppend.js';
import {
  dispatchSize,
  kernelVariant,
  type KernelVariant,
  type KernelVariantOptions,
  type StandaloneDevice,
} from '../../src/standalone/kernelVariant.js';
import { KERNEL_NAMES } from '../../src/standalone/options.js';
import { batchOf, type BatchOptions } from '../plan/batch.js';
import { fakeTensor } from '../runtime/fakeDevice.js';
import { portabilityProblems } from '../kernels/portability.js';
import { refusal } from '../check/refusal.js';
import { traitsOf } from '../plan/traits.js';

const ROTARY: Rotary = {
  cos: new Float32Array(64),
  sin: new Float32Array(64),
  nPositions: 4,
  pairs: 16,
  interleaved: true,
  queriesAdvance: true,
};

const T1: StandaloneDevice & Partial<DeviceTraits> = {
  shaderF16: true,
  subgroupMinSize: 16,
  subgroupMaxSize: 32,
  maxWorkgroupBytes: 32768,
};

/** A plan, and the options for each of its kernels, in order. */
interface Planned {
  readonly why: string;
  readonly sequences: readonly (readonly [nQueries: number, nKeys: number])[];
  readonly batch: BatchOptions;
  readonly device?: StandaloneDevice & Partial<DeviceTraits>;
  readonly options: readonly KernelVariantOptions[];
}

const PLANNED: readonly Planned[] = [
  {
    why: 'tokens that decode over pages of halves',
    sequences: [
      [1, 70],
      [1, 200],
    ],
    batch: { heads: [8, 2], headDim: 128, dtype: 'f16', pageSize: 16 },
    options: [{ kernel: 'attn_decode', returnLse: true, headDim: 128, dtype: 'f16', paged: true, group: 4 }],
  },
  {
    why: 'several tokens, split, on a device with features',
    sequences: [[3, 4000]],
    batch: { heads: [2, 1], headDim: 80, dtype: 'bf16', kvDType: 'f16', numSplits: 4 },
    device: T1,
    options: [
      {
        kernel: 'attn_decode',
        returnLse: true,
        headDim: 80,
        dtype: 'bf16',
        kvDType: 'f16',
        split: true,
        group: 2,
        tokens: 3,
        device: T1,
      },
      { kernel: 'merge_states', headDim: 80, dtype: 'bf16', device: T1 },
    ],
  },
  {
    why: 'a prompt of halves with subgroups',
    sequences: [[100, 100]],
    batch: { heads: [4, 2], headDim: 64, dtype: 'f16' },
    device: T1,
    options: [{ kernel: 'attn_prefill', returnLse: true, headDim: 64, dtype: 'f16', device: T1 }],
  },
  {
    why: 'an odd head, in software',
    sequences: [[40, 90]],
    batch: { heads: [2, 2], headDim: 59, pageSize: 3 },
    device: { deviceClass: 'software' },
    options: [
      {
        kernel: 'attn_prefill',
        returnLse: true,
        headDim: 59,
        dtype: 'f32',
        paged: true,
        device: { deviceClass: 'software' },
      },
    ],
  },
  {
    why: 'new tokens rotated and converted, and queries rotated',
    sequences: [[2, 30]],
    batch: {
      heads: [2, 1],
      headDim: 64,
      dtype: 'f32',
      kvDType: 'f16',
      pageSize: 8,
      newTokens: [2],
      rotary: ROTARY,
    },
    options: [
      { kernel: 'append_kv', headDim: 64, dtype: 'f32', kvDType: 'f16', paged: true, rotary: true },
      { kernel: 'append_kv', headDim: 64, dtype: 'f32', rotary: true, queries: true },
      {
        kernel: 'attn_decode',
        returnLse: true,
        headDim: 64,
        dtype: 'f32',
        kvDType: 'f16',
        paged: true,
        group: 2,
        tokens: 2,
      },
    ],
  },
  {
    why: 'the same at once, where a device binds as many buffers',
    sequences: [
      [0, 30],
      [7, 40],
    ],
    batch: { heads: [2, 1], headDim: 6, kvDType: 'f16', newTokens: [0, 7], rotary: { ...ROTARY, pairs: 3 } },
    device: { maxStorageBuffers: 10 },
    options: [
      {
        kernel: 'append_kv',
        headDim: 6,
        dtype: 'f32',
        kvDType: 'f16',
        rotary: true,
        queries: true,
        appends: true,
        device: { maxStorageBuffers: 10 },
      },
      {
        kernel: 'attn_decode',
        returnLse: true,
        headDim: 6,
        dtype: 'f32',
        kvDType: 'f16',
        group: 2,
        tokens: 7,
      },
    ],
  },
];

/** Expects a variant to be what a dispatch runs, with as many workgroups. */
function expectSame(variant: KernelVariant, { kernel, spec, params, grid }: Dispatch): void {
  expect(variant.name).toBe(variantName(kernel, spec));
  expect(dispatchSize(variant, params)).toEqual(grid);
}

describe('a variant is what the planner runs', () => {
  test.each(PLANNED)('$why', ({ sequences, batch, device, options }) => {
    const { problem, lengths } = batchOf(sequences, batch);
    const dispatches = planCachedAttention(problem, lengths, traitsOf(device ?? { tier: 'T0' }));
    expect(dispatches.length).toBe(options.length);
    dispatches.forEach((dispatch, i) => expectSame(kernelVariant(options[i]!), dispatch));
  });

  test('lengths and slopes that are on the GPU', () => {
    const { problem } = batchOf([
      [1, 9],
      [1, 30],
    ]);
    const slopes = { values: fakeTensor('f32', [2, 1]), perSequence: true };
    const lengths: DeviceLengths = {
      cuSeqlensQ: null,
      cuSeqlensK: fakeTensor('i32', [3]),
      nCached: null,
      cuSeqlensKNew: null,
      cacheBatchIdx: null,
      cacheLeftpad: null,
      totalQ: 2,
      keysInRows: false,
      totalK: 39,
      totalNew: 0,
      maxNew: 0,
      nRows: 2,
      maxSeqlenQ: 1,
      maxSeqlenK: 30,
    };
    const [gathered, heads, attention] = planCachedAttention(
      { ...problem, slopes },
      lengths,
      traitsOf({ tier: 'T0' }),
    );
    expectSame(kernelVariant({ kernel: 'gather_lengths' }), gathered!);
    expectSame(kernelVariant({ kernel: 'gather_heads' }), heads!);
    expectSame(
      kernelVariant({ kernel: 'attn_decode', returnLse: true, headDim: 64, dtype: 'f32', alibi: true }),
      attention!,
    );
  });

  test.each([
    { heads: [8, 2], headDim: 80, dtype: 'f16', kvDType: 'bf16', pageSize: 4 },
    { heads: [1, 1], headDim: 59, dtype: 'f32' },
  ] as const)('weights: %o', ({ heads, ...batch }) => {
    const { problem, lengths } = batchOf([[2, 300]], { heads, ...batch });
    const weights = fakeTensor('f32', [1, heads[0], 300]);
    const rows = [{ row: 1, sequences: [0, 1] as const }];
    const { pageSize, ...stored }: { pageSize?: number } & typeof batch = batch;
    const options = { ...stored, paged: pageSize !== undefined, group: heads[0] / heads[1] };
    const [dispatch] = planWeights(
      { attention: problem, nQueries: 0, rows, weights },
      lengths,
      traitsOf({ tier: 'T0' }),
    );
    expectSame(kernelVariant({ kernel: 'attn_weights', ...options }), dispatch!);
  });

  test.each([
    { unaligned: false, shape: [4, 16, 2, 64] },
    { unaligned: true, shape: [4, 1, 1, 6] },
  ])('copies of pages, unaligned: $unaligned', ({ unaligned, shape }) => {
    const groups = groupPools([fakeTensor('f16', shape)], 2 ** 27);
    const pairs = Uint32Array.of(0, 1, 1, 2);
    const [dispatch] = copyPagesDispatches({ groups, pairs, maxWorkgroupsPerDimension: 65535 });
    expectSame(kernelVariant({ kernel: 'copy_pages', unaligned }), dispatch!);
  });
});

const WHOLE = { headDim: 64, dtype: 'f16' } as const;

/** Keys, values and scales of a problem over such a cache, for two kv heads. */
function quantisedCache(
  dtype: QuantisedDType,
  scaleDType: ScaleDType,
  shape: readonly number[],
  paged: boolean,
): Pick<AttentionProblem, 'k' | 'v' | 'scales'> {
  const rowsOf = paged ? pagedRows : denseRows;
  const cache = rowsOf(fakeTensor(dtype, shape));
  const scale = (): PagedRows => rowsOf(fakeTensor(scaleDType, scaleShape(dtype, shape)));
  const heads = Float32Array.of(1, 1);
  const scales =
    dtype === 'e4m3'
      ? ({ per: 'head', k: heads, v: heads } as const)
      : ({ per: 'token', k: scale(), v: scale() } as const);
  return { k: cache, v: cache, scales };
}

test.each(MERGE_KINDS)('merges of parts: %s', (parts) => {
  const { name, bindings } = kernelVariant({ kernel: 'merge_states', ...WHOLE, parts });
  expect(name).toBe(
    variantName(
      mergeStatesKernel,
      mergeSpec(mergeTile(traitsOf({}), parts), { kind: parts, wide: true, outDType: 'f16', outWide: true }),
    ),
  );
  const named = new Set(bindings.map((binding) => binding.name));
  expect(named.has('items')).toBe(parts === 'chunks' || parts === 'cascade');
  expect(named.has('b_out')).toBe(parts === 'pair' || parts === 'cascade');
});

test.each([
  { dtype: 'i8', headDim: 40, scaleDType: 'f32', paged: true, rotary: false, kvRotation: undefined },
  { dtype: 'i8', headDim: 512, scaleDType: 'f16', paged: false, rotary: true, kvRotation: 'hadamard' },
  { dtype: 'i4', headDim: 96, scaleDType: 'f16', paged: true, rotary: true, kvRotation: undefined },
  { dtype: 'i4', headDim: 32, scaleDType: 'f16', paged: false, rotary: false, kvRotation: 'hadamard' },
  { dtype: 'e4m3', headDim: 59, scaleDType: 'f16', paged: false, rotary: false, kvRotation: undefined },
  { dtype: 'e4m3', headDim: 576, scaleDType: 'f16', paged: true, rotary: false, kvRotation: undefined },
] as const)(
  'append_quantised is what a call runs: $dtype, heads of $headDim',
  ({ dtype, headDim, scaleDType, paged, rotary, kvRotation }) => {
    const options = {
      newTokens: [2, 5],
      headDim,
      ...(paged && { pageSize: 8 }),
      ...(rotary && { rotary: ROTARY }),
    };
    const { problem, lengths } = batchOf(
      [
        [2, 30],
        [5, 9],
      ],
      { heads: [4, 2], ...options },
    );
    const shape = paged ? [8, 8, 2, headDim] : [2, 32, 2, headDim];
    const quantised = { ...problem, ...quantisedCache(dtype, scaleDType, shape, paged) };
    const turned = kvRotation ? turnedProblem(quantised) : quantised;
    const info = hostBatchInfo(turned, lengths, new Uint32Array());
    const tokens = listNewTokens(Uint32Array.of(2, 5), info, () => info);
    for (const side of ['keys', 'values'] as const) {
      const dispatch = appendQuantisedDispatch({
        problem: turned,
        tokens,
        side: side === 'keys' ? 'k' : 'v',
        maxWorkgroupsPerDimension: 65535,
      });
      const variant = kernelVariant({
        kernel: 'append_quantised',
        headDim,
        dtype: 'f32',
        kvDType: dtype,
        ...(dtype !== 'e4m3' && { scaleDType }),
        side,
        paged,
        rotary: rotary && side === 'keys',
        kvRotation,
      });
      expect(variant.name).toBe(variantName(dispatch.kernel, dispatch.spec));
      expect(dispatchSize(variant, dispatch.params)).toEqual(dispatch.grid);
    }
  },
);

test.each([
  { dtype: 'i8', headDim: 128, scaleDType: 'f16', pageSize: 16, sequence: [1, 200], kvRotation: undefined },
  { dtype: 'i8', headDim: 64, scaleDType: 'f32', pageSize: 0, sequence: [100, 100], kvRotation: 'hadamard' },
  { dtype: 'i4', headDim: 96, scaleDType: 'f16', pageSize: 3, sequence: [3, 90], kvRotation: undefined },
  { dtype: 'i4', headDim: 32, scaleDType: 'f32', pageSize: 0, sequence: [1, 7], kvRotation: 'hadamard' },
  { dtype: 'e4m3', headDim: 59, scaleDType: 'f16', pageSize: 0, sequence: [40, 60], kvRotation: undefined },
  { dtype: 'e4m3', headDim: 256, scaleDType: 'f16', pageSize: 8, sequence: [1, 60], kvRotation: undefined },
] as const)(
  'attention over a quantised cache is what a call runs: $dtype, heads of $headDim',
  ({ dtype, headDim, scaleDType, pageSize, sequence, kvRotation }) => {
    const paged = pageSize > 0;
    const heads = [4, 2] as const;
    const { problem, lengths } = batchOf([sequence], {
      heads,
      headDim,
      dtype: 'f16',
      ...(paged && { pageSize }),
    });
    const shape = paged ? [99, pageSize, 2, headDim] : [1, 256, 2, headDim];
    const quantised = { ...problem, ...quantisedCache(dtype, scaleDType, shape, paged) };
    const dispatches = planCachedAttention(
      kvRotation ? turnedProblem(quantised) : quantised,
      lengths,
      traitsOf({ tier: 'T0', maxStorageBuffers: 10 }),
    );
    const device = { maxStorageBuffers: 10 };
    const rows = {
      headDim,
      dtype: kvRotation ? 'f32' : 'f16',
      kvDType: dtype,
      ...(dtype !== 'e4m3' && { scaleDType }),
      paged,
      returnLse: true,
      device,
    } as const;
    const attention: KernelVariantOptions =
      sequence[0] * 2 > 16
        ? { kernel: 'attn_prefill', ...rows }
        : { kernel: 'attn_decode', ...rows, group: 2, tokens: sequence[0] };
    const turn = { kernel: 'turn_heads', headDim, dtype: 'f16' } as const;
    const turns: KernelVariantOptions[] = [turn, attention, { ...turn, heads: 'outputs' }];
    const options = kvRotation ? turns : [attention];
    expect(dispatches.length).toBe(options.length);
    dispatches.forEach((dispatch, i) => expectSame(kernelVariant(options[i]!), dispatch));
  },
);

/** One variant of each kernel, with the options that are needed. */
const ONE_OF_EACH: readonly KernelVariantOptions[] = [
  { kernel: 'attn_prefill', ...WHOLE },
  { kernel: 'attn_decode', ...WHOLE },
  { kernel: 'attn_weights', ...WHOLE },
  { kernel: 'append_kv', ...WHOLE },
  { kernel: 'append_quantised', headDim: 64, dtype: 'f16', kvDType: 'i8' },
  { kernel: 'turn_heads', headDim: 64, dtype: 'f16' },
  { kernel: 'merge_states', ...WHOLE },
  { kernel: 'copy_pages' },
  { kernel: 'gather_lengths' },
  { kernel: 'gather_heads' },
  { kernel: 'gather_tokens' },
];

test('every kernel is tested', () => {
  expect(ONE_OF_EACH.map(({ kernel }) => kernel)).toEqual(KERNEL_NAMES);
});

describe.each(ONE_OF_EACH)('$kernel', (options) => {
  const variant = kernelVariant(options);

  test('needs no feature, and survives JSON', () => {
    expect(portabilityProblems(variant.code)).toEqual([]);
    expect(variant.requires).toEqual([]);
    expect(JSON.parse(JSON.stringify(variant))).toEqual(variant);
  });

  test('has every binding of its text, with a note', () => {
    const declared = variant.code.match(/@group\(0\)/g)!.length;
    expect(variant.bindings).toHaveLength(declared);
    for (const { name, note } of variant.bindings) if (name !== 'params') expect(note, name).toBeTruthy();
  });

  test('describes the structs that its text has', () => {
    const structs = { Params: variant.params, ...variant.records };
    for (const [name, { bytes, fields }] of Object.entries(structs)) {
      const body = new RegExp(`struct ${name} \\{([^}]*)\\}`).exec(variant.code)?.[1];
      if (body === undefined) {
        // Written word by word.
        expect([name, variant.kernel]).toEqual(['Sequence', expect.stringMatching(/^gather_/)]);
        continue;
      }
      const declared = [...body.matchAll(/(\w+): (\w+)/g)].map(([, field, type]) => [field, type]);
      expect(Object.entries(fields).map(([field, { type }]) => [field, type])).toEqual(declared);
      expect(bytes).toBe(4 * declared.length);
    }
  });
});

test('the device decides about features and tiles', () => {
  const on = (device: StandaloneDevice) => kernelVariant({ kernel: 'attn_prefill', ...WHOLE, device });
  const software = { ...T1, deviceClass: 'software', subgroupMinSize: 8, subgroupMaxSize: 8 } as const;
  expect(on(software).requires).toEqual(['shader-f16', 'subgroups']);
  expect(on(T1).requires).toEqual(['subgroups']);
  expect(on({ subgroupMinSize: 32 }).requires).toEqual(['subgroups']);
  expect(on({ subgroupMinSize: 4 }).requires).toEqual([]);
  expect(on({ maxWorkgroupInvocations: 64 }).workgroupSize).toBe(64);
  expect(on({ maxWorkgroupBytes: 10000 }).workgroupBytes).toBeLessThanOrEqual(10000);
});

test('rows that may begin at any element', () => {
  const [wide, narrow] = [false, true].map((unaligned) =>
    kernelVariant({ kernel: 'attn_decode', ...WHOLE, returnLse: true, unaligned }),
  );
  const alignments = ({ bindings }: KernelVariant) => bindings.flatMap(({ alignment }) => alignment ?? []);
  expect(alignments(wide!)).toEqual([16, 16, 16, 8, 4]);
  expect(alignments(narrow!)).toEqual([2, 2, 2, 2, 4]);
});

test('workgroups are folded into two dimensions', () => {
  const variant = kernelVariant({ kernel: 'attn_decode', ...WHOLE });
  const { formula } = variant.grid;
  expect(formula).toBe('(end_item - first_item) * n_kv_heads');
  expect(dispatchSize(variant, { first_item: 5, end_item: 10, n_kv_heads: 8 })).toEqual([40, 1, 1]);
  expect(dispatchSize(variant, { first_item: 0, end_item: 20000, n_kv_heads: 8 })).toEqual([53334, 3, 1]);
  const append = kernelVariant({ kernel: 'append_kv', ...WHOLE });
  expect(append.grid.formula).toBe('ceil(n_items * item_tokens * token_octets / 64)');
  expect(refusal(() => dispatchSize(variant, { end_item: 3, n_kv_heads: 1 }))).toMatchInlineSnapshot(
    `"argument: dispatchSize: first_item must be a whole number ≥ 0, not undefined."`,
  );
});
