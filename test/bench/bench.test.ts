import { describe, expect, test } from 'vitest';
import { benchCases, caseName, lengthOf, SHAPES } from '../../bench/cases.js';
import type { CaseOptions } from '../../bench/caseOptions.js';
import { checkAgainstReference, checkAgainstRival, fewOf } from '../../bench/check.js';
import { countTraffic } from '../../bench/decode/countTraffic.js';
import { shuffledPages } from '../../bench/decode/inputs.js';
import { decodeByPrefill } from '../../bench/decode/prefillKernel.js';
import { DECODE_SHAPES, decodeCases } from '../../bench/decode/shapes.js';
import { formatBytes, formatDuration, formatMs, formatRatio } from '../../bench/format.js';
import { parseOptions } from '../../bench/options.js';
import { flopsOf, naiveScoresBytes, visiblePairs } from '../../bench/prefill/counts.js';
import { PREFILL_SHAPES, type PrefillCase } from '../../bench/prefill/shapes.js';
import { bareCommands } from '../../bench/recording/bareCommands.js';
import { madeText, type RecordingRow } from '../../bench/recording/results.js';
import { report } from '../../bench/report/report.js';
import { linearScale, logScale } from '../../bench/report/scale.js';
import type { BenchResults, MeasuredRow, Measurement, Rival, Row } from '../../bench/results.js';
import { geometricMean, ratios, summarize } from '../../bench/statistics.js';
import { table } from '../../bench/table.js';
import { problemOf } from './benchProblem.js';
import { traitsOf } from '../plan/traits.js';

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

