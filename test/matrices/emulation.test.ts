import { expect, test } from 'vitest';
import { fakeDevice } from '../runtime/fakeDevice.js';
import { withEmulatedMatrices } from './emulatedDevice.js';
import type { EmulatedMatrices } from './emulatedFunctions.js';
import { emulateMatrices } from './emulation.js';

const MATRICES: EmulatedMatrices = { M: 16, N: 8, K: 16, componentType: 'f16', subgroupSize: 32 };

/** A kernel with these statements, and with what stands before its entry point. */
function kernel(statements: string, before = ''): string {
  return `
enable f16, subgroups;
enable chromium_experimental_subgroup_matrix; // a comment
diagnostic(off, chromium.subgroup_matrix_uniformity);
const M = 16u;
const WG_SIZE = 64u;
alias Left = subgroup_matrix_left<f16, 16, M>;
alias Right = subgroup_matrix_right<f16, 8u, 16>;
alias Result = subgroup_matrix_result<f32, 8, M>;
@group(0) @binding(0) var<storage, read> k: array<f16>;
var<workgroup> tile: array<f16, M * 24>;
var<workgroup> sums: array<f32, M * 8>;
${before}
@compute @workgroup_size(WG_SIZE)
fn attn(@builtin(local_invocation_index) local: u32, @builtin(subgroup_size) size: u32, @builtin(subgroup_invocation_id) lane: u32) {
${statements}
}`;
}

/** The statements of the entry point, without what sets the emulation up. */
function statementsOf(code: string): string {
  const start = code.indexOf('\n', code.indexOf('let lane = '));
  return code.slice(start, code.indexOf('\n}', start)).trim();
}

function emulated(statements: string, before?: string): string {
  return emulateMatrices(kernel(statements, before), MATRICES);
}

test('variables become places in private arrays, which blocks give back', () => {
  const code = emulated(`
  var left = Left();
  var sum: Result = subgroup_matrix_result<f32, 8, M>();
  for (var i = 0u; i < 4u; i++) {
    let right = subgroupMatrixLoad<Right, col_major>(&tile, i * 128u, 24u);
    sum = subgroupMatrixMultiplyAccumulate(left, right, sum);
  }
  { let right = subgroupMatrixLoad<subgroup_matrix_right<f16, 8, 16>, row_major>(&k, 8u * (local / size), 24u);
    subgroupMatrixStore<row_major>(&tile, 0u, right, 24u); }
  left = subgroupMatrixLoad<Left, row_major>(&tile, 0u, 24u);
  let before = sum;
  sum = subgroupMatrixMultiplyAccumulate(left, subgroupMatrixLoad<Right, row_major>(&k, min(lane, 0u), 8u), Result());
  subgroupMatrixStore<col_major>(&sums, 0u, before, M);`);
  expect(statementsOf(code)).toMatchInlineSnapshot(`
    "let left = 0u; emulated_zeros_left(0u, 0u, 0u);
    let sum = 0u; emulated_zeros_result(0u, 0u, 0u);
      for (var i = 0u; i < 4u; i++) {
    let right = 16u; emulated_load_right_col_tile(16u, i * 128u, 24u);
     emulated_multiply_accumulate(sum, left + 65536u * right, sum);
      }
      {
    let right = 16u; emulated_commands[0] = vec4<u32>(2u, 16u, 8u * (local / size), 24u);
     emulated_commands[1] = vec4<u32>(5u, right, 0u, 24u); }
     emulated_commands[2] = vec4<u32>(1u, left, 0u, 24u);
    let before = 4u; emulated_commands[3] = vec4<u32>(0u, 4u, sum, 0u);
     emulated_commands[4] = vec4<u32>(2u, 16u, min(lane, 0u), 8u); emulated_commands[5] = vec4<u32>(6u, 8u, 0u, 0u); emulated_commands[6] = vec4<u32>(3u, sum, left + 65536u * 16u, 8u);
     emulated_commands[7] = vec4<u32>(4u, before, 0u, M);
    emulated_run_0(8u);"
  `);
});

