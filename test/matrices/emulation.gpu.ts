import { decode, encode } from '../../src/core/dtype.js';
import { attnVarlen, createRuntime } from '../../src/index.js';
import { download, downloadBuffer } from '../../tools/deviceTensor.js';
import { Random } from '../../tools/random.js';
import { compare, draw, place, SMALL_VARLEN } from '../attention/varlenCase.js';
import { assert, assertEqual, type GpuCase } from '../platforms/gpuCase.js';
import { withEmulatedMatrices } from './emulatedDevice.js';
import type { EmulatedMatrices, Major } from './emulatedFunctions.js';

// Products of random matrices by a kernel that uses every form which kernels use, against sums in f64.

/** The shapes that adapters list. */
const SHAPES = [
  { M: 8, N: 8, K: 8 },
  { M: 8, N: 16, K: 16 },
  { M: 16, N: 16, K: 16 },
  { M: 16, N: 8, K: 16 },
  { M: 16, N: 8, K: 8 },
];

/** What real matrices there may be: those of lavapipe. */
const REAL = { M: 8, N: 8, K: 8, componentType: 'f16', subgroupSize: 8 } as const;

interface Product extends EmulatedMatrices {
  /** Order of the left operand, the right one, the right one in workgroup memory, and the result. */
  readonly majors: readonly [Major, Major, Major, Major];
  /** Elements that each line and each array has besides. */
  readonly padding: number;
  /** Which numbers: whole ones, whose sums are exact in f32 in any order, or any. */
  readonly numbers: 'whole' | 'normal';
}

const WITH_PADDING = { majors: ['row', 'col', 'row', 'row'], padding: 8 } as const;
const WITHOUT_PADDING = { majors: ['col', 'row', 'col', 'col'], padding: 0 } as const;

const SUBGROUPS = 2;
/** Blocks of K, one for each subgroup, which stages it for all. */
const STEPS = SUBGROUPS;

export const cases: GpuCase[] = [
  ...SHAPES.map(({ M, N, K }): GpuCase => ({
    name: `products of emulated ${M}×${N}×${K} equal sums in f64`,
    async run(t) {
      const device = await t.device('full');
      for (const componentType of componentTypes(device)) {
        for (const [i, subgroupSize] of [8, 16, 32, 64].entries()) {
          const matrices = { M, N, K, componentType, subgroupSize, numbers: 'normal' } as const;
          // Every order of each with both halves of the sizes would compile for twice as long.
          if (i % 2 === 0) await checkProduct(device, { ...matrices, ...WITH_PADDING });
          else await checkProduct(device, { ...matrices, ...WITHOUT_PADDING });
        }
      }
    },
  })),
  {
    name: 'emulated matrices need no feature',
    why: 'kernels that use them run on every device',
    async run(t) {
      const device = await t.device('plain');
      const matrices = { M: 16, N: 8, K: 16, componentType: 'f32', subgroupSize: 32 } as const;
      await checkProduct(device, {
        ...matrices,
        majors: ['row', 'row', 'row', 'row'],
        padding: 4,
        numbers: 'normal',
      });
    },
  },
  {
    name: 'emulated matrices have the bits of real ones',
    why: 'both must mean the same by every order, stride and offset',
    async run(t) {
      const device = await t.device('full');
      assert(
        t.platform !== 'mesa-sid' || t.features !== 'all' || hasMatrices(device),
        'The newest lavapipe has no subgroup matrices.',
      );
      const matrices = device.features.has('shader-f16')
        ? REAL
        : ({ ...REAL, componentType: 'f32' } as const);
      for (const majors of ALL_MAJORS) {
        const product: Product = { ...matrices, majors, padding: 8, numbers: 'whole' };
        const emulated = await multiply(withEmulatedMatrices(device, matrices), product);
        assertEqual(emulated, Float32Array.from(expected(product)), `emulated ${majors.join()}`);
        if (hasMatrices(device))
          assertEqual(await multiply(device, product), emulated, `real ${majors.join()}`);
      }
    },
  },
  {
    name: 'a runtime works on an emulated device',
    why: 'it asks the device for more than matrices, and runs kernels that use none',
    async run(t) {
      // Of subgroups that may have one lane only, kernels without matrices use none.
      const matrices = {
        M: 16,
        N: 16,
        K: 16,
        componentType: 'f32',
        subgroupSize: 32,
        subgroupMinSize: 1,
      } as const;
      const runtime = createRuntime(withEmulatedMatrices(await t.device('full'), matrices), { tier: 'T2' });
      const inputs = draw(SMALL_VARLEN);
      const { args } = place(runtime.device, SMALL_VARLEN, inputs);
      const { out, lse } = attnVarlen(runtime, { ...args, returnLse: true });
      compare(SMALL_VARLEN, inputs, {
        out: await download(runtime.device, out),
        lse: await download(runtime.device, lse!),
      });
      await runtime.done();
      runtime.destroy();
    },
  },
  {
    name: 'a block that ends beyond its array is NaN, and is not stored',
    why: 'devices differ there, so no kernel may rely on any of it',
    async run(t) {
      const device = withEmulatedMatrices(await t.device('plain'), {
        M: 8,
        N: 8,
        K: 8,
        componentType: 'f32',
        subgroupSize: 16,
      });
      const code = `
enable chromium_experimental_subgroup_matrix;
alias Result = subgroup_matrix_result<f32, 8, 8>;
@group(0) @binding(0) var<storage, read_write> c: array<f32>;
var<workgroup> tile: array<f32, 64>;
@compute @workgroup_size(16)
fn beyond() {
  subgroupMatrixStore<row_major>(&c, 129u, Result(), 8u);
  let beyond_c = subgroupMatrixLoad<Result, row_major>(&c, 129u, 8u);
  subgroupMatrixStore<col_major>(&c, 0u, beyond_c, 8u);
  let beyond_tile = subgroupMatrixLoad<Result, col_major>(&tile, 0u, 9u);
  subgroupMatrixStore<row_major>(&c, 64u, beyond_tile, 8u);
}`;
      const numbers = Float32Array.from({ length: 192 }, (_, i) => i);
      const want = numbers.map((x, i) => (i < 128 ? NaN : x));
      assertEqual(await run(device, code, [numbers]), want, 'blocks');
    },
  },
];

