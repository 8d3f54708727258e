import { describe, expect, test } from 'vitest';
import { sampleReference, samplingProbabilities } from '../../demo/engine/kernels/sampleReference.js';
import { checkSampling, type SamplingOptions } from '../../demo/engine/kernels/sampling.js';
import { chiSquareBound, chiSquareOf } from './chiSquare.js';

const ln = (...probabilities: readonly number[]): Float32Array => Float32Array.from(probabilities, Math.log);

const kept = (logits: Float32Array, options: SamplingOptions, history: readonly number[] = []): number[] =>
  Array.from(
    samplingProbabilities({ logits, sampling: checkSampling(options), position: 0, history }),
    (p) => Math.round(p * 1e4) / 1e4,
  );

describe('probabilities after filters', () => {
  test.each<{
    logits: Float32Array;
    options: SamplingOptions;
    history?: readonly number[];
    want: readonly number[];
    why: string;
  }>([
    {
      logits: ln(0.1, 0.6, 0.3),
      options: { temperature: 1 },
      want: [0.1, 0.6, 0.3],
      why: 'nothing filtered',
    },
    { logits: ln(0.1, 0.6, 0.3), options: {}, want: [0, 1, 0], why: 'greedy' },
    { logits: ln(0.4, 0.2, 0.4), options: {}, want: [1, 0, 0], why: 'greedy, the lowest of equal ones' },
    {
      logits: ln(0.1, 0.2, 0.4),
      options: { temperature: 0.5 },
      want: [0.0476, 0.1905, 0.7619],
      why: 'squares',
    },
    {
      logits: ln(0.1, 0.6, 0.3),
      options: { temperature: 1, topK: 2 },
      want: [0, 0.6667, 0.3333],
      why: 'top-k',
    },
    {
      logits: ln(0.2, 0.4, 0.2, 0.2),
      options: { temperature: 1, topK: 2 },
      want: [0.2, 0.4, 0.2, 0.2],
      why: 'equals of the k-th are kept',
    },
    { logits: ln(0.2, 0.8), options: { temperature: 1, topK: 5 }, want: [0.2, 0.8], why: 'top-k of too few' },
    {
      logits: ln(0.1, 0.5, 0.25, 0.15),
      options: { temperature: 1, topP: 0.7 },
      want: [0, 0.6667, 0.3333, 0],
      why: 'top-p keeps the token that reaches p',
    },
    { logits: ln(0.6, 0.4), options: { temperature: 1, topP: 0.01 }, want: [1, 0], why: 'the first always' },
    {
      logits: ln(0.4, 0.3, 0.2, 0.1),
      options: { temperature: 1, topK: 2, topP: 0.55 },
      want: [1, 0, 0, 0],
      why: 'top-p counts what top-k keeps: 0.4 of 0.7 is enough',
    },
    {
      logits: ln(0.5, 0.3, 0.15, 0.05),
      options: { temperature: 1, minP: 0.4 },
      want: [0.625, 0.375, 0, 0],
      why: 'min-p is a share of the largest',
    },
    {
      logits: Float32Array.of(2, 1, -1, 0),
      options: { repetitionPenalty: 4 },
      history: [0, 0, 2],
      want: [0, 1, 0, 0],
      why: 'a token said twice is penalised once: 2 / 4 < 1',
    },
    {
      logits: Float32Array.of(-1, -3, -4),
      options: { repetitionPenalty: 5 },
      history: [0],
      want: [0, 1, 0],
      why: 'negative logits are multiplied',
    },
    {
      logits: Float32Array.of(NaN, 0, -Infinity, 0),
      options: { temperature: 1 },
      want: [0, 0.5, 0, 0.5],
      why: 'NaN and -inf are never drawn',
    },
    { logits: Float32Array.of(5, Infinity, 9), options: { temperature: 2 }, want: [0, 1, 0], why: '+inf' },
  ])('$why', ({ logits, options, history, want }) => {
    expect(kept(logits, options, history)).toEqual(want);
  });
});