test('a run of matrices ends where memory may be read or written otherwise', () => {
  const load = 'left = subgroupMatrixLoad<Left, row_major>(&tile, at, 24u);';
  const store = 'subgroupMatrixStore<row_major>(&tile, at, left, 24u);';
  const runsOf = (between: string): number => {
    const code = emulated(`var left = Left(); let at = 0u; ${load.repeat(8)} ${between} ${load.repeat(8)}`);
    return code.match(/emulated_run_\d+\(\d+u\);/g)!.length;
  };
  for (const between of [
    '',
    `{ let at = min(lane, 2u) * 8u; ${load} }`,
    store,
    `let x = sums[lane];`,
    `${store} let x = lane;`,
  ])
    expect(runsOf(between), between.slice(0, 80)).toBe(1);
  for (const between of [
    'sums[lane] = 1.0;',
    'workgroupBarrier();',
    'let x = atomicAdd(&count, 1u);',
    `if (lane == 0u) { ${load} }`,
    `${store} let x = sums[lane];`,
    `${store} left = subgroupMatrixLoad<Left, row_major>(&tile, u32(sums[0]), 24u);`,
    load.repeat(60),
  ])
    expect(runsOf(between), between.slice(0, 80)).toBe(2);
});

test('extensions, types, builtins and the entry point', () => {
  const code = emulated('  let sum = Result();\n  sums[local] = subgroupShuffleXor(sums[lane], 4u);');
  expect(code.slice(0, code.indexOf('fn emulated_zeros'))).toMatchInlineSnapshot(`
    "enable f16;
    const M = 16u;
    const WG_SIZE = 64u;
    alias Left = emulated_left;
    alias Right = emulated_right;
    alias Result = emulated_result;
    @group(0) @binding(0) var<storage, read> k: array<f16>;
    var<workgroup> tile: array<f16, M * 24>;
    var<workgroup> sums: array<f32, M * 8>;

    @compute @workgroup_size(WG_SIZE)
    fn attn(@builtin(local_invocation_index) local: u32) {
      emulated_invocation = local;
      emulated_zero = emulated_invocation >> 31u;
      emulated_nan = bitcast<f32>(0x7fc00000u + emulated_zero);
      let size = 32u;
      let lane = emulated_invocation % 32u;
    let sum = 0u; emulated_zeros_result(0u, 0u, 0u);
      sums[local] = emulated_shuffle_xor(sums[lane], 4u);
    }
    var<workgroup> emulated_lanes: array<f32, 64>;
    fn emulated_shuffle_xor(value: f32, mask: u32) -> f32 {
      workgroupBarrier();
      emulated_lanes[emulated_invocation] = value;
      workgroupBarrier();
      return emulated_lanes[emulated_invocation ^ mask];
    }

    alias emulated_left = u32;
    alias emulated_right = u32;
    alias emulated_result = u32;
    var<private> emulated_invocation: u32 = 0u;
    var<private> emulated_zero: u32 = 0u;
    var<private> emulated_nan: f32 = 0.0;
    var<private> emulated_operands: array<f32, 1>;
    var<private> emulated_results: array<f32, 4>;
    var<private> emulated_commands: array<vec4<u32>, 1>;

    "
  `);
});

test('a size of subgroups that the entry point demands must be the emulated one', () => {
  const demanding = (size: number): string =>
    kernel('let x = Result();', `const SUBGROUP = ${size}u;`)
      .replace('enable f16, ', 'enable subgroup_size_control;\nenable f16, ')
      .replace('@workgroup_size(WG_SIZE)', '@workgroup_size(WG_SIZE) @subgroup_size(SUBGROUP)');
  const code = emulateMatrices(demanding(32), MATRICES);
  expect(code).not.toMatch(/subgroup_size/);
  expect(() => emulateMatrices(demanding(16), MATRICES)).toThrow(
    'The kernel has @subgroup_size(SUBGROUP), but subgroups of 32 are emulated.',
  );
});

