import { describe, expect, test } from 'vitest';
import { attnVariants, type AttnVariantOptions } from '../../src/attention/attnVariants.js';
import type { DeviceClass } from '../../src/core/deviceTraits.js';
import type { FloatDType } from '../../src/core/dtype.js';
import copyPagesKernel from '../../src/kernels/copy_pages.wgsl';
import { listBlocksKernel } from '../../src/kernels/listBlocks.js';
import { link, variantName } from '../../src/wgsl/link.js';
import type { Variant } from '../../src/runtime/pipelines.js';
import { MATRIX_EXTENSION } from '../../src/runtime/adapterInfo.js';
import { createRuntime } from '../../src/runtime/runtime.js';
import { fakeDevice } from '../runtime/fakeDevice.js';
import { portabilityProblems } from './portability.js';

const DTYPES: readonly (readonly [q: FloatDType, kv: FloatDType])[] = [
  ['f32', 'f32'],
  ['f16', 'f16'],
  ['bf16', 'bf16'],
  ['f32', 'f16'],
];

/** One that fills 16 bytes in every type, one that fills none, and large ones. */
const HEAD_DIMS = [64, 59, 256, 512];

/** Each feature of a kernel that text depends on is in some of these, and is not in others. */
const FEATURES: readonly Partial<AttnVariantOptions>[] = [
  { group: 1 },
  { group: 8, paged: true, softcap: true, returnLse: true, newDType: 'f32', rotary: true, weights: true },
  { group: 3, decodeTokens: 2, alibi: true, newDType: 'bf16', weights: true },
  { group: 2, alibi: true, positions: true, treeMask: true, newDType: 'f16', rotary: true, weights: true },
  { group: 2, positions: true, newDType: 'f16', rotary: true, rotarySections: true, treeMask: true },
  { group: 2, mask: true, bias: 'f16', firstKeys: true, weights: true },
  { group: 2, blockMask: true, mask: true, alibi: true, weights: true },
  { group: 1, decodeTokens: 1, paged: true, bias: 'bf16', weights: true },
];

/** Calls over quantised caches. */
const QUANTISED: readonly AttnVariantOptions[] = [
  { headDim: 59, dtype: 'f32', kvDType: 'i8', newDType: 'bf16', rotary: true },
  { headDim: 64, dtype: 'f16', kvDType: 'i8', scaleDType: 'f32', newDType: 'f16', paged: true },
  { headDim: 64, dtype: 'f16', kvDType: 'i4', newDType: 'f16', paged: true, rotary: true },
  { headDim: 256, dtype: 'f32', kvDType: 'i4', scaleDType: 'f32', newDType: 'f32' },
  { headDim: 59, dtype: 'f32', kvDType: 'e4m3', newDType: 'f32', paged: true },
  { headDim: 64, dtype: 'bf16', kvDType: 'e4m3', newDType: 'bf16', rotary: true },
  { headDim: 4, dtype: 'f16', kvDType: 'i8', newDType: 'f16', kvRotation: 'hadamard' },
  {
    headDim: 64,
    dtype: 'f32',
    kvDType: 'i4',
    newDType: 'f32',
    paged: true,
    rotary: true,
    kvRotation: 'hadamard',
  },
  {
    headDim: 256,
    dtype: 'bf16',
    kvDType: 'e4m3',
    newDType: 'bf16',
    rotary: true,
    positions: true,
    rotarySections: true,
    kvRotation: 'hadamard',
  },
];

function variantsOn(deviceClass: DeviceClass): Map<string, Variant> {
  const runtime = createRuntime(fakeDevice({ maxStorageBuffersPerShaderStage: 16 }), {
    tier: 'T0',
    deviceClass,
  });
  const options = DTYPES.flatMap(([dtype, kvDType]) =>
    HEAD_DIMS.flatMap((headDim) => FEATURES.map((features) => ({ headDim, dtype, kvDType, ...features }))),
  );
  const variants: Variant[] = [
    ...options.flatMap((option) => attnVariants(runtime, option)),
    ...QUANTISED.flatMap((option) => attnVariants(runtime, option)),
    { kernel: listBlocksKernel, spec: {} },
    ...[true, false].map((wide) => ({ kernel: copyPagesKernel, spec: { WIDE: wide } })),
  ];
  return new Map(variants.map((variant) => [variantName(variant.kernel, variant.spec), variant]));
}

