import { describe, expect, test } from 'vitest';
import { attnVariants, type AttnVariantOptions } from '../../src/attention/attnVariants.js';
import type { MatrixConfiguration } from '../../src/core/deviceTraits.js';
import { matrixName } from '../../src/core/matrixConfigurations.js';
import { MATRIX_EXTENSION } from '../../src/runtime/adapterInfo.js';
import { createRuntime } from '../../src/runtime/runtime.js';
import { link, variantName } from '../../src/wgsl/link.js';
import { INFO, matrixDevice } from '../runtime/matrixDevice.js';
import { matrixProblems } from './matrixRules.js';

/** Those that adapters list. */
const CONFIGURATIONS = (
  [
    ['f16', 16, 16, 16],
    ['f16', 16, 8, 16],
    ['f16', 16, 8, 8],
    ['f16', 8, 16, 16],
    ['f16', 8, 8, 8],
    ['f32', 8, 8, 8],
  ] as const
).map(([componentType, M, N, K]): MatrixConfiguration => {
  return { componentType, resultComponentType: 'f32', M, N, K };
});

const OPTIONS: readonly AttnVariantOptions[] = (['f16', 'bf16', 'f32'] as const).flatMap((dtype) =>
  [64, 59, 128, 256].flatMap((headDim): AttnVariantOptions[] => [
    { dtype, headDim, group: 4 },
    { dtype, headDim, group: 3, paged: true, alibi: true, softcap: true },
    { dtype, headDim, kvDType: 'i8', paged: true },
    ...(headDim % 64 ? [] : [{ dtype, headDim, kvDType: 'i4', kvRotation: 'hadamard' } as const]),
  ]),
);

/** Whether a module uses matrices; one that merely enables them is refused where they are not there. */
function usesMatrices(code: string): boolean {
  return code.includes(MATRIX_EXTENSION) || /\bsubgroup_?[mM]atrix/.test(code);
}

/** ms, for a busy machine. */
const SLOW = 120_000;

const DEVICES = CONFIGURATIONS.flatMap((matrices) =>
  (['gpu', 'software'] as const).map((deviceClass) => [deviceClass, matrixName(matrices), matrices] as const),
);

describe.each(DEVICES)('on a device of class %s with matrices %s', (deviceClass, _, matrices) => {
  const limits = { maxComputeWorkgroupStorageSize: 49152, maxComputeInvocationsPerWorkgroup: 1024 };
  const info = { ...INFO, subgroupMatrixConfigs: [matrices] };
  const { device } = matrixDevice({ info, limits: { ...limits, maxComputeWorkgroupSizeX: 1024 } });
  const runtime = createRuntime(device, { adapterInfo: info, deviceClass, tier: 'T2' });
  const variants = OPTIONS.flatMap((options) => attnVariants(runtime, options));
  const texts = new Map(
    variants.map(({ kernel, spec, when }) => [
      variantName(kernel, spec),
      { code: link(kernel, spec), isForMatrices: when?.matrices === true },
    ]),
  );

  test(
    'kernels that use them keep to their rules',
    () => {
      const using = [...texts].filter(([, { code }]) => usesMatrices(code));
      expect(using).not.toEqual([]);
      const problems = using.flatMap(([name, { code }]) =>
        matrixProblems(code).map((problem) => `${name}: ${problem}`),
      );
      expect(problems).toEqual([]);
    },
    SLOW,
  );

  test(
    'no kernel that is needed without them names them',
    () => {
      const wrong = [...texts].filter(([, { code, isForMatrices }]) => usesMatrices(code) && !isForMatrices);
      expect(wrong.map(([name]) => name)).toEqual([]);
    },
    SLOW,
  );
});

const HEAD = `enable ${MATRIX_EXTENSION};
diagnostic(off, chromium.subgroup_matrix_uniformity);
alias Result = subgroup_matrix_result<f32, 16, 16>;
const LINE = 24;`;

test.each([
  ['var<workgroup> n: atomic<u32>;', 'n takes 4 bytes of workgroup memory, no multiple of 16'],
  ['var<workgroup> t: array<f16, LINE + 1>;', 't takes 50 bytes of workgroup memory, no multiple of 16'],
  ['fn f() { var s: Result; }', 'var s: Result; has no initialiser'],
  [
    'fn f() { var s: subgroup_matrix_left<f16, 16, 16>; }',
    'var s: subgroup_matrix_left<f16, 16, 16>; has no initialiser',
  ],
  ['fn f() { var s: array<Result, 4>; }', 'var s: array<Result, 4>; has no initialiser'],
  ['fn f() { var s; }', 'var s; has no type'],
  [
    'fn f() { let s = subgroupMatrixLoad<Result>(&t, 0, false, 16); }',
    'subgroupMatrixLoad<Result>(&t, 0, false, 16); has no layout',
  ],
  [
    'fn f() { subgroupMatrixStore(&t, 0, s, true, 16); }',
    'subgroupMatrixStore(&t, 0, s, true, 16); has no layout',
  ],
])('finds fault with %s', (code, problem) => {
  expect(matrixProblems(`${HEAD}\n${code}`)).toEqual([problem]);
});

test('finds fault where the diagnostic is missing', () => {
  expect(matrixProblems(`enable ${MATRIX_EXTENSION};`)).toHaveLength(1);
});

test('finds no fault with what keeps to the rules', () => {
  const code = `${HEAD}
    var<workgroup> grow: array<atomic<u32>, 4>;
    var<workgroup> keys: array<f16, 16 * LINE>;
    var<workgroup> pairs: array<vec2<f16>, 8>;
    var<workgroup> scores: array<vec4f, 7>;
    fn f() {
      var s: Result = Result();
      var all = array<Result, 2>();
      var both: array<Result, 2> = all;
      var q = subgroupMatrixLoad<subgroup_matrix_left<f16, 16, 16>, row_major>(&keys, 0u, 24u);
      s = subgroupMatrixMultiplyAccumulate(q, subgroupMatrixLoad<subgroup_matrix_right<f16, 16, 16>, col_major>(&keys, 0u, 24u), s);
      subgroupMatrixStore<row_major>(&scores, 0u, s, 16u);
    }`;
  expect(matrixProblems(code)).toEqual([]);
});
