import { describe, expect, test } from 'vitest';
import { decodeWeights } from '../../demo/engine/kernels/layersReference.js';
import { MatrixWriter } from '../../demo/engine/model/matrix.js';
import { encodeRows, groupsOf, type StoredFormat } from '../../demo/engine/model/weightFormats.js';
import { fromHalves, toHalves } from '../../src/index.js';
import { Random } from '../../tools/random.js';
import { bufferOnlyGpu } from './bufferOnlyGpu.js';

function bytesOf(dtype: StoredFormat, numbers: Float32Array<ArrayBuffer>): Uint8Array<ArrayBuffer> {
  return new Uint8Array(dtype === 'f32' ? numbers.buffer : toHalves(dtype, numbers).buffer);
}

describe('rows of a file become', () => {
  const nIn = 40;
  const numbers = new Random(1).normals(3 * nIn);

  test.each([
    ['f32', 'f32'],
    ['f32', 'bf16'],
    ['f16', 'f16'],
    ['f16', 'f32'],
    ['bf16', 'bf16'],
    ['bf16', 'f32'],
  ] as const)('%s → %s, with zeros to whole groups', (dtype, format) => {
    const bytes = bytesOf(dtype, numbers);
    const encoded = encodeRows(format, { label: 'm', dtype, nIn, bytes });
    const stored = dtype === 'f32' ? numbers : fromHalves(dtype, toHalves(dtype, numbers));
    const want = format === 'f32' ? stored : fromHalves(format, toHalves(format, stored));
    expect(decodeWeights(format, encoded, nIn)).toEqual(Float64Array.from(want));
    expect(encoded.weights.byteLength).toBe(3 * 64 * (format === 'f32' ? 4 : 2));
    const filled = decodeWeights(format, encoded, 64);
    expect(Array.from({ length: 3 }, (_, row) => filled.slice(row * 64 + nIn, (row + 1) * 64))).toEqual(
      Array.from({ length: 3 }, () => new Float64Array(64 - nIn)),
    );
  });

  test('the same bytes where format and groups are those of the file', () => {
    const bytes = bytesOf('f16', new Float32Array(64));
    expect(encodeRows('f16', { label: 'm', dtype: 'f16', nIn: 32, bytes }).weights).toBe(bytes);
  });
});

describe('quantised', () => {
  const nIn = 96;
  const numbers = new Random(2).normals(64 * nIn).map((x) => x * 0.02);
  const errorOf = (format: 'i8' | 'i4', rows = numbers): number => {
    const bytes = bytesOf('f32', rows);
    const decoded = decodeWeights(format, encodeRows(format, { label: 'm', dtype: 'f32', nIn, bytes }), nIn);
    const squares = (all: ArrayLike<number>): number => Array.from(all).reduce((sum, x) => sum + x * x, 0);
    return Math.sqrt(squares(decoded.map((x, i) => x - rows[i]!)) / squares(rows));
  };

  test('normal weights lose 0.54 % to i8, and 8.2 % to i4, which are 9.7 % with the scale max / 7', () => {
    expect(errorOf('i8')).toBeLessThan(0.0054);
    expect(errorOf('i4')).toBeLessThan(0.082);
  });

  test.each([1e-4, 1e-2, 100])('the error does not depend on the size of weights: %s', (factor) => {
    const rows = numbers.map((x) => x * factor);
    expect(errorOf('i8', rows)).toBeCloseTo(errorOf('i8'), 4);
    expect(errorOf('i4', rows)).toBeCloseTo(errorOf('i4'), 3);
  });

  test.each(['i8', 'i4'] as const)('%s: groups of zeros, of one weight and of tiny weights', (format) => {
    const rows = new Float32Array(3 * 96);
    rows[5] = 3;
    rows[40] = -3;
    rows.fill(2e-10, 96, 128); // scales of a few steps of the smallest half
    rows.fill(1e-30, 128, 160); // scales that become 0
    const bytes = bytesOf('f32', rows);
    const decoded = decodeWeights(format, encodeRows(format, { label: 'm', dtype: 'f32', nIn, bytes }), nIn);
    expect(decoded[5]).toBeCloseTo(3, 2);
    expect(decoded[40]).toBeCloseTo(-3, 2);
    decoded[5] = 0;
    decoded[40] = 0;
    expect(decoded.every((x) => Math.abs(x) < 1e-8)).toBe(true);
  });

  test('each row has an even number of scales', () => {
    const bytes = bytesOf('f32', numbers);
    const { scales } = encodeRows('i4', { label: 'm', dtype: 'f32', nIn, bytes });
    expect(groupsOf(nIn)).toBe(3);
    expect(scales!.length).toBe(64 * 4);
    expect(scales!.filter((_, i) => i % 4 === 3).every((half) => half === 0)).toBe(true);
  });
});

