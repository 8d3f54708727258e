import { describe, expect, test } from 'vitest';
import { Random } from '../../tools/random.js';
import { checkLse, checkMerged, checkOut, checkRotated, checkSame } from './tolerance.js';

// Each check is given data that is just good enough, then data that is not: a check that cannot fail proves nothing.

/** `values` with the one at `index` changed. */
function altered(values: ArrayLike<number>, index: number, change: (x: number) => number): Float64Array {
  const copy = Float64Array.from(values);
  copy[index] = change(copy[index]!);
  return copy;
}

const toNaN = (): number => NaN;
const toInfinity = (): number => Infinity;
const random = new Random(1);

describe('checkOut in f32', () => {
  const reference = altered(random.uniforms(100, -1, 1), 7, () => 3);
  const check = (actual: ArrayLike<number>, against: ArrayLike<number> = reference): void =>
    checkOut({ actual, reference: against, dtype: 'f32' });

  test('allows 1e-5 of the largest', () => {
    check(reference);
    check(altered(reference, 99, (x) => x + 2.9e-5));
    expect(() => check(altered(reference, 99, (x) => x + 3.1e-5))).toThrow(/^out: worst at 99: /);
  });

  test('allows 1e-5 where all are small', () => {
    const small = random.uniforms(10, -0.01, 0.01);
    check(
      altered(small, 3, (x) => x - 0.9e-5),
      small,
    );
    expect(() =>
      check(
        altered(small, 3, (x) => x - 1.1e-5),
        small,
      ),
    ).toThrow('worst at 3');
  });

  test.each([
    { actual: altered(reference, 0, toNaN), why: 'NaN at the start' },
    { actual: altered(reference, 99, toNaN), why: 'NaN at the end' },
    { actual: altered(reference, 50, toInfinity), why: 'infinity' },
    { actual: new Float64Array(100), why: 'zeros' },
    { actual: reference.slice(0, 99), why: 'one element short' },
    { actual: new Float64Array(0), why: 'nothing' },
  ])('refuses $why', ({ actual }) => {
    expect(() => check(actual)).toThrow(/^out: /);
  });

  test('a reference that is not finite allows nothing', () => {
    for (const broken of [altered(reference, 5, toNaN), altered(reference, 5, toInfinity)])
      expect(() => check(reference, broken)).toThrow(/^out: /);
  });
});

describe.each(['f16', 'bf16'] as const)('checkOut in %s', (dtype) => {
  const reference = random.uniforms(100, -1, 1);
  const emulated = reference.map((x, i) => x + (i % 2 === 0 ? 1e-3 : -1e-3));
  const check = (actual: ArrayLike<number>, options = {}): void =>
    checkOut({ actual, reference, emulated, dtype, ...options });
  const off = (error: number): Float64Array => altered(reference, 42, (x) => x + error);

  test.each([
    { options: {}, multiple: 2 },
    { options: { alibi: true }, multiple: 2 },
    { options: { softcap: 0 }, multiple: 2 },
    { options: { softcap: 30 }, multiple: 3 },
    { options: { kvCache: true }, multiple: 3 },
    { options: { kvCache: true, softcap: 30 }, multiple: 3 },
    { options: { kvCache: true, alibi: true }, multiple: 5 },
  ])('allows one element $multiple times the error of the emulation: $options', ({ options, multiple }) => {
    check(off(0.99 * multiple * 1e-3), options);
    expect(() => check(off(1.02 * multiple * 1e-3), options)).toThrow(/^out: worst at 42: /);
  });

  test('allows the mean 1.5 times the error of the emulation', () => {
    check(reference.map((x) => x + 1.49e-3));
    expect(() => check(reference.map((x) => x + 1.51e-3))).toThrow(/^out: the mean error is /);
  });

  test('refuses NaN, infinity and a missing element', () => {
    for (const actual of [off(NaN), off(Infinity), reference.slice(1)])
      expect(() => check(actual)).toThrow(/^out: /);
  });

  test('refuses an emulation that is missing, too short or not finite', () => {
    for (const broken of [undefined, emulated.slice(1), altered(emulated, 3, toNaN)])
      expect(() => check(reference, { emulated: broken })).toThrow(/emulat/);
  });
});

