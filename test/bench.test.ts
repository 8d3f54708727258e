import { describe, expect, test } from 'vitest';
import { checkAgainstNaive } from '../bench/check.js';
import { flopsOf, naiveScoresBytes, visiblePairs } from '../bench/counts.js';
import { formatBytes, formatDuration, formatMs, formatRatio } from '../bench/format.js';
import { parseOptions } from '../bench/options.js';
import { report } from '../bench/report/report.js';
import { linearScale, logScale } from '../bench/report/scale.js';
import type { BenchResults, MeasuredRow, Measurement, Row } from '../bench/results.js';
import { benchCases, SHAPES, type BenchCase, type CaseOptions } from '../bench/shapes.js';
import { geometricMean, ratios, summarize } from '../bench/statistics.js';
import { table } from '../bench/table.js';

const OPTIONS: CaseOptions = { software: false, dtype: 'f32', shapes: [], quick: false, full: false };

describe('statistics', () => {
  test('quartiles lie between samples', () => {
    expect(summarize([7, 1, 4, 2])).toEqual({ median: 3, q1: 1.75, q3: 4.75, min: 1, max: 7, samples: 4 });
    expect(summarize([5, 3, 1, 2, 4])).toMatchObject({ median: 3, q1: 2, q3: 4 });
    expect(summarize([6])).toEqual({ median: 6, q1: 6, q3: 6, min: 6, max: 6, samples: 1 });
  });

  test('a summary of nothing is refused', () => {
    expect(() => summarize([])).toThrowErrorMatchingInlineSnapshot(
      `[RangeError: There are no samples to summarize.]`,
    );
  });

  test('ratios are those of rounds, so that a slow round does not count', () => {
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

describe('counts', () => {
  const benchCase: BenchCase = {
    ...SHAPES[0]!,
    shape: 'tiny',
    nHeads: 3,
    nKvHeads: 1,
    headDim: 8,
    length: 4,
    dtype: 'f32',
    scaled: false,
  };

  test.each([
    { causal: true, window: 0, pairs: 1 + 2 + 3 + 4, why: 'causal' },
    { causal: true, window: 2, pairs: 1 + 2 + 2 + 2, why: 'a window counts the query itself' },
    { causal: false, window: 0, pairs: 16, why: 'all' },
  ])('$why: $pairs pairs are visible', ({ pairs, ...masks }) => {
    const masked = { ...benchCase, ...masks };
    expect(visiblePairs(masked)).toBe(pairs);
    expect(flopsOf(masked)).toBe(2 * pairs * (8 + 8) * 3);
  });

  test('naive attention keeps the scores of all heads, seen or not', () => {
    expect(naiveScoresBytes(benchCase)).toBe(3 * 4 * 4 * 4);
  });
});

describe('the check of an output', () => {
  const benchCase = benchCases(OPTIONS)[0]!;
  const naive = Float32Array.of(1, -4, 2);

  test('passes roundings and tells the largest', () => {
    const check = checkAgainstNaive(Float32Array.of(1, -4, 2.00003), naive, benchCase);
    expect(check.allowed).toBeCloseTo(4 * 2e-5, 12);
    expect(check.maxDifference).toBeCloseTo(3e-5, 6);
  });

  test.each([
    { out: [1, -4, 2.1], why: 'too far off' },
    { out: [1, NaN, 2], why: 'not a number' },
    { out: [1, -4], why: 'too short' },
  ])('refuses what is $why', ({ out }) => {
    expect(() => checkAgainstNaive(Float32Array.from(out), naive, benchCase)).toThrow(
      /^pageflash and naive disagree: at element [12] they have/,
    );
  });
});

describe('cases', () => {
  test('a GPU gets the shapes as they are, at all their lengths', () => {
    const cases = benchCases(OPTIONS);
    expect(cases).toHaveLength(SHAPES.reduce((sum, { lengths }) => sum + lengths.length, 0));
    expect(cases[0]).toMatchObject({ shape: 'llama-7b', nHeads: 32, length: 512, scaled: false });
  });

  test('software gets fewer heads in groups as big as before', () => {
    for (const { shape, nHeads, nKvHeads, scaled } of benchCases({ ...OPTIONS, software: true })) {
      const own = SHAPES.find(({ name }) => name === shape)!;
      expect(nHeads / nKvHeads).toBe(own.nHeads / own.nKvHeads);
      expect(nHeads).toBeLessThan(own.nHeads);
      expect(scaled).toBe(true);
    }
  });

  test('software gets all of it where --full asks for it', () => {
    expect(benchCases({ ...OPTIONS, software: true, full: true })).toEqual(benchCases(OPTIONS));
  });

  test('a shape that is named is measured, in a quick run too', () => {
    const cases = benchCases({ ...OPTIONS, software: true, quick: true, shapes: ['gemma-2-9b'] });
    expect(cases.map(({ shape, length }) => [shape, length])).toEqual([['gemma-2-9b', 512]]);
  });
});

describe('options', () => {
  test('defaults', () => {
    expect(parseOptions([], ['chrome', 'node'])).toEqual({
      adapter: 'chrome',
      dtype: 'f32',
      shapes: [],
      quick: false,
      full: false,
      out: 'bench/results/latest',
    });
  });

  test.each([
    { out: 'm2', path: 'bench/results/m2', why: 'a name' },
    { out: 'm2.json', path: 'bench/results/m2', why: 'an ending that it gets anyway' },
    { out: './m2', path: './m2', why: 'a path' },
  ])('--out takes $why', ({ out, path }) => {
    expect(parseOptions(['--out', out], ['node'])?.out).toBe(path);
  });

  test('help is no run', () => {
    expect(parseOptions(['--help'], ['node'])).toBeUndefined();
  });

  test('says what an option should have been', () => {
    const wrong = [
      ['--shape', 'llama'],
      ['--dtype', 'i8'],
      ['--adapter', 'firefox'],
      ['--fast'],
      ['--out', ''],
    ];
    const messages = wrong.map((args) => {
      try {
        return parseOptions(args, ['chrome', 'node']);
      } catch (error) {
        return String(error);
      }
    });
    expect(messages).toMatchInlineSnapshot(`
      [
        "Error: --shape must be one of llama-7b, llama-3-8b, qwen2.5-7b, gemma-2-9b, llama-3.2-1b, encoder-base, not "llama"",
        "Error: --dtype must be one of f32, f16, bf16, not "i8"",
        "Error: --adapter must be one of chrome, node, not "firefox"",
        "Error: Unknown option '--fast'",
        "Error: --out needs a name",
      ]
    `);
  });
});

describe('numbers for people', () => {
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
    [formatDuration(65_400), '1m05s'],
  ])('%s', (actual, expected) => {
    expect(actual).toBe(expected);
  });
});

describe('scales', () => {
  const range = [0, 100] as const;

  test('a logarithmic one starts and ends at a tick', () => {
    const { ticks, at } = logScale({ values: [30, 400], range }, [{ base: 10, digits: [1, 2, 5] }]);
    expect(ticks).toEqual([20, 50, 100, 200, 500]);
    expect([at(20), at(100), at(500)].map(Math.round)).toEqual([0, 50, 100]);
  });

  test('a single value has room', () => {
    const { ticks, at } = logScale({ values: [1000], range }, [{ base: 10, digits: [1] }]);
    expect(ticks).toEqual([1000, 10_000]);
    expect(at(1000)).toBe(0);
  });

  test('it takes the finest ticks that are not too many', () => {
    const choices = [2, 4, 32].map((base) => ({ base, digits: [1] }));
    const { ticks } = logScale({ values: [2 ** 11, 2 ** 24], range }, choices);
    expect(ticks.map(Math.log2)).toEqual([10, 12, 14, 16, 18, 20, 22, 24, 26]);
  });

  test('a linear one starts at 0', () => {
    const { ticks, at } = linearScale({ values: [4.9], range });
    expect(ticks).toEqual([0, 1, 2, 3, 4, 5]);
    expect(at(0)).toBe(0);
  });
});

const MEASUREMENT: Measurement = {
  ms: summarize([10, 12, 11]),
  repetitions: 1,
  gflops: 5,
  gbps: 2,
  memoryBytes: 2560,
};

const WITH_NAIVE: Pick<MeasuredRow, 'naive' | 'speedup'> = {
  naive: { ...MEASUREMENT, ms: summarize([40, 48, 44]), memoryBytes: 2 ** 22 },
  speedup: summarize([4, 4, 4]),
};

function measuredRow(benchCase: BenchCase, naive: Pick<MeasuredRow, 'naive' | 'speedup'>): MeasuredRow {
  return {
    case: benchCase,
    status: 'measured',
    flops: 5e7,
    checks: [{ against: 'reference', maxDifference: 1e-6, allowed: 5e-5 }],
    pageflash: MEASUREMENT,
    ...naive,
  };
}

/** Every shape once: one whose naive twin did not fit, one that failed, all others measured. */
function results(): BenchResults {
  const cases = benchCases({
    ...OPTIONS,
    software: true,
    quick: true,
    shapes: SHAPES.map(({ name }) => name),
  });
  const rows = cases.map((benchCase, i): Row => {
    if (i === 0) return { case: benchCase, status: 'failed', message: 'off by <1>' };
    return measuredRow(benchCase, i === 1 ? { naive: { skipped: 'its scores take 4 GiB' } } : WITH_NAIVE);
  });
  return {
    format: 1,
    date: '2026-01-02T03:04:05.678Z',
    commit: 'unknown',
    environment: 'Chrome 156',
    platform: 'linux',
    adapter: {
      vendor: 'acme',
      architecture: 'a1',
      device: '',
      description: 'Acme <GPU> & co',
      software: true,
      features: ['subgroups'],
      maxBindingBytes: 2 ** 27,
    },
    options: { dtype: 'f32', shapes: [], quick: true, full: false },
    rows,
  };
}

describe('the report', () => {
  const html = report(results());

  test.each(SHAPES)('has $name', ({ name, model }) => {
    expect(html).toContain(`<td>${name}</td>`);
    expect(html).toContain(`<dd>${model}`);
  });

  test('shows in the plots what was measured', () => {
    const plots = html.match(/<svg[^]*?<\/svg>/g)!;
    expect(plots).toHaveLength(3);
    for (const plot of plots) {
      for (const { name } of SHAPES.slice(1)) expect(plot).toContain(`>${name}</text>`);
      expect(plot).not.toMatch(/NaN|Infinity|undefined/);
    }
  });

  test('says what failed and what was not run', () => {
    expect(html).toContain('1 of 6 rows failed');
    expect(html).toContain('off by &lt;1&gt;');
    expect(html).toContain('not run: its scores take 4 GiB');
  });

  test('lets no text of a driver become markup', () => {
    expect(html).toContain('Acme &lt;GPU&gt; &amp; co');
    expect(html).not.toContain('<GPU>');
  });

  test('needs nothing from elsewhere', () => {
    expect(html).not.toMatch(/<script|<link|src=|url\(|@import|https?:/);
  });

  test('stands without a single speed-up', () => {
    const { rows, ...rest } = results();
    const alone = report({ ...rest, rows: rows.slice(0, 2) });
    expect(alone.match(/<svg[^]*?<\/svg>/g)!.join()).not.toMatch(/NaN|Infinity|undefined/);
  });

  test('stands without a single measured row', () => {
    const { rows, ...rest } = results();
    expect(report({ ...rest, rows: rows.slice(0, 1) })).toContain('1 of 1 rows failed');
  });
});

test('the table for the terminal', () => {
  expect(table(results().rows)).toMatchInlineSnapshot(`
    "shape           heads    S  pageflash  naive              speed-up  GFLOP/s  naive  extra memory  naive
    llama-3-8b    4/1×128  512      11 ms      —                     —        5      —       2.5 KiB      —
    qwen2.5-7b    7/1×128  512      11 ms  44 ms  4.00× [4.00×, 4.00×]        5      5       2.5 KiB  4 MiB
    gemma-2-9b    2/1×256  512      11 ms  44 ms  4.00× [4.00×, 4.00×]        5      5       2.5 KiB  4 MiB
    llama-3.2-1b   4/1×64  512      11 ms  44 ms  4.00× [4.00×, 4.00×]        5      5       2.5 KiB  4 MiB
    encoder-base   2/2×64  512      11 ms  44 ms  4.00× [4.00×, 4.00×]        5      5       2.5 KiB  4 MiB
    llama-3-8b 512: naive was not run, as its scores take 4 GiB.
    FAILED llama-7b 512: off by <1>"
  `);
});
