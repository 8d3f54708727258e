import { isDeepStrictEqual } from 'node:util';
import { expect, test } from 'vitest';
import type { DeviceTraits, MatrixConfiguration } from '../../src/core/deviceTraits.js';
import type { Tuning } from '../../src/core/tuning.js';
import { matrixDecodeCandidates, matrixPrefillCandidates } from '../../src/plan/matrixTile.js';
import {
  chooseDecodeTile,
  choosePrefillTile,
  MATRIX_DECODE_SHAPE,
  MATRIX_PREFILL_SHAPE,
  shapeOf,
} from '../../src/plan/tunedTiles.js';
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

test('a tile that was tuned gives way where heads are turned or an lse takes more room', () => {
  const i4 = { ...ARGS, qDType: 'bf16', kvDType: 'i4' } as const;
  const exact = { ...i4, lse: true };
  const kept = matrixPrefillCandidates(T2, exact);
  const large = matrixPrefillCandidates(T2, i4).find(
    (tile) => !kept.some((other) => isDeepStrictEqual(other, tile)),
  )!;
  const entry = { headDim: 128, headDimV: 128, dtype: 'bf16', kvDType: 'i4' } as const;
  const tile = shapeOf(large, MATRIX_PREFILL_SHAPE);
  const tuned = { ...T2, tuning: { ...TUNING, prefill: [{ ...entry, tile }] } };
  expect(choosePrefillTile(tuned, i4, 'test')).toEqual({ matrix: large });
  expect(choosePrefillTile(tuned, exact, 'test')).toEqual({ matrix: kept[0] });
  const turned = { ...i4, qDType: 'f32', turnedDType: 'bf16' } as const;
  expect(choosePrefillTile(tuned, turned, 'test')).toEqual(choosePrefillTile(T2, turned, 'test'));

  const decode = { ...i4, nRows: 16 } as const;
  const step = matrixDecodeCandidates(T2, decode)[0]!;
  const steps = [
    { headDim: 128, headDimV: 128, kvDType: 'i4', rows: 16, tile: shapeOf(step, MATRIX_DECODE_SHAPE) },
  ] as const;
  const byStep = { ...T2, tuning: { ...TUNING, decode: steps } };
  expect(chooseDecodeTile(byStep, decode, 'test')).toEqual({ matrix: step });
  const split = { ...decode, lse: true };
  expect(matrixDecodeCandidates(T2, split)).not.toContainEqual(step);
  expect(chooseDecodeTile(byStep, split, 'test')).toEqual(chooseDecodeTile(T2, split, 'test'));
});

test('a tile that there is not is refused', () => {
  const [entry] = TUNING.prefill;
  const tuning = { ...TUNING, prefill: [{ ...entry!, tile: { ...entry!.tile, keys: 48 } }] };
  expect(() => chosen({ ...T2, tuning })).toThrow('has a tile for headDim 128 which this version');
});

test('of other matrices than those that were tuned, the default is used', () => {
  const others = { ...T2, matrices: { ...MATRICES, N: 8 } };
  expect(chosen({ ...others, tuning: TUNING })).toEqual(chosen(others));
});
