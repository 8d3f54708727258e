import { UNIFORM, type Gpu, type Op } from '../gpu/gpu.js';
import type { Matrix, MatrixPart } from '../model/matrix.js';
import { GROUP, groupsOf, hasScales, weightRowBytes, type WeightFormat } from '../model/weightFormats.js';
import { expect, expectBytes, layerOf, maxRowsOf, type ActivationType, type Layer } from './layer.js';
import f16Bits from './elements/f16_bits.wgsl?raw';
import products from './elements/products.wgsl?raw';
import writeTwo from './elements/write_two.wgsl?raw';
import xF16 from './elements/x_f16.wgsl?raw';
import xF16Narrow from './elements/x_f16_narrow.wgsl?raw';
import xF32 from './elements/x_f32.wgsl?raw';
import xF32Narrow from './elements/x_f32_narrow.wgsl?raw';
import yF16 from './elements/y_f16.wgsl?raw';
import yF32 from './elements/y_f32.wgsl?raw';
import tiledCode from './linear_tiled.wgsl?raw';
import vectorCode from './linear_vector.wgsl?raw';
import { expectParts, weightCode } from './weightCode.js';

/** y = x · weightsᵀ + bias. */
export interface LinearWork {
  /** [nOut, nIn] */
  readonly matrix: Matrix;
  /** [rows, nIn] */
  readonly x: GPUBuffer;
  readonly xType?: ActivationType;
  /** [rows, nOut]. Rows of f16 are whole words, so that nOut is even. */
  readonly y: GPUBuffer;
  readonly yType?: ActivationType;
  /** f32 [nOut] */
  readonly bias?: GPUBuffer | undefined;
  /** y += instead of y =, for y of f32. */
  readonly adds?: boolean;
  /** A uniform u32: how many rows a step has. */
  readonly rowCount: GPUBuffer;
  /** What kernels are arranged for; as the adapter's names say if left out. */
  readonly deviceClass?: DeviceClass;
  /** Up to how many rows linear_vector is taken for; by the number of outputs and the device if left out. */
  readonly maxVectorRows?: number;
}

type DeviceClass = 'gpu' | 'software';

interface Arrangement {
  /** How many rows an invocation of linear_vector may have. */
  readonly vectorRows: readonly number[];
  /** Of a workgroup of linear_vector. */
  readonly invocations: number;
}

/** CPUs compile kernels faster, the smaller their workgroups are. */
const ARRANGEMENTS: Readonly<Record<DeviceClass, Arrangement>> = {
  gpu: { vectorRows: [1, 2, 4, 8], invocations: 64 },
  software: { vectorRows: [1, 8], invocations: 16 },
};

/** Workgroups of linear_tiled from which it is the faster one on a big GPU: one for each of its cores, of which an H100 has 132. */
const BUSY_TILES = 128;

/** Outputs of an invocation of linear_vector. */
const VECTOR_OUTS = 4;

/** Invocations that a big GPU needs before they read at its full rate, with 64 or 128 bytes in flight for each. */
const BUSY = 65536;

/** Rows and outputs of a workgroup of linear_tiled. */
const TILE_SIZE = 64;

/** A grid has 65535 workgroups in a row; where outputs are so many, each of linear_vector has 16 at least. */
const MAX_OUT = 65535 * 16;

interface LinearPart {
  readonly nOut: number;
  readonly vectors: readonly { readonly rows: number; readonly outs: number; readonly op: Op }[];
  /** Where the buffers hold more rows than linear_vector is taken for. */
  readonly tiled?: Op;
}

/**
 * Compiles the kernels of a matrix product, as many as the rows that its buffers hold may need. On a GPU it
 * takes linear_vector for few rows, 32 at least, and linear_tiled for more; these two do not sum in the same order, so
 * their results differ by rounding. Each gives a row the same bits whatever is beside it.
 *
 * @throws RangeError for arguments that do not fit together
 */
export async function linearOp(gpu: Gpu, work: LinearWork): Promise<Layer> {
  const maxRows = checkLinear(work);
  const deviceClass = work.deviceClass ?? deviceClassOf(gpu.device);
  const maxVectorRows = work.maxVectorRows ?? maxVectorRowsOf(work.matrix, deviceClass);
  const boundBias = work.bias ?? gpu.buffer('no bias', 4);
  const parts = await Promise.all(
    work.matrix.parts.map((part) =>
      linearPart(gpu, { ...work, deviceClass, maxVectorRows, boundBias, part, maxRows }),
    ),
  );
  return layerOf(nameOf(work.matrix), maxRows, (recorder, nRows) => {
    for (const { vectors, tiled, nOut } of parts) {
      const vector = vectors.find(({ rows }) => rows >= nRows) ?? vectors.at(-1)!;
      if (tiled && nRows > maxVectorRows)
        recorder.dispatch(tiled, Math.ceil(nRows / TILE_SIZE), Math.ceil(nOut / TILE_SIZE));
      else recorder.dispatch(vector.op, Math.ceil(nRows / vector.rows), Math.ceil(nOut / vector.outs));
    }
  });
}

function nameOf({ nOut, nIn }: Matrix): string {
  return `linear [${nOut}, ${nIn}]`;
}

