import { expect, test } from 'vitest';
import { KEYS, kvErrors, type Storage } from '../../bench/cases/kvAccuracy.js';

const errors = kvErrors({ nKeys: 96, nQueries: 8, nHeads: 2, nKvHeads: 1, headDim: 64 });
const of = (keys: (typeof KEYS)[number], storage: Storage) =>
  errors.find((error) => error.keys === keys && error.storage === storage)!.relative;

test('fewer bits lose more', () => {
  for (const keys of KEYS) {
    const inOrder = (['f16', 'bf16', 'i8', 'e4m3', 'i4'] as const).map((storage) => of(keys, storage));
    expect(inOrder).toEqual(inOrder.toSorted((a, b) => a - b));
  }
});

test('an outlier costs its whole head the digits', () => {
  for (const storage of ['i8', 'i4'] as const)
    expect(of('one channel × 30', storage)).toBeGreaterThan(1.5 * of('normal', storage));
});

test('turned, an outlier costs i8 little, and i4 less', () => {
  expect(of('one channel × 30', 'i8, turned')).toBeLessThan(0.3 * of('one channel × 30', 'i8'));
  expect(of('one channel × 30', 'i4, turned')).toBeLessThan(of('one channel × 30', 'i4'));
  for (const storage of ['i8', 'i4'] as const)
    expect(of('normal', `${storage}, turned`)).toBeLessThan(1.1 * of('normal', storage));
});