const ORDERS = ['row', 'col'] as const;
const ALL_MAJORS = ORDERS.flatMap((left) =>
  ORDERS.flatMap((right) =>
    ORDERS.flatMap((staged) => ORDERS.map((result) => [left, right, staged, result] as const)),
  ),
);

function componentTypes({ features }: GPUDevice): readonly ('f16' | 'f32')[] {
  return features.has('shader-f16') ? ['f16', 'f32'] : ['f32'];
}

function hasMatrices({ features }: GPUDevice): boolean {
  return (features as ReadonlySet<string>).has('chromium-experimental-subgroup-matrix');
}

async function checkProduct(device: GPUDevice, product: Product): Promise<void> {
  const actual = await multiply(withEmulatedMatrices(device, product), product);
  const want = expected(product);
  assertEqual(actual.length, want.length, 'elements');
  for (let i = 0; i < want.length; i++) {
    const isNear = Math.abs(actual[i]! - want[i]!) <= 1e-5 * Math.max(1, Math.abs(want[i]!));
    assert(isNear, `${JSON.stringify(product)}: element ${i} is ${actual[i]}, not ${want[i]}`);
  }
}

/** Where the blocks of an array are: each has lines of elements with padding between them, and one follows another. */
interface Blocks {
  /** The place of block 0, elements from one line to the next, and from one block to the next. */
  readonly offset: number;
  readonly stride: number;
  readonly size: number;
  at(block: number, row: number, column: number): number;
}

function blocksOf(rows: number, columns: number, major: Major, padding: number): Blocks {
  const [lines, line] = major === 'row' ? [rows, columns] : [columns, rows];
  const stride = line + padding;
  const size = lines * stride;
  const at = (block: number, row: number, column: number): number =>
    padding + block * size + (major === 'row' ? row * stride + column : column * stride + row);
  return { offset: padding, stride, size, at };
}

function layoutOf({ M, N, K, majors: [left, right, staged, result], padding }: Product) {
  return {
    left: blocksOf(M, K, left, padding),
    right: blocksOf(K, N, right, padding),
    staged: blocksOf(K, N, staged, padding),
    result: blocksOf(M, N, result, padding),
  };
}

/**
 * Subgroup s has the left operands `s STEPS …` and the result s; all have the right operands in common, which they stage.
 * Sums are added to what is in the result, and doubled in workgroup memory.
 */
