import { describe, expect, test } from 'vitest';
import {
  decode,
  encode,
  fromBf16Bits,
  fromF16Bits,
  roundTo,
  toBf16Bits,
  toF16Bits,
} from '../../src/core/dtype.js';

const HALVES = [
  { dtype: 'f16', toBits: toF16Bits, fromBits: fromF16Bits, infinity: 0x7c00, nan: 0x7e00 },
  { dtype: 'bf16', toBits: toBf16Bits, fromBits: fromBf16Bits, infinity: 0x7f80, nan: 0x7fc0 },
] as const;

describe.each(HALVES)('$dtype', ({ dtype, toBits, fromBits, infinity, nan }) => {
  test('every one of the 65536 patterns comes back, and every NaN as the quiet one', () => {
    for (let bits = 0; bits < 0x10000; bits++) {
      const isNan = (bits & 0x7fff) > infinity;
      const back = toBits(fromBits(bits));
      if (back !== (isNan ? nan : bits))
        expect.fail(`${bits.toString(16)} came back as ${back.toString(16)}`);
    }
  });

  test('between neighbours the nearer is taken, and half way the one with an even last bit', () => {
    for (let below = 0; below < infinity - 1; below++) {
      const above = below + 1;
      const [low, high] = [fromBits(below), fromBits(above)];
      const middle = (low + high) / 2;
      const nudge = (high - low) * 2 ** -20;
      const got = [middle - nudge, middle, middle + nudge, -middle].map(toBits);
      const even = below % 2 === 0 ? below : above;
      const want = [below, even, above, even | 0x8000];
      if (got.join() !== want.join()) expect.fail(`around ${middle}: got ${got.join()}, want ${want.join()}`);
    }
  });

  test('from half a step beyond the largest number on, the result is infinite', () => {
    const largest = fromBits(infinity - 1);
    const step = largest - fromBits(infinity - 2);
    const limit = largest + step / 2;
    const cases = [limit - step / 1024, limit, -limit, 2 * limit, 1e300, Infinity, -Infinity];
    expect(cases.map((x) => roundTo(dtype, x))).toEqual([
      largest,
      Infinity,
      -Infinity,
      Infinity,
      Infinity,
      Infinity,
      -Infinity,
    ]);
  });

  test('zeros keep their signs and what is too small becomes a zero of its sign', () => {
    expect([0, -0, 1e-300, -1e-300].map(toBits)).toEqual([0, 0x8000, 0, 0x8000]);
    expect(roundTo(dtype, -0)).toBe(-0);
    expect(roundTo(dtype, -1e-300)).toBe(-0);
  });

  test('roundTo is the value of the bits', () => {
    for (let i = 0; i < 2000; i++) {
      const x = Math.sin(i) * 10 ** ((i % 80) - 40);
      expect(roundTo(dtype, x)).toBe(fromBits(toBits(x)));
    }
    expect(roundTo(dtype, NaN)).toBeNaN();
  });

  test('encode and decode convert whole arrays', () => {
    const values = [0, 1, -2, 0.1, Infinity, NaN];
    const bits = encode(dtype, values);
    expect(bits).toEqual(Uint16Array.from(values, toBits));
    expect(decode(dtype, bits)).toEqual(Float32Array.from(values, (x) => roundTo(dtype, x)));
  });
});

test.each([
  { x: 1, f16: 0x3c00, bf16: 0x3f80, why: 'one' },
  { x: -2.5, f16: 0xc100, bf16: 0xc020, why: 'exact in both' },
  { x: Math.PI, f16: 0x4248, bf16: 0x4049, why: 'rounded in both' },
  { x: 2 ** -24, f16: 0x0001, bf16: 0x3380, why: 'smallest subnormal of f16' },
  { x: 2 ** -133, f16: 0x0000, bf16: 0x0001, why: 'smallest subnormal of bf16' },
  { x: 65504, f16: 0x7bff, bf16: 0x4780, why: 'largest f16' },
  {
    x: 1 + 2 ** -11 + 2 ** -40,
    f16: 0x3c01,
    bf16: 0x3f80,
    why: 'in f32 first, it would be a tie and go down',
  },
])('$x has the bits of the standard: $why', ({ x, f16, bf16 }) => {
  expect(toF16Bits(x)).toBe(f16);
  expect(toBf16Bits(x)).toBe(bf16);
});

test('f32 is rounded to f32 and copied', () => {
  expect(roundTo('f32', 0.1)).toBe(Math.fround(0.1));
  const stored = Float32Array.of(1, 2);
  expect(encode('f32', [1, 2])).toEqual(stored);
  expect(decode('f32', stored)).toEqual(stored);
  expect(decode('f32', stored)).not.toBe(stored);
});