describe('checkLse', () => {
  const reference = [0, 1, -50, 99, 1e4, -1e4, -Infinity];
  const check = (actual: ArrayLike<number>): void => checkLse({ actual, reference });

  test.each([
    { index: 1, good: 0.9e-4, bad: 1.1e-4, why: '1e-4 absolute' },
    { index: 2, good: -0.9e-4, bad: -1.1e-4, why: '1e-4 absolute below 0' },
    { index: 3, good: 0.9e-4, bad: 1.1e-4, why: '1e-4 absolute up to 100' },
    { index: 4, good: 0.09, bad: 0.11, why: '1e-5 relative beyond' },
    { index: 5, good: 0.09, bad: 0.11, why: '1e-5 relative below −100' },
  ])('allows $why', ({ index, good, bad }) => {
    check(altered(reference, index, (x) => x + good));
    expect(() => check(altered(reference, index, (x) => x + bad))).toThrow(`lse: worst at ${index}`);
  });

  test('−∞ is −∞ and nothing else', () => {
    check(reference);
    for (const instead of [0, -1e30, Infinity, NaN])
      expect(() => check(altered(reference, 6, () => instead))).toThrow('lse: worst at 6');
    expect(() => check(altered(reference, 0, () => -Infinity))).toThrow('lse: worst at 0');
  });

  test('names the worst of several', () => {
    const actual = altered(
      altered(reference, 1, (x) => x + 1),
      3,
      (x) => x + 2,
    );
    expect(() => check(actual)).toThrowErrorMatchingInlineSnapshot(
      `[Error: lse: worst at 3: got 101, want 99, off by 2, allowed 0.0001.]`,
    );
  });
});

test('checkMerged allows 1e-5', () => {
  const reference = [1, -2, -Infinity];
  checkMerged('out', { actual: [1 + 0.9e-5, -2, -Infinity], reference });
  for (const actual of [
    [1 + 1.1e-5, -2, -Infinity],
    [NaN, -2, -Infinity],
    [1, -2, 0],
    [1, -2],
  ])
    expect(() => checkMerged('out', { actual, reference })).toThrow(/^out: /);
});

test('checkSame wants every bit, and NaN where there was NaN', () => {
  const reference = [1, 0, NaN];
  checkSame('vCache', { actual: [1, 0, NaN], reference });
  for (const actual of [
    [1 + 2 ** -52, 0, NaN],
    [1, -0, NaN],
    [1, 0, 0],
    [NaN, 0, NaN],
    [1, 0],
  ])
    expect(() => checkSame('vCache', { actual, reference })).toThrow(/^vCache: /);
});

test.each([
  { dtype: 'f32', step: 2 ** -23 },
  { dtype: 'f16', step: 2 ** -10 },
  { dtype: 'bf16', step: 2 ** -7 },
] as const)('checkRotated allows one rounding of $dtype', ({ dtype, step }) => {
  const reference = [1, 0.25, 0, NaN];
  const check = (actual: readonly number[]): void => checkRotated('kCache', { actual, reference }, dtype);
  check([1 + step, 0.25, 0, NaN]);
  // In f32 the rounding of the products counts as well, as much as two steps of the largest.
  const tooFar = dtype === 'f32' ? 4 * step : 2 * step;
  for (const actual of [
    [1 + tooFar, 0.25, 0, NaN],
    [1, 0.25 + tooFar, 0, NaN],
    [NaN, 0.25, 0, NaN],
    [1, 0.25, 0, 0],
    [1, 0.25, tooFar, NaN],
    [1, 0.25, 0],
  ])
    expect(() => check(actual)).toThrow(/^kCache: /);
});
