import { describe, expect, test } from 'vitest';
import { QUANTISED } from '../../src/core/dtype.js';
import {
  dequantiseHead,
  fromE4m3Bits,
  packCodes,
  quantiseHead,
  scaleShape,
  toE4m3Bits,
  unpackCodes,
} from '../../src/core/kvFormats.js';
import { Random } from '../../tools/random.js';
import { checkQuantised, HARD_HEADS, repeated } from '../reference/quantised.js';

describe('e4m3', () => {
  test('every pattern comes back, NaN as 0x7f', () => {
    for (let bits = 0; bits < 256; bits++)
      expect(toE4m3Bits(fromE4m3Bits(bits))).toBe((bits & 0x7f) === 0x7f ? 0x7f : bits);
  });

  test.each([
    { x: 448, bits: 0x7e, why: 'the largest' },
    { x: 1e9, bits: 0x7e, why: 'saturates' },
    { x: -Infinity, bits: 0xfe, why: 'infinities too' },
    { x: -0, bits: 0x80, why: '-0 keeps its sign' },
    { x: 2 ** -9, bits: 0x01, why: 'the smallest' },
    { x: 2 ** -10, bits: 0x00, why: 'a tie goes to the even code' },
    { x: 3 * 2 ** -10, bits: 0x02, why: 'up as well' },
    { x: 17, bits: 0x58, why: 'a tie between 16 and 18' },
    { x: 19, bits: 0x5a, why: 'a tie between 18 and 20' },
    { x: 2 ** -6 - 2 ** -12, bits: 0x08, why: 'a carry out of the subnormal numbers' },
  ])('$x is $bits: $why', ({ x, bits }) => {
    expect(toE4m3Bits(x)).toBe(bits);
  });
});

test('i8 by hand', () => {
  const { codes, scales } = quantiseHead('i8', [127, -63.5, 0.5, 1.5, NaN]);
  expect(scales).toEqual([1]);
  expect(codes).toEqual([127, -64, 0, 2, 0]);
});

test('a scale of i8 is rounded to f16 before numbers are divided by it', () => {
  const { codes, scales } = quantiseHead('i8', [1, 0.5], { scaleDType: 'f16' });
  expect(scales).toEqual([0.00787353515625]);
  expect(codes).toEqual([127, Math.round(0.5 / 0.00787353515625)]);
});

test('i4 by hand: the largest has code -8, whatever its sign, the first of equals', () => {
  const group = [8, -8, 4, -4, 0.5, ...Array.from({ length: 27 }, () => 0)];
  const { codes, scales } = quantiseHead('i4', group);
  expect(scales).toEqual([-1]);
  expect(codes.slice(0, 6)).toEqual([-8, 7, -4, 4, 0, 0]);
  expect(quantiseHead('i4', group.map((x) => -x)).scales).toEqual([1]); // prettier-ignore
});

test.each(QUANTISED)('bytes of %s hold the codes', (dtype) => {
  const { codes } = quantiseHead(dtype, new Random(1).normals(64), { scale: 0.01 });
  const bytes = packCodes(dtype, codes);
  expect(bytes.length).toBe(dtype === 'i4' ? 32 : 64);
  expect([...unpackCodes(dtype, bytes)]).toEqual(codes.map((code) => Math.fround(code)));
});

test('element 2i of i4 is in the low half of byte i', () => {
  expect([...packCodes('i4', [-8, 7, 0, 1])]).toEqual([0xf0, 0x98]);
});

test.each(QUANTISED)('%s stands for numbers close to those that it was given', (dtype) => {
  const values = new Random(2).normals(96);
  const quantised = quantiseHead(dtype, values, { scale: 0.01 });
  const allowed = { i8: 0.02, i4: 0.3, e4m3: 0.15 }[dtype];
  dequantiseHead(quantised).forEach((x, i) => expect(Math.abs(x - values[i]!)).toBeLessThan(allowed));
});

test.each(HARD_HEADS)('the largest scale, and zeros: $why', ({ head }) => {
  for (const dtype of QUANTISED)
    for (const scaleDType of ['f32', 'f16'] as const) {
      const values = repeated(head, 32);
      const { codes, scales } = quantiseHead(dtype, values, { scaleDType });
      checkQuantised('head', { dtype, scaleDType, codes, scales, values });
    }
});

test('the extremes of scales', () => {
  const scale = (dtype: 'i8' | 'i4', x: number, scaleDType: 'f32' | 'f16') =>
    quantiseHead(dtype, repeated([x, 0, 0, 0], 4), { scaleDType }).scales[0];
  expect(scale('i8', Infinity, 'f16')).toBe(65504);
  expect(scale('i8', 3e38, 'f16')).toBe(65504);
  expect(scale('i4', Infinity, 'f16')).toBe(-65504);
  expect(scale('i4', -Infinity, 'f32')).toBe((2 - 2 ** -23) * 2 ** 127);
  expect(scale('i8', 2 ** -120, 'f32')).toBe(0);
  expect(scale('i8', 2 ** -20, 'f16')).toBe(0);
});

test('shapes of scales', () => {
  expect(scaleShape('i8', [7, 16, 2, 80])).toEqual([7, 16, 2]);
  expect(scaleShape('i4', [7, 16, 2, 96])).toEqual([7, 16, 2, 3]);
  expect(scaleShape('e4m3', [7, 16, 2, 80])).toEqual([2]);
});