describe('counts of a prompt', () => {
  const benchCase: PrefillCase = {
    ...PREFILL_SHAPES[0]!,
    kind: 'prefill',
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
  const naive = Float32Array.of(1, -4, 2);

  test('passes roundings and tells the largest', () => {
    const check = checkAgainstRival('naive', Float32Array.of(1, -4, 2.00003), naive, 'f32');
    expect(check.allowed).toBeCloseTo(4 * 2e-5, 12);
    expect(check.maxDifference).toBeCloseTo(3e-5, 6);
  });

  test.each([
    { out: [1, -4, 2.1], why: 'too far off' },
    { out: [1, NaN, 2], why: 'not a number' },
    { out: [1, -4], why: 'too short' },
  ])('refuses what is $why', ({ out }) => {
    expect(() => checkAgainstRival('naive', Float32Array.from(out), naive, 'f32')).toThrow(
      /^pageflash and naive disagree: at element [12] they have/,
    );
  });

  test('compares a part with the reference, and says where it is in the whole', () => {
    const rows = [
      { expected: Float64Array.of(1, -4), firstIndex: 0 },
      { expected: Float64Array.of(7), firstIndex: 2 },
    ];
    expect(() => checkAgainstReference(naive, rows, 'f32')).toThrow('at element 2 they have 2 and 7');
    expect(checkAgainstReference(naive, rows.slice(0, 1), 'f32').maxDifference).toBe(0);
  });

  test('a few of many are the ends and the middle', () => {
    expect([1, 2, 8].map(fewOf)).toEqual([[0], [0, 1], [0, 4, 7]]);
  });
});

describe('cases', () => {
  test('a GPU gets the shapes as they are, at all their lengths', () => {
    const cases = benchCases(OPTIONS);
    const nPrompts = PREFILL_SHAPES.reduce((sum, { lengths }) => sum + lengths.length, 0);
    expect(cases).toHaveLength(nPrompts + DECODE_SHAPES.length);
    expect(cases[0]).toMatchObject({ shape: 'llama-7b', nHeads: 32, length: 512, scaled: false });
    expect(cases.at(-1)).toMatchObject({ shape: 'decode-small', nHeads: 32, keys: [2048], scaled: false });
  });

  test('software gets fewer heads in groups as big as before', () => {
    for (const { shape, nHeads, nKvHeads, scaled } of benchCases({ ...OPTIONS, software: true })) {
      const own = SHAPES.find(({ name }) => name === shape)!;
      expect(nHeads / nKvHeads).toBe(own.nHeads / own.nKvHeads);
      expect(nKvHeads).toBeLessThanOrEqual(Math.max(1, own.nKvHeads / 2));
      expect(scaled).toBe(true);
    }
  });

  test('software gets all of it where --full asks for it', () => {
    expect(benchCases({ ...OPTIONS, software: true, full: true })).toEqual(benchCases(OPTIONS));
  });

  test('a shape that is named is measured, in a quick run too', () => {
    const cases = benchCases({
      ...OPTIONS,
      software: true,
      quick: true,
      shapes: ['gemma-2-9b', 'decode-long'],
    });
    expect(cases.map(caseName)).toEqual(['gemma-2-9b 512', 'decode-long']);
  });

  test('a quick run on software has prompts and a step of decoding', () => {
    const cases = benchCases({ ...OPTIONS, software: true, quick: true });
    expect(cases.map(caseName)).toEqual(['llama-3-8b 512', 'encoder-base 512', 'decode-small']);
  });

  test('lengths of a step are told by their ends', () => {
    const cases = decodeCases(OPTIONS);
    expect(cases.map(lengthOf)).toEqual(['1 × 2048', '2 × 2048', '8 × ≤ 4000', '1 × 16384', '1 × 2048']);
  });
});

describe('pages of a step', () => {
  const { table: pages, width, nPages } = shuffledPages({ keys: [40, 1, 16] });

  test('each sequence has as many as it needs, and none is given twice', () => {
    expect([width, nPages]).toEqual([3, 5]);
    const rows = [0, 1, 2].map((b) => [...pages.subarray(b * width, (b + 1) * width)]);
    expect(rows.map((row) => row.filter((page) => page >= 0).length)).toEqual([3, 1, 1]);
    expect(
      rows
        .flat()
        .filter((page) => page >= 0)
        .toSorted(),
    ).toEqual([0, 1, 2, 3, 4]);
  });
});

test('a step goes to attn_prefill in chunks as a prompt would', () => {
  const [benchCase] = decodeCases({ ...OPTIONS, shapes: ['decode-ragged'] });
  const dispatches = decodeByPrefill(problemOf(benchCase!), traitsOf({}));
  expect(dispatches.map(({ kernel, spec }) => [kernel.name, spec['SPLIT']])).toEqual([
    ['attn_prefill', true],
    ['attn_prefill', false],
    ['merge_states', undefined],
  ]);
});

describe('the cost of recording', () => {
  test('what is made, in words', () => {
    expect(madeText({ createBuffer: 0, createBindGroup: 0, writeBuffer: 0 })).toBe('nothing');
    expect(madeText({ createBuffer: 2, createBindGroup: 0, writeBuffer: 1 })).toBe('2 buffers, 1 write');
  });

  test('what was recorded can be recorded bare', () => {
    const commands = bareCommands((pass) => {
      pass.setPipeline('a' as unknown as GPUComputePipeline);
      pass.setBindGroup(0, 'b' as unknown as GPUBindGroup);
      pass.dispatchWorkgroups(1, 2, 3);
      pass.dispatchWorkgroups(4);
    });
    expect(commands).toEqual([
      { pipeline: 'a', group: 'b', grid: [1, 2, 3] },
      { pipeline: 'a', group: 'b', grid: [4] },
    ]);
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
        "Error: --shape must be one of llama-7b, llama-3-8b, qwen2.5-7b, gemma-2-9b, llama-3.2-1b, encoder-base, decode-mha, decode-gqa, decode-ragged, decode-long, decode-small, recording, not "llama"",
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

const NAIVE: Rival = {
  ...MEASUREMENT,
  name: 'naive',
  ms: summarize([40, 48, 44]),
  memoryBytes: 2 ** 22,
  speedup: summarize([4, 4, 4]),
};
const SKIPPED: Rival = { name: 'naive', skipped: 'its scores take 4 GiB' };
const PREFILL_KERNEL: Rival = { ...NAIVE, name: 'attn_prefill', speedup: summarize([2, 2.5, 3]) };

const RECORDING: RecordingRow = {
  status: 'measured',
  costs: [
    {
      name: 'append',
      layers: 16,
      dispatchesPerLayer: 4,
      layerUs: summarize([6, 7, 8]),
      dispatchUs: summarize([1, 1.1, 1.2]),
      overBare: summarize([1.5, 1.6, 1.7]),
      updateUs: summarize([50, 60, 70]),
      steps: 16,
      madeByLayers: { createBuffer: 0, createBindGroup: 0, writeBuffer: 0 },
      madeByUpdates: { createBuffer: 0, createBindGroup: 0, writeBuffer: 96 },
    },
  ],
};

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
    const naive = i === 1 ? SKIPPED : NAIVE;
    const row: MeasuredRow = {
      case: benchCase,
      status: 'measured',
      flops: 5e7,
      checks: [{ against: 'reference', maxDifference: 1e-6, allowed: 5e-5 }],
      pageflash: MEASUREMENT,
      rivals: [naive],
    };
    if (benchCase.kind === 'prefill') return row;
    const traffic = countTraffic(problemOf(benchCase), traitsOf({}));
    return { ...row, rivals: [naive, PREFILL_KERNEL], traffic };
  });
  return {
    format: 2,
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
    recording: RECORDING,
  };
}

describe('the report', () => {
  const html = report(results());

  test.each(SHAPES)('has $name', ({ name, model }) => {
    expect(html).toContain(`<td>${name}<small>`);
    expect(html).toContain(`<dd>${model}`);
  });

  test('shows in the plots what was measured', () => {
    const plots = html.match(/<svg[^]*?<\/svg>/g)!;
    expect(plots).toHaveLength(6);
    plots.forEach((plot, i) => {
      for (const { name } of i < 3 ? PREFILL_SHAPES.slice(1) : DECODE_SHAPES)
        expect(plot).toContain(`>${name}</text>`);
      expect(plot).not.toMatch(/NaN|Infinity|undefined/);
    });
  });

  test('has a place in its style for every contender', () => {
    for (const name of ['pageflash', 'naive', 'attn_prefill']) {
      expect(html).toContain(`svg .${name} {`);
      expect(html).toContain(`<circle class="${name}"`);
    }
  });

  test('says what failed and what was not run', () => {
    expect(html).toContain('1 of 11 rows failed');
    expect(html).toContain('off by &lt;1&gt;');
    expect(html).toContain('not run: its scores take 4 GiB');
  });

  test('says what recording costs, or why it does not', () => {
    expect(html).toContain('to record a planned layer of 4 dispatches; a bare dispatch takes 1.1 µs');
    const failed = report({ ...results(), recording: { status: 'failed', message: 'made <2>' } });
    expect(failed).toContain('made &lt;2&gt;');
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
    const { rows, recording: _recording, ...rest } = results();
    const alone = report({ ...rest, rows: rows.slice(0, 1) });
    expect(alone).toContain('1 of 1 rows failed');
    expect(alone).not.toContain('<h2>Decoding');
    expect(alone).not.toContain('<h2>Recording');
  });
});

test('the tables for the terminal', () => {
  expect(table(results())).toMatchInlineSnapshot(`
    "shape           heads    S  pageflash  naive              speed-up  GFLOP/s  naive  extra memory  naive
    llama-3-8b    4/1×128  512      11 ms      —                     —        5      —       2.5 KiB      —
    qwen2.5-7b    7/1×128  512      11 ms  44 ms  4.00× [4.00×, 4.00×]        5      5       2.5 KiB  4 MiB
    gemma-2-9b    2/1×256  512      11 ms  44 ms  4.00× [4.00×, 4.00×]        5      5       2.5 KiB  4 MiB
    llama-3.2-1b   4/1×64  512      11 ms  44 ms  4.00× [4.00×, 4.00×]        5      5       2.5 KiB  4 MiB
    encoder-base   2/2×64  512      11 ms  44 ms  4.00× [4.00×, 4.00×]        5      5       2.5 KiB  4 MiB

    shape            heads        keys  pageflash  naive              speed-up  attn_prefill  speed-up  GB/s  bytes ÷ needed  by loads  extra memory  naive
    decode-mha     8/8×128    1 × 2048      11 ms  44 ms  4.00× [4.00×, 4.00×]         44 ms     2.50×     2           1.007     1.015       2.5 KiB  4 MiB
    decode-gqa     8/1×128    2 × 2048      11 ms  44 ms  4.00× [4.00×, 4.00×]         44 ms     2.50×     2           1.047     1.074       2.5 KiB  4 MiB
    decode-ragged  8/2×128  8 × ≤ 4000      11 ms  44 ms  4.00× [4.00×, 4.00×]         44 ms     2.50×     2           1.025     1.057       2.5 KiB  4 MiB
    decode-long    8/1×128   1 × 16384      11 ms  44 ms  4.00× [4.00×, 4.00×]         44 ms     2.50×     2           1.048     1.069       2.5 KiB  4 MiB
    decode-small    8/2×64    1 × 2048      11 ms  44 ms  4.00× [4.00×, 4.00×]         44 ms     2.50×     2           1.025     1.048       2.5 KiB  4 MiB

    planned layer  dispatches              to record            a bare dispatch  over bare  made by layers  a step’s plan
    append                  4  7 µs [6.5 µs, 7.5 µs]  1.1 µs [1.05 µs, 1.15 µs]      1.60×         nothing          60 µs

    llama-3-8b 512: naive was not run, as its scores take 4 GiB.
    FAILED llama-7b 512: off by <1>"
  `);
});

test('the terminal is told when recording has failed', () => {
  expect(table({ rows: [], recording: { status: 'failed', message: 'made a buffer' } })).toBe(
    'FAILED recording: made a buffer',
  );
});
