import { describe, expect, test } from 'vitest';
import {
  benchCases,
  caseName,
  decodeCases,
  lengthOf,
  type CaseOptions,
  type PrefillCase,
} from '../../bench/cases/cases.js';
import { shuffledPages } from '../../bench/cases/decodeProblem.js';
import { flopsOf, naiveScoresBytes, visiblePairs } from '../../bench/cases/prefillWorkload.js';
import { bareCommands } from '../../bench/cases/recording.js';
import { scaleCases, type ScaleOptions } from '../../bench/cases/scaleCases.js';
import { FEATURE_SHAPES } from '../../bench/cases/featureShapes.js';
import { DECODE_SHAPES, PREFILL_SHAPES, SHAPES } from '../../bench/cases/shapes.js';
import { checkAgainstPeer, checkAgainstReference, firstMiddleLast } from '../../bench/cases/workload.js';
import { decodeByPrefill } from '../../bench/peers/decodeByPrefill.js';
import { callCountsText } from '../../bench/results.js';
import { traitsOf } from '../plan/traits.js';
import { problemOf } from './benchProblem.js';

const OPTIONS: CaseOptions = { software: false, dtype: 'f32', shapes: [], quick: false, full: false };

describe('cases', () => {
  test('a GPU gets unscaled shapes, at all their lengths', () => {
    const cases = benchCases(OPTIONS);
    const nPrompts = PREFILL_SHAPES.reduce((sum, { lengths }) => sum + lengths.length, 0);
    expect(cases).toHaveLength(nPrompts + DECODE_SHAPES.length + FEATURE_SHAPES.length);
    expect(cases[0]).toMatchObject({ shape: 'llama-7b', nHeads: 32, length: 512, scaled: false });
    const last = cases[nPrompts + DECODE_SHAPES.length - 1];
    expect(last).toMatchObject({ shape: 'decode-small', nHeads: 32, keys: [2048], scaled: false });
    expect(cases.at(-1)).toMatchObject({ shape: 'prefix-32', nHeads: 32, nKeys: 4224, scaled: false });
  });

  test('a software adapter gets fewer heads, in groups of the same size', () => {
    for (const { shape, nHeads, nKvHeads, scaled } of benchCases({ ...OPTIONS, software: true })) {
      const own = [...SHAPES, ...FEATURE_SHAPES].find(({ name }) => name === shape)!;
      expect(nHeads / nKvHeads).toBe(own.nHeads / own.nKvHeads);
      expect(nKvHeads).toBeLessThanOrEqual(Math.max(1, own.nKvHeads / 2));
      expect(scaled).toBe(true);
    }
  });

  test('a software adapter gets unscaled shapes with --full', () => {
    expect(benchCases({ ...OPTIONS, software: true, full: true })).toEqual(benchCases(OPTIONS));
  });

  test('a named shape is measured, also in a quick run', () => {
    const cases = benchCases({
      ...OPTIONS,
      software: true,
      quick: true,
      shapes: ['gemma-2-9b', 'decode-long'],
    });
    expect(cases.map(caseName)).toEqual(['gemma-2-9b 512', 'decode-long']);
  });

  test('a quick run on a software adapter has prompts, a decode step and an option', () => {
    const cases = benchCases({ ...OPTIONS, software: true, quick: true });
    expect(cases.map(caseName)).toEqual(['llama-3-8b 512', 'encoder-base 512', 'decode-small', 'kv-i8']);
  });

  test('the lengths of a decode step are shown as sequences × longest', () => {
    const cases = decodeCases(OPTIONS);
    expect(cases.map(lengthOf)).toEqual([
      '1 × 2048',
      '2 × 2048',
      '8 × ≤ 4000',
      '1 × 16384',
      '1 × 4096',
      '4 × 4096',
      '1 × 4096',
      '1 × 2048',
    ]);
  });
});