test('an array may have vectors whose words hold elements', () => {
  const functionOf = (elementType: string, componentType: 'f16' | 'f32', call: string): string => {
    const code = kernel(call, `var<workgroup> words: array<${elementType}, 64>;`).replaceAll(
      /(?<=left<|right<)f16/g,
      componentType,
    );
    return emulateMatrices(code, { ...MATRICES, componentType });
  };
  const load = (type: string): string => `let x = subgroupMatrixLoad<${type}, row_major>(&words, 1u, 2u);`;
  expect(functionOf('vec4u', 'f16', load('Left'))).toContain(
    'select(emulated_nan, unpack2x16float(words[at / 8u][at / 2u % 4u])[at % 2u], is_within)',
  );
  expect(functionOf('vec4u', 'f32', load('Left'))).toContain(
    'select(emulated_nan, bitcast<f32>(words[at / 4u][at % 4u]), is_within)',
  );
  expect(functionOf('vec4f', 'f16', load('Result'))).toContain(
    'select(emulated_nan, words[at / 4u][at % 4u], is_within)',
  );
  const store = 'let x = Left(); subgroupMatrixStore<row_major>(&words, 1u, x, 2u);';
  expect(functionOf('vec4u', 'f32', store)).toContain('words[at / 4u][at % 4u] = bitcast<u32>(value);');
  expect(() => functionOf('vec4u', 'f16', store)).toThrow('words has words of two halves each');
});

test('matrices of other functions keep their places', () => {
  const code = emulated(
    'var mine = Result();\nadd(mine);',
    'fn add(other: Result) { var own = Result(); subgroupMatrixStore<row_major>(&sums, 0u, other, 8u); }',
  );
  expect(code).toContain('let own = 0u; emulated_zeros_result(0u, 0u, 0u);');
  expect(code).toContain('let mine = 4u; emulated_zeros_result(4u, 0u, 0u);');
  expect(code).toContain('emulated_store_result_row_sums(other, 0u, 8u);');
});

test('what numbers invocations by subgroup numbers them as the emulation does', () => {
  const code = emulated(
    'let invocation = invocation_by_subgroup(size, lane);',
    `fn invocation_by_subgroup(size: u32, lane: u32) -> u32 {
  var first = 0u;
  if (lane == 0u) { first = atomicAdd(&next_invocation[0], size); }
  return subgroupBroadcastFirst(first) + lane;
}`,
  );
  expect(code).toContain(
    'fn invocation_by_subgroup(size: u32, lane: u32) -> u32 { return emulated_invocation; }',
  );
});

test.each([
  [
    'let x = subgroup_matrix_left<f16, M, 8>();',
    'subgroup_matrix_left<f16, M, 8> is <f16, 16, 8>, not <f16, 16, 16>.',
  ],
  ['let x = subgroup_matrix_result<f16, 8, 16>();', 'is <f16, 8, 16>, not <f32, 8, 16>.'],
  [
    'let x = subgroup_matrix_left<f16, 16, ROWS>();',
    'ROWS is no constant of the code with a number for a value.',
  ],
  [
    'let x = subgroupMatrixLoad<Left, row_major>(&sums, 0u, 8u);',
    'sums is an array of f32, which holds no f16.',
  ],
  [
    'let x = subgroupMatrixLoad<Left, row_major>(&keys, 0u, 8u);',
    'keys is no array in workgroup memory or storage.',
  ],
  ['let x = subgroupMatrixLoad<Tile, row_major>(&k, 0u, 8u);', 'loads what is no matrix.'],
  ['{ let x = Left(); } subgroupMatrixStore<row_major>(&tile, 0u, x, 8u);', 'x is not seen to be a matrix.'],
  ['var x: Result;', 'x has no initial value.'],
  ['let x = subgroupMatrixScalarMultiply(Left(), 2h);', 'where a kernel has subgroupMatrixScalarMultiply.'],
  ['let x = quadSwapX(lane);', "quadSwapX would be that of the device's own subgroups."],
  ['let x = subgroupMax(lane);', "subgroupMax would be that of the device's own subgroups."],
])('refuses %s', (statements, error) => {
  expect(() => emulated(statements)).toThrow(error);
});

