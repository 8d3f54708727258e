import { describe, expect, test } from 'vitest';
import {
  formatBytes,
  formatDuration,
  formatFraction,
  formatMs,
  formatPercent,
  formatRatio,
  formatWideSpread,
} from '../../tools/format.js';
import { geometricMean, ratios, summarize } from '../../tools/statistics.js';

describe('statistics', () => {
  test('quartiles lie between samples', () => {
    expect(summarize([7, 1, 4, 2])).toEqual({ median: 3, q1: 1.75, q3: 4.75, min: 1, max: 7, samples: 4 });
    expect(summarize([5, 3, 1, 2, 4])).toMatchObject({ median: 3, q1: 2, q3: 4 });
    expect(summarize([6])).toEqual({ median: 6, q1: 6, q3: 6, min: 6, max: 6, samples: 1 });
  });

  test('refuses to summarize no samples', () => {
    expect(() => summarize([])).toThrowErrorMatchingInlineSnapshot(
      `[RangeError: There are no samples to summarize.]`,
    );
  });

  test('ratios are taken within rounds, so that a slow round does not matter', () => {
    expect(ratios([40, 400, 40], [10, 100, 10])).toEqual([4, 4, 4]);
    expect(() => ratios([1], [1, 2])).toThrowErrorMatchingInlineSnapshot(
      `[RangeError: 1 samples cannot be paired with 2.]`,
    );
  });

  test('the geometric mean of a ratio and its inverse is 1', () => {
    expect(geometricMean([2, 8])).toBeCloseTo(4, 12);
    expect(geometricMean([5, 0.2])).toBeCloseTo(1, 12);
  });
});

describe('formats', () => {
  test.each([
    [formatBytes(0), '0 B'],
    [formatBytes(2560), '2.5 KiB'],
    [formatBytes(64 * 2 ** 20), '64 MiB'],
    [formatBytes(2 ** 32), '4 GiB'],
    [formatMs(0.0421), '42.1 µs'],
    [formatMs(12.345), '12.3 ms'],
    [formatMs(1500), '1.5 s'],
    [formatRatio(4.456), '4.46×'],
    [formatRatio(12.345), '12.3×'],
    [formatFraction(0.2512), '0.25'],
    [formatFraction(0.00831), '0.0083'],
    [formatFraction(1.523), '1.52'],
    [formatPercent(0.694), '69 %'],
    [formatPercent(0.00537), '0.5 %'],
    [formatWideSpread(summarize([9, 11, 13])), 'spread 18 %'],
    [formatWideSpread(summarize([10, 11, 12])), ''],
    [formatDuration(65_400), '1m05s'],
  ])('%s', (actual, expected) => {
    expect(actual).toBe(expected);
  });
});
