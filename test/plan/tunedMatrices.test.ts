import { expect, test } from 'vitest';
import type { DeviceTraits, MatrixConfiguration } from '../../src/core/deviceTraits.js';
import type { Tuning } from '../../src/core/tuning.js';
import { matrixPrefillCandidates } from '../../src/plan/matrixTile.js';
import { choosePrefillTile, MATRIX_PREFILL_SHAPE, shapeOf } from '../../src/plan/tunedTiles.js';
import { defaultTuning } from '../../src/tuning/variations.js';
import { traitsOf } from './traits.js';

const MATRICES: MatrixConfiguration = {
  componentType: 'f16',
  resultComponentType: 'f32',
  M: 16,
  N: 16,
  K: 16,
};

const T1 = traitsOf({
  shaderF16: true,
  subgroupMinSize: 32,
  subgroupMaxSize: 32,
  maxWorkgroupBytes: 49152,
  maxWorkgroupInvocations: 1024,
});
const T2: DeviceTraits = { ...T1, tier: 'T2', matrices: MATRICES };

const ARGS = { headDim: 128, headDimV: 128, qDType: 'f16', kvDType: 'f16', paged: true } as const;

/** The last tile of attn_matrix, which no table has first. */
const LAST = matrixPrefillCandidates(T2, ARGS).at(-1)!;

const TUNING: Tuning = {
  ...defaultTuning(T2, undefined),
  prefill: [
    { headDim: 128, headDimV: 128, dtype: 'f16', kvDType: 'f16', tile: shapeOf(LAST, MATRIX_PREFILL_SHAPE) },
  ],
};

const chosen = (traits: DeviceTraits) => choosePrefillTile(traits, ARGS, 'test');

test('a tuned tile of attn_matrix is used with matrices, and defaults without, in any order', () => {
  expect(matrixPrefillCandidates(T2, ARGS).length).toBeGreaterThan(1);
  for (const tuning of [TUNING, { ...TUNING }]) {
    const both = [
      () => expect(chosen({ ...T2, tuning })).toEqual({ matrix: LAST }),
      () => expect(chosen({ ...T1, tuning })).toEqual(chosen(T1)),
    ];
    for (const check of tuning === TUNING ? both : both.toReversed()) check();
  }
});

test('of other matrices than those that were tuned, the default is used', () => {
  const others = { ...T2, matrices: { ...MATRICES, N: 8 } };
  expect(chosen({ ...others, tuning: TUNING })).toEqual(chosen(others));
});