/** ms, for a busy machine. */
const SLOW = 120_000;

describe.each(['gpu', 'software'] satisfies DeviceClass[])(
  'without features, on a device of class %s',
  (deviceClass) => {
    const variants = variantsOn(deviceClass);
    const kernels = new Set([...variants.values()].map(({ kernel }) => kernel));

    // attn_matrix is for the extension that it enables: matrixRules.test.ts has what holds for it.
    test('every kernel that can do without extensions is among the variants', () => {
      const files = Object.keys(import.meta.glob('../../src/kernels/**/*.wgsl'));
      const sources = import.meta.glob<string>('../../src/kernels/**/*.wgsl', {
        query: '?raw',
        import: 'default',
        eager: true,
      });
      // Kernels that use subgroup matrices have rules of their own.
      const entries = files.filter(
        (file) => sources[file]!.includes('@compute') && !sources[file]!.includes(MATRIX_EXTENSION),
      );
      const names = new Set([...kernels].map(({ name }) => name));
      expect([...names].map((name) => `../../src/kernels/${name}.wgsl`).toSorted()).toEqual(
        entries.toSorted(),
      );
    });

    test.each([...kernels].map((kernel) => [kernel.name, kernel] as const))(
      '%s needs nothing that a browser may lack',
      (_, kernel) => {
        const problems = [...variants]
          .filter(([, variant]) => variant.kernel === kernel)
          .flatMap(([name, { spec }]) =>
            portabilityProblems(link(kernel, spec)).map((problem) => `${name}: ${problem}`),
          );
        expect(problems).toEqual([]);
        const buffers = kernel.bindings.filter(({ access, binding }) => access !== 'uniform' && binding < 9);
        expect(buffers.length).toBeLessThanOrEqual(8);
      },
      SLOW,
    );
  },
);

const HEAD = '@compute @workgroup_size(64) fn main() {';

test.each([
  [`enable f16; ${HEAD} }`, 'an extension: enable f16'],
  [`requires pointer_composite_access; ${HEAD} }`, 'an extension: requires pointer_composite_access'],
  [`${HEAD} let x = 1.5h; }`, 'f16: 1.5h'],
  [`${HEAD} let x = subgroupAdd(1.0); }`, 'a subgroup operation: subgroupAdd'],
  [`${HEAD} let x = dot4U8Packed(1u, 2u); }`, 'packed_4x8_integer_dot_product: dot4U8Packed'],
  [`@group(0) @binding(0) var t: texture_2d<f32>; ${HEAD} }`, 'a texture: texture_2d'],
  [`fn f(p: ptr<workgroup, u32>) {} ${HEAD} }`, 'a pointer to memory: ptr<workgroup'],
  [`${HEAD} var a = vec2f(); f(&a.x); }`, 'an address: &a'],
  [`${HEAD} var a = vec4f(); a.xy = vec2f(); }`, 'swizzle_assignment: .xy ='],
  [`fn f(@builtin(subgroup_size) s: u32) {}`, 'a subgroup operation: subgroup_size'],
  [`fn f(@builtin(global_invocation_index) i: u32) {}`, 'a builtin value: @builtin(global_invocation_index)'],
  [`${HEAD} for (;;) { var s: f32; } }`, 'a variable without initialiser: var s: f32;'],
  [`const W = 16u; @compute @workgroup_size(W * 17, 1) fn main() {}`, '272 invocations'],
  [
    `const N = max(4097 / 4, 9u); alias T = vec4f; var<workgroup> t: array<T, N + 1>; ${HEAD} }`,
    '16400 bytes of workgroup memory',
  ],
])('finds fault with %s', (code, problem) => {
  expect(portabilityProblems(code)).toContain(problem);
});

test('finds no fault with what every WebGPU has', () => {
  const code = `
    var<workgroup> n: atomic<u32>;
    var<workgroup> tile: array<vec4f, 1023>;
    @group(0) @binding(0) var<storage, read> x: array<u32>;
    ${HEAD}
      var s = vec4f();
      s.x = unpack2x16float(x[0]).y;
      for (var i = 0u; i < arrayLength(&x); i++) { atomicAdd(&n, i & 3u); }
      if (s.x == 1.0 && s.xy.y == 2.0) { tile[0] = s; }
    }`;
  expect(portabilityProblems(code)).toEqual([]);
});
