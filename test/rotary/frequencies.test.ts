import { describe, test } from 'vitest';
import type { RotaryOptions } from '../../src/index.js';
import golden from '../golden/rotary.json' with { type: 'json' };
import { expectAngles } from './expectAngles.js';

test.each(golden)(
  'as transformers has it: $why',
  ({ config, maxPositions, layerType, perPosition, factor }) => {
    expectAngles({ config, maxPositions, layerType }, { perPosition, factor });
  },
);

describe('by hand, for a head of 8 and theta 16', () => {
  const plain = [1, 1 / 2, 1 / 4, 1 / 8];
  const head = { headDim: 8, theta: 16, maxPositions: 64 };
  test.each<{
    options?: Partial<RotaryOptions>;
    perPosition: readonly number[];
    factor?: number;
    why: string;
  }>([
    { perPosition: plain, why: 'nothing is scaled' },
    { options: { scaling: null }, perPosition: plain, why: 'as a config.json says nothing' },
    { options: { scaling: {} }, perPosition: plain, why: 'likewise' },
    {
      options: { scaling: { rope_type: 'default', mrope_section: [1, 1, 2] } },
      perPosition: plain,
      why: 'what does not count',
    },
    { options: { theta: undefined }, perPosition: [1, 0.1, 0.01, 0.001], why: 'the usual theta' },
    {
      options: { theta: undefined, scaling: { rope_theta: 16 } },
      perPosition: plain,
      why: 'theta of the scaling',
    },
    { options: { rotaryDim: 4 }, perPosition: [1, 1 / 4], why: 'half of the head' },
    { options: { partialRotaryFactor: 0.5 }, perPosition: [1, 1 / 4], why: 'the same' },
    {
      options: { scaling: { rope_type: 'default', partial_rotary_factor: 0.5 } },
      perPosition: [1, 1 / 4],
      why: 'the same',
    },
    {
      options: { scaling: { type: 'linear', factor: 2 } },
      perPosition: plain.map((f) => f / 2),
      why: 'twice as long',
    },
    {
      // The base is 16 · (3 · 64/32 − 2)^(8/6) = 16 · 4^(4/3).
      options: { scaling: { rope_type: 'dynamic', factor: 3 }, maxPositionEmbeddings: 32 },
      perPosition: [0, 1, 2, 3].map((t) => (16 * 4 ** (4 / 3)) ** (-t / 4)),
      why: 'a length beyond that of the model',
    },
    {
      options: { scaling: { rope_type: 'dynamic', factor: 3 }, maxPositionEmbeddings: 64 },
      perPosition: plain,
      why: 'a length of the model',
    },
    {
      options: { scaling: { rope_type: 'dynamic', alpha: 8 } },
      perPosition: [0, 1, 2, 3].map((t) => (16 * 8 ** (4 / 3)) ** (-t / 4)),
      why: 'a base that is the same for all lengths',
    },
    {
      // Pair t turns 128 / 2^t times in 256 π positions: pairs 5 and 2 are those of 4 and 32 turns. Ramp 0, 0, 0, 1/3.
      options: {
        scaling: {
          rope_type: 'yarn',
          factor: 4,
          beta_fast: 32,
          beta_slow: 4,
          original_max_position_embeddings: 256 * Math.PI,
        },
      },
      perPosition: [1, 1 / 2, 1 / 4, (1 / 8) * (2 / 3 + 1 / 12)],
      factor: 1 + 0.1 * Math.log(4),
      why: 'a ramp from the third pair on',
    },
    {
      options: { scaling: { rope_type: 'yarn', factor: 1, original_max_position_embeddings: 64 } },
      perPosition: plain,
      why: 'a factor that changes nothing',
    },
    {
      // Pair t turns 8 / 2^t times in 16 π positions.
      options: {
        scaling: {
          rope_type: 'llama3',
          factor: 8,
          low_freq_factor: 1.5,
          high_freq_factor: 4.5,
          original_max_position_embeddings: 16 * Math.PI,
        },
      },
      perPosition: [1, (1 / 2) * (1 / 6 / 8 + 5 / 6), (1 / 4) * (5 / 6 / 8 + 1 / 6), 1 / 64],
      why: 'often, twice between, seldom',
    },
    {
      options: {
        scaling: {
          type: 'su',
          short_factor: [1, 1, 1, 1],
          long_factor: [1, 2, 4, 8],
          factor: 4,
          original_max_position_embeddings: 16,
        },
      },
      perPosition: [1, 1 / 4, 1 / 16, 1 / 64],
      factor: Math.sqrt(1.5),
      why: 'longer than it was',
    },
    {
      options: {
        scaling: {
          rope_type: 'longrope',
          short_factor: [1, 1, 1, 1],
          long_factor: [1, 2, 4, 8],
          short_mscale: 1.25,
          long_mscale: 1.5,
          original_max_position_embeddings: 64,
        },
      },
      perPosition: plain,
      factor: 1.25,
      why: 'not longer; a factor for either',
    },
    {
      options: { scaling: { rope_type: 'proportional' }, partialRotaryFactor: 0.5 },
      perPosition: [1, 1 / 2, 0, 0],
      why: 'half of the pairs stand still',
    },
  ])('$why: $options', ({ options, ...angles }) => {
    expectAngles({ ...head, ...options }, angles);
  });
});