function kernel(product: Product): string {
  const { M, N, K, componentType: type, subgroupSize, majors } = product;
  const [left, right, staged, result] = majors;
  const at = layoutOf(product);
  return `
${type === 'f16' ? 'enable f16;' : ''}
enable chromium_experimental_subgroup_matrix;
diagnostic(off, chromium.subgroup_matrix_uniformity);
const K = ${K}u;
const ROWS = ${M};
const STAGED_SIZE = ${at.staged.size}u;
const SUMS_SIZE = ${M * N}u;
alias Left = subgroup_matrix_left<${type}, K, ROWS>;
alias Right = subgroup_matrix_right<${type}, ${N}u, K>;
@group(0) @binding(0) var<storage, read> a: array<${type}>;
@group(0) @binding(1) var<storage, read> b: array<${type}>;
@group(0) @binding(2) var<storage, read_write> c: array<f32>;
var<workgroup> staged: array<${type}, ${at.staged.offset}u + STAGED_SIZE * ${STEPS}u>;
var<workgroup> sums: array<f32, SUMS_SIZE * ${SUBGROUPS}u>;

@compute @workgroup_size(${SUBGROUPS * subgroupSize})
fn multiply(
  @builtin(local_invocation_index) local: u32,
  @builtin(subgroup_size) subgroup_size: u32,
  @builtin(subgroup_invocation_id) lane: u32,
) {
  let subgroup = local / subgroup_size;
  let block = subgroupMatrixLoad<Right, ${right}_major>(&b, ${at.right.offset}u + subgroup * ${at.right.size}u, ${at.right.stride}u);
  subgroupMatrixStore<${staged}_major>(&staged, ${at.staged.offset}u + subgroup * STAGED_SIZE, block, ${at.staged.stride}u);
  workgroupBarrier();
  let c_at = ${at.result.offset}u + subgroup * ${at.result.size}u;
  let before = subgroupMatrixLoad<subgroup_matrix_result<f32, ${N}, ROWS>, ${result}_major>(&c, c_at, ${at.result.stride}u);
  var sum = subgroup_matrix_result<f32, ${N}, ROWS>();
  var left = Left();
  ${Array.from(
    { length: STEPS },
    (_, step) => `{
    left = subgroupMatrixLoad<Left, ${left}_major>(&a, ${at.left.offset}u + (subgroup * ${STEPS}u + ${step}u) * ${at.left.size}u, ${at.left.stride}u);
    sum = subgroupMatrixMultiplyAccumulate(
      left,
      subgroupMatrixLoad<Right, ${staged}_major>(&staged, ${at.staged.offset}u + ${step}u * STAGED_SIZE, ${at.staged.stride}u),
      ${step === 0 ? 'before' : 'sum'},
    );
  }`,
  ).join('\n')}
  let total = sum;
  subgroupMatrixStore<row_major>(&sums, subgroup * SUMS_SIZE, total, ${N}u);
  workgroupBarrier();
  for (var i = lane; i < SUMS_SIZE; i += subgroup_size) { sums[subgroup * SUMS_SIZE + i] *= 2.0; }
  workgroupBarrier();
  sum = subgroupMatrixLoad<subgroup_matrix_result<f32, ${N}, ROWS>, row_major>(&sums, subgroup * SUMS_SIZE, ${N}u);
  subgroupMatrixStore<${result}_major>(&c, c_at, sum, ${at.result.stride}u);
}`;
}

/** The numbers of a product, as its type stores them. */
function numbersOf({ numbers, componentType, ...product }: Product) {
  const at = layoutOf({ numbers, componentType, ...product });
  const random = new Random(7);
  const some = (count: number, type: 'f16' | 'f32'): Float32Array<ArrayBuffer> => {
    const drawn = random.normals(count);
    return numbers === 'whole' ? drawn.map((x) => Math.round(4 * x)) : decode(type, encode(type, drawn));
  };
  return {
    a: some(at.left.offset + SUBGROUPS * STEPS * at.left.size, componentType),
    b: some(at.right.offset + STEPS * at.right.size, componentType),
    c: some(at.result.offset + SUBGROUPS * at.result.size, 'f32'),
  };
}

/** All of `c` afterwards, in f64. */
function expected(product: Product): Float64Array {
  const { M, N, K } = product;
  const at = layoutOf(product);
  const { a, b, c } = numbersOf(product);
  const after = Float64Array.from(c);
  for (let subgroup = 0; subgroup < SUBGROUPS; subgroup++) {
    for (let row = 0; row < M; row++) {
      for (let column = 0; column < N; column++) {
        const element = at.result.at(subgroup, row, column);
        let sum = c[element]!;
        for (let step = 0; step < STEPS; step++) {
          const left = subgroup * STEPS + step;
          for (let k = 0; k < K; k++) sum += a[at.left.at(left, row, k)]! * b[at.right.at(step, k, column)]!;
        }
        after[element] = 2 * sum;
      }
    }
  }
  return after;
}

/** All of `c` afterwards, as a device computes it. */
async function multiply(device: GPUDevice, product: Product): Promise<Float32Array> {
  const { a, b, c } = numbersOf(product);
  const { componentType } = product;
  return run(device, kernel(product), [encode(componentType, a), encode(componentType, b), c]);
}

/** Runs one workgroup of a kernel over buffers with these contents, and returns the last one afterwards. */
async function run(
  device: GPUDevice,
  code: string,
  contents: readonly (Float32Array<ArrayBuffer> | Uint16Array<ArrayBuffer>)[],
): Promise<Float32Array> {
  const { STORAGE, COPY_SRC, COPY_DST } = GPUBufferUsage;
  const buffers = contents.map((numbers) => {
    const buffer = device.createBuffer({ size: numbers.byteLength, usage: STORAGE | COPY_SRC | COPY_DST });
    device.queue.writeBuffer(buffer, 0, numbers);
    return buffer;
  });
  const module = device.createShaderModule({ code });
  const pipeline = await device.createComputePipelineAsync({ layout: 'auto', compute: { module } });
  const entries = buffers.map((buffer, binding) => ({ binding, resource: { buffer } }));
  const encoder = device.createCommandEncoder();
  const pass = encoder.beginComputePass();
  pass.setPipeline(pipeline);
  pass.setBindGroup(0, device.createBindGroup({ layout: pipeline.getBindGroupLayout(0), entries }));
  pass.dispatchWorkgroups(1);
  pass.end();
  device.queue.submit([encoder.finish()]);
  const after = new Float32Array(await downloadBuffer(device, buffers.at(-1)!));
  for (const buffer of buffers) buffer.destroy();
  return after;
}