describe('draws', () => {
  const logits = ln(0.4, 0.25, 0.2, 0.1, 0.04, 0.009, 0.001);

  test.each<{ options: SamplingOptions; why: string }>([
    { options: { temperature: 1 }, why: 'the distribution as it is' },
    { options: { temperature: 0.7, topK: 4, seed: 7 }, why: 'a colder one of four tokens' },
    { options: { temperature: 1.5, topP: 0.9, minP: 0.05, seed: 2 ** 32 - 1 }, why: 'a warmer one' },
  ])('follow the probabilities: $why', ({ options }) => {
    const sampling = checkSampling(options);
    const counts = new Uint32Array(logits.length);
    for (let position = 0; position < 40_000; position++)
      counts[sampleReference({ logits, sampling, position, history: [] }).token]! += 1;
    const probabilities = samplingProbabilities({ logits, sampling, position: 0, history: [] });
    expect(chiSquareOf(counts, probabilities)).toBeLessThan(chiSquareBound(probabilities));
  });

  test('of neighbouring seeds and positions do not depend on each other', () => {
    const even = ln(0.25, 0.25, 0.25, 0.25);
    const draw = (seed: number, position: number): number =>
      sampleReference({
        logits: even,
        sampling: checkSampling({ temperature: 1, seed }),
        position,
        history: [],
      }).token;
    const pairs = {
      positions: new Uint32Array(16),
      seeds: new Uint32Array(16),
      swapped: new Uint32Array(16),
    };
    for (let i = 0; i < 20_000; i++) {
      pairs.positions[4 * draw(5, i) + draw(5, i + 1)]! += 1;
      pairs.seeds[4 * draw(i, 9) + draw(i + 1, 9)]! += 1;
      pairs.swapped[4 * draw(i, 2 * i + 1) + draw(2 * i + 1, i)]! += 1;
    }
    const uniform = new Float64Array(16).fill(1 / 16);
    for (const counts of Object.values(pairs))
      expect(chiSquareOf(counts, uniform)).toBeLessThan(chiSquareBound(uniform));
  });

  test('without any token that can be drawn give token 0, of no probability', () => {
    for (const temperature of [0, 1]) {
      const sampling = checkSampling({ temperature, topK: 3, topP: 0.5, minP: 0.1 });
      const all = Float32Array.of(-Infinity, NaN, -Infinity);
      expect(sampleReference({ logits: all, sampling, position: 0, history: [] })).toMatchObject({
        token: 0,
        logProb: -Infinity,
      });
    }
  });
});

describe('options', () => {
  test('have defaults: the most likely token', () => {
    expect(checkSampling({ topK: undefined, minP: 0.1 })).toEqual({
      temperature: 0,
      topK: 0,
      topP: 1,
      minP: 0.1,
      repetitionPenalty: 1,
      seed: 0,
    });
  });

  test('out of range are refused in one sentence', () => {
    const refusals = (
      [
        { temperature: -1 },
        { topK: 1.5 },
        { topP: 0 },
        { minP: 2 },
        { repetitionPenalty: 0 },
        { seed: -1 },
        { temperature: Number.NaN },
        JSON.parse('{ "topK": "40" }') as SamplingOptions,
        { top_k: 40 } as SamplingOptions,
      ] satisfies SamplingOptions[]
    ).map((options) => {
      try {
        return checkSampling(options);
      } catch (error) {
        return String(error);
      }
    });
    expect(refusals).toMatchInlineSnapshot(`
      [
        "EngineError: temperature must be 0 for the most likely token, or between 0.001 and 1000, not -1.",
        "EngineError: topK must be a count, or 0 for no limit, not 1.5.",
        "EngineError: topP must be above 0 and at most 1, where 1 is no limit, not 0.",
        "EngineError: minP must be between 0 and 1, where 0 is no limit, not 2.",
        "EngineError: repetitionPenalty must be between 0.01 and 100, where 1 is none, not 0.",
        "EngineError: seed must be a whole number between 0 and 4294967295, not -1.",
        "EngineError: temperature must be 0 for the most likely token, or between 0.001 and 1000, not NaN.",
        "EngineError: topK must be a count, or 0 for no limit, not "40".",
        "EngineError: There is no sampling option top_k, only temperature, topK, topP, minP, repetitionPenalty, seed.",
      ]
    `);
  });
});