function checkLinear({
  matrix,
  x,
  xType = 'f32',
  y,
  yType = 'f32',
  bias,
  adds = false,
  rowCount,
}: LinearWork): number {
  const { nOut, nIn } = matrix;
  const op = nameOf(matrix);
  expect(nOut <= MAX_OUT, op, `nOut is at most ${MAX_OUT}.`);
  expect(x !== y, op, 'x and y are the same buffer, but a product cannot be computed in place.');
  expect(yType === 'f32' || nOut % 2 === 0, op, 'y of f16 has two outputs a word, so nOut must be even.');
  expect(yType === 'f32' || !adds, op, 'adds needs y of f32, as sums of f16 would lose bits.');
  expectBytes(op, 'rowCount', { buffer: rowCount, bytes: 4 });
  if (bias) expectBytes(op, 'bias', { buffer: bias, bytes: nOut * 4 });
  expectParts(op, matrix);
  return maxRowsOf(op, [
    { buffer: x, name: 'x', size: nIn, type: xType },
    { buffer: y, name: 'y', size: nOut, type: yType },
  ]);
}

interface PartWork extends LinearWork {
  readonly deviceClass: DeviceClass;
  readonly maxVectorRows: number;
  /** The bias, or a buffer in its place. */
  readonly boundBias: GPUBuffer;
  readonly part: MatrixPart;
  readonly maxRows: number;
}

async function linearPart(gpu: Gpu, work: PartWork): Promise<LinearPart> {
  const { deviceClass, maxVectorRows, matrix, part, x, y, boundBias, rowCount, maxRows } = work;
  const { nOut, nIn } = matrix;
  const { firstRow, nRows, weights, scales } = part;
  const shape = gpu.bufferOf(
    'linear shape',
    Uint32Array.of(nIn, groupsOf(nIn), nRows, firstRow, nOut),
    UNIFORM,
  );
  const buffers = [rowCount, shape, x, weights, boundBias, y, ...(scales ? [scales] : [])];
  const elements = elementsOf(work);
  const opOf = (name: string, code: string, constants: Readonly<Record<string, number>>): Promise<Op> =>
    gpu.op({ name, code: elements.code + code, constants: { ...elements.constants, ...constants } }, buffers);

  const { vectorRows, invocations } = ARRANGEMENTS[deviceClass];
  const wordBytes = wordBytesOf(matrix.format);
  const lanes = deviceClass === 'gpu' ? vectorLanes(matrix, invocations) : 1;
  const teams = invocations / lanes;
  const used = vectorRows.filter((_, i) => i === 0 || vectorRows[i - 1]! < maxRows);
  const vectors = used.map(async (rows) => {
    // Unpacking, or the products of more rows, takes longer than loads, and sums most of the registers.
    const isBusy = rows > 2 || hasScales(matrix.format);
    const words = deviceClass === 'gpu' ? (isBusy ? 16 : 32) / wordBytes : 1;
    const constants = { LANES: lanes, TEAMS: teams, ROWS: rows, WORDS: words };
    return { rows, outs: teams * VECTOR_OUTS, op: await opOf('linear_vector', vectorCode, constants) };
  });
  const needsTiled = maxRows > maxVectorRows;
  const [tiled, ...vectorOps] = await Promise.all([
    needsTiled ? opOf('linear_tiled', tiledCode, {}) : undefined,
    ...vectors,
  ]);
  return { nOut: nRows, vectors: vectorOps, ...(tiled && { tiled }) };
}

/**
 * Returns up to how many rows linear_vector is taken for: until linear_tiled has workgroups enough, or for 32 at least.
 * Linear_vector reads weights from the cache again for every eight rows. CPUs do all with it: they have no use for
 * workgroup memory, and compile it much faster.
 */
function maxVectorRowsOf({ nOut }: Matrix, deviceClass: DeviceClass): number {
  if (deviceClass === 'software') return Infinity;
  return Math.max(32, Math.floor(BUSY_TILES / Math.ceil(nOut / TILE_SIZE)) * TILE_SIZE);
}

/**
 * Returns how many invocations of a GPU share a row of weights: enough that all together keep it busy, as many at least
 * as read 128 bytes in a row, and none without a word. CPUs have one at each row, so that what neighbours read of x is
 * one number for all.
 */
function vectorLanes({ format, nIn, nOut }: Matrix, invocations: number): number {
  const wordBytes = wordBytesOf(format);
  let lanes = 128 / wordBytes;
  while (lanes < invocations && (lanes * nOut) / VECTOR_OUTS < BUSY) lanes *= 2;
  while (lanes > weightRowBytes(format, nIn) / wordBytes) lanes /= 2;
  return lanes;
}

/** A quad of weights, or 16 bytes of them. */
function wordBytesOf(format: WeightFormat): number {
  return format === 'f32' || hasScales(format) ? 16 : 8;
}

/** Mesa's lavapipe, Chrome's SwiftShader, Windows' WARP. */
const SOFTWARE = /llvmpipe|lavapipe|swiftshader|basic render|warp/i;

function deviceClassOf(device: GPUDevice): DeviceClass {
  const info: Partial<GPUAdapterInfo> = device.adapterInfo ?? {}; // older browsers have none
  const names = [info.vendor, info.architecture, info.device, info.description].join(' ');
  return info.isFallbackAdapter || SOFTWARE.test(names) ? 'software' : 'gpu';
}

/** The WGSL that reads and writes the buffers, and the constants that it takes. */
function elementsOf({ matrix, xType = 'f32', yType = 'f32', bias, adds = false }: LinearWork): {
  readonly code: string;
  readonly constants: Readonly<Record<string, number>>;
} {
  const { nIn, format } = matrix;
  const isWide = nIn % 4 === 0;
  const x = xType === 'f32' ? (isWide ? xF32 : xF32Narrow) : isWide ? xF16 : xF16Narrow;
  const y = yType === 'f32' ? yF32 : yF16 + f16Bits;
  return {
    code: weightCode(format, 6) + x + y + writeTwo + products,
    constants: {
      ...(isWide && { HAS_TAIL: Number(nIn % GROUP !== 0) }),
      ...(yType === 'f32' && { ADDS: Number(adds) }),
      HAS_BIAS: Number(bias !== undefined),
    },
  };
}