describe('refused are', () => {
  const encode = (format: 'f16' | 'i8' | 'i4', weight: number): (() => void) => {
    const bytes = bytesOf('f32', new Float32Array(32).fill(weight));
    return () => encodeRows(format, { label: 'm', dtype: 'f32', nIn: 32, bytes });
  };

  test('weights that the format cannot hold', () => {
    expect(encode('f16', 70000)).toThrowErrorMatchingInlineSnapshot(
      `[EngineError: m has a weight of 70000, but f16 goes up to 65504. Keep its weights as bf16 or f32.]`,
    );
    expect(encode('i8', Number.NaN)).toThrowErrorMatchingInlineSnapshot(
      `[EngineError: m has a weight that is not finite, so it cannot be quantised.]`,
    );
    expect(encode('i4', Infinity)).toThrowErrorMatchingInlineSnapshot(
      `[EngineError: m has a weight that is not finite, so it cannot be quantised.]`,
    );
    expect(encode('i4', 1000)).toThrowErrorMatchingInlineSnapshot(
      `[EngineError: m has weights in steps of 125, too large to quantise. Keep them as bf16 or f32.]`,
    );
  });

  test('but not what is infinite or NaN in the file of a float format', () => {
    expect(encode('f16', Infinity)).not.toThrow();
    expect(encode('f16', Number.NaN)).not.toThrow();
  });

  test('rows that are not those of the matrix', () => {
    const gpu = bufferOnlyGpu();
    const writer = new MatrixWriter(gpu, { label: 'lm_head', nOut: 10, nIn: 6, format: 'f32' });
    const rows = (n: number): Uint8Array<ArrayBuffer> => new Uint8Array(n * 24);
    expect(() => writer.write(0, 'f32', new Uint8Array(25))).toThrowErrorMatchingInlineSnapshot(
      `[RangeError: lm_head: 25 bytes are not whole rows of 6 f32 weights, 24 bytes each.]`,
    );
    expect(() => writer.write(8, 'f32', rows(3))).toThrowErrorMatchingInlineSnapshot(
      `[RangeError: lm_head: 3 rows from row 8 on are not within its 10 rows.]`,
    );
    expect(() => writer.write(-1, 'f32', rows(1))).toThrowErrorMatchingInlineSnapshot(
      `[RangeError: lm_head: 1 rows from row -1 on are not within its 10 rows.]`,
    );
    writer.write(8, 'f32', rows(2));
  });

  test('sizes of which there is no matrix, or none on this GPU', () => {
    const gpu = bufferOnlyGpu();
    const make = (nOut: number, nIn: number) => () =>
      new MatrixWriter(gpu, { label: 'lm_head', nOut, nIn, format: 'f32' });
    expect(make(0, 5)).toThrowErrorMatchingInlineSnapshot(
      `[RangeError: lm_head: a matrix has at least one row and one column, not 0 and 5.]`,
    );
    expect(make(100, 1e7)).toThrowErrorMatchingInlineSnapshot(
      `[RangeError: lm_head: 64 rows of 10000000 weights are more than this GPU binds.]`,
    );
  });
});

test('a matrix larger than a binding is cut into parts of whole tiles', () => {
  const { matrix } = new MatrixWriter(bufferOnlyGpu(), {
    label: 'm',
    nOut: 100_000,
    nIn: 1024,
    format: 'f16',
  });
  expect(matrix.parts.map(({ firstRow, nRows, weights }) => [firstRow, nRows, weights.size])).toEqual([
    [0, 65536, 2 ** 27],
    [65536, 34464, 34464 * 2048],
  ]);
  expect(matrix.bytes).toBe(100_000 * 2048);
});