describe('one model at many lengths', () => {
  const longest = (options: Partial<ScaleOptions>, kind: 'prefill' | 'decode') =>
    scaleCases({ ...OPTIONS, maxBindingBytes: 2 ** 31, ...options })
      .filter((one) => one.kind === kind)
      .map(lengthOf)
      .at(-1);

  test.each([
    { options: {}, prefill: '32768', decode: '1 × 131072', why: 'a GPU' },
    { options: { software: true }, prefill: '2048', decode: '1 × 131072', why: 'a software adapter' },
    { options: { quick: true }, prefill: '32768', decode: '1 × 131072', why: 'every other length' },
    // 8 kv heads × 128 × 4 bytes: 4 KiB a key.
    { options: { maxBindingBytes: 2 ** 27 }, prefill: '32768', decode: '1 × 32768', why: 'small bindings' },
  ])('$why: prompts to $prefill, decode steps to $decode', ({ options, prefill, decode }) => {
    expect(longest(options, 'prefill')).toBe(prefill);
    expect(longest(options, 'decode')).toBe(decode);
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

  test('naive attention keeps the scores of all heads, masked or not', () => {
    expect(naiveScoresBytes(benchCase)).toBe(3 * 4 * 4 * 4);
  });
});

describe('pages of a decode step', () => {
  const { blockTable, width, nPages } = shuffledPages({ keys: [40, 1, 16] });

  test('each sequence has as many pages as it needs, and no page is used twice', () => {
    expect([width, nPages]).toEqual([3, 5]);
    const rows = [0, 1, 2].map((b) => [...blockTable.subarray(b * width, (b + 1) * width)]);
    expect(rows.map((row) => row.filter((page) => page >= 0).length)).toEqual([3, 1, 1]);
    expect(
      rows
        .flat()
        .filter((page) => page >= 0)
        .toSorted(),
    ).toEqual([0, 1, 2, 3, 4]);
  });
});

test('attn_prefill runs a decode step in chunks, as it would a prompt', () => {
  const [benchCase] = decodeCases({ ...OPTIONS, shapes: ['decode-ragged'] });
  const dispatches = decodeByPrefill(problemOf(benchCase!), traitsOf({}));
  expect(dispatches.map(({ kernel, spec }) => [kernel.name, spec['SPLIT']])).toEqual([
    ['attn_prefill', true],
    ['attn_prefill', false],
    ['merge_states', undefined],
  ]);
});

describe('checking an output', () => {
  const naive = Float32Array.of(1, -4, 2);

  test('passes rounding errors, and returns the largest', () => {
    const check = checkAgainstPeer('naive', Float32Array.of(1, -4, 2.00003), naive, 'f32');
    expect(check.allowed).toBeCloseTo(4 * 2e-5, 12);
    expect(check.maxDifference).toBeCloseTo(3e-5, 6);
  });

  test.each([
    { out: [1, -4, 2.1], why: 'too far off' },
    { out: [1, NaN, 2], why: 'not a number' },
    { out: [1, -4], why: 'too short' },
  ])('refuses what is $why', ({ out }) => {
    expect(() => checkAgainstPeer('naive', Float32Array.from(out), naive, 'f32')).toThrow(
      /^pageflash and naive disagree: at element [12] they have/,
    );
  });

  test('compares rows with the reference, and gives the index in the whole output', () => {
    const rows = [
      { expected: Float64Array.of(1, -4), firstIndex: 0 },
      { expected: Float64Array.of(7), firstIndex: 2 },
    ];
    expect(() => checkAgainstReference(naive, rows, 'f32')).toThrow('at element 2 they have 2 and 7');
    expect(checkAgainstReference(naive, rows.slice(0, 1), 'f32').maxDifference).toBe(0);
  });

  test('first, middle and last index, without duplicates', () => {
    expect([1, 2, 8].map(firstMiddleLast)).toEqual([[0], [0, 1], [0, 4, 7]]);
  });
});

describe('the cost of recording', () => {
  test('call counts in words', () => {
    expect(callCountsText({ createBuffer: 0, createBindGroup: 0, writeBuffer: 0 })).toBe('nothing');
    expect(callCountsText({ createBuffer: 2, createBindGroup: 0, writeBuffer: 1 })).toBe(
      '2 buffers, 1 write',
    );
  });

  test('commands are captured for bare recording', () => {
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