test('refuses functions that return a matrix', () => {
  expect(() => emulated('', 'fn f() -> Left { return Left(); }')).toThrow('A function returns Left.');
});

test('refuses workgroups that are no whole subgroups, and shapes that its lanes cannot share', () => {
  const emulate = (matrices: Partial<EmulatedMatrices>) => () =>
    emulateMatrices(kernel('let x = Result();'), { ...MATRICES, ...matrices });
  expect(emulate({ subgroupSize: 128 })).toThrow('64 invocations are no whole subgroups of 128.');
  expect(emulate({ subgroupSize: 48 })).toThrow('48 lanes cannot share 16 × 8 × 16 evenly.');
  expect(() => emulateMatrices('@compute @workgroup_size(32) fn f() {}', MATRICES)).toThrow(
    'does not enable chromium_experimental_subgroup_matrix',
  );
});

/** A device of subgroups of 8 that keeps the code of its modules. */
function plainDevice() {
  const modules: string[] = [];
  const device = Object.assign(fakeDevice(), {
    features: new Set(['subgroups', 'shader-f16']),
    adapterInfo: { vendor: 'mesa', description: 'llvmpipe', subgroupMinSize: 8, subgroupMaxSize: 8 },
    createShaderModule: ({ code }: GPUShaderModuleDescriptor) => modules.push(code),
  }) as unknown as GPUDevice;
  return { device, modules };
}

test('an emulated device says that it has matrices, and compiles kernels that use them', () => {
  const { device, modules } = plainDevice();
  const emulating = withEmulatedMatrices(device, MATRICES);
  expect([...emulating.features]).toEqual([
    'subgroups',
    'shader-f16',
    'chromium-experimental-subgroup-matrix',
  ]);
  expect(emulating.adapterInfo).toMatchObject({
    vendor: 'mesa',
    description: 'llvmpipe, emulated matrices f16 16×8×16 on 32 lanes',
    subgroupMinSize: 32,
    subgroupMaxSize: 32,
    subgroupMatrixConfigs: [{ componentType: 'f16', resultComponentType: 'f32', M: 16, N: 8, K: 16 }],
  });
  emulating.createShaderModule({ code: '@compute @workgroup_size(64) fn f() {}' });
  emulating.createShaderModule({ code: kernel('let x = Result();') });
  expect(modules).toEqual(['@compute @workgroup_size(64) fn f() {}', emulated('let x = Result();')]);
  // Lanes exchange through workgroup memory.
  expect(emulating.limits.maxComputeWorkgroupStorageSize).toBe(16384 - 4 * 256);
  expect(emulating.limits.maxStorageBufferBindingSize).toBe(2 ** 27);
});

test('an emulated device runs kernels on the own subgroups where those that it tells are its own', () => {
  const { device, modules } = plainDevice();
  const emulating = withEmulatedMatrices(device, { ...MATRICES, subgroupSize: 8 });
  const code = 'enable subgroups;@compute @workgroup_size(64) fn f() {}';
  emulating.createShaderModule({ code });
  expect(modules).toEqual([code]);
  expect(() => withEmulatedMatrices(device, MATRICES).createShaderModule({ code, label: 'f' })).toThrow(
    "f would run on the device's own subgroups.",
  );
  expect(withEmulatedMatrices(device, { ...MATRICES, subgroupSize: 8 })).toBe(emulating);
  expect(withEmulatedMatrices(device, MATRICES)).not.toBe(emulating);
  const { subgroupMinSize, subgroupMaxSize } = withEmulatedMatrices(device, {
    ...MATRICES,
    subgroupMaxSize: 64,
  }).adapterInfo;
  expect([subgroupMinSize, subgroupMaxSize]).toEqual([32, 64]);
});
