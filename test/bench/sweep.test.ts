import { describe, expect, test } from 'vitest';
import { measureSweep } from '../../bench/sweep/measureSweep.js';
import { sweepCellName, sweepCells } from '../../bench/sweep/sweepCells.js';
import type { MeasuredSweep } from '../../bench/sweep/sweepResults.js';
import { sweepOutcome, sweepTables } from '../../bench/sweep/sweepTables.js';
import { defaultTuning } from '../../src/tuning/variations.js';
import { traitsOf } from '../plan/traits.js';
import { strictDevice } from '../runtime/strictDevice.js';

describe('cells', () => {
  const names = (options: { software: boolean; quick: boolean }) => sweepCells(options).map(sweepCellName);

  test('a GPU measures every head size, type and group, what matters most first', () => {
    const all = names({ software: false, quick: false });
    expect(all.slice(0, 7)).toMatchInlineSnapshot(`
      [
        "decode 32/8×128 f16",
        "decode 8/8×128 f16",
        "decode 64/8×128 f16",
        "decode 128/8×128 f16",
        "prefill 32/8×128 f16",
        "chunks 32/8×128 f16",
        "merge 32/8×128 f16",
      ]
    `);
    expect(all).toHaveLength(new Set(all).size);
    for (const headDim of [64, 128, 256]) {
      for (const dtype of ['f16', 'bf16', 'f32']) {
        expect(all).toContain(`prefill 32/8×${headDim} ${dtype}`);
        for (const group of [1, 4, 8, 16]) expect(all).toContain(`decode ${8 * group}/8×${headDim} ${dtype}`);
      }
    }
  });

  test('a quick run and software adapters measure few', () => {
    expect([names({ software: false, quick: true }), names({ software: true, quick: true })])
      .toMatchInlineSnapshot(`
      [
        [
          "decode 32/8×128 f16",
          "prefill 32/8×128 f16",
          "chunks 32/8×128 f16",
          "merge 32/8×128 f16",
        ],
        [
          "decode 8/2×64 f16",
          "prefill 8/2×64 f16",
          "chunks 8/2×64 f16",
          "merge 8/2×64 f16",
        ],
      ]
    `);
  });
});

const ROW: MeasuredSweep = {
  status: 'measured',
  cell: sweepCells({ software: false, quick: true })[0]!,
  exercises: [
    { name: '16 × 4096 keys', flops: 1e9, bytes: 2 ** 28 },
    { name: '1 × 2048 keys', flops: 1e7, bytes: 2 ** 23 },
  ],
  candidates: [
    { name: 'as it is', ms: [0.2, 0.02], spread: 0.02, score: 1, isFarOff: false },
    { name: 'rows 2', ms: [0.15, 0.018], spread: 0.12, score: 0.82, isFarOff: false },
    { name: 'rows 1', ms: [0.9, 0.09], spread: 0, score: 4.5, isFarOff: true },
  ],
  wrong: ['teams 4, lanes 4'],
  nLate: 1,
};

test('tables have the best candidate first, say what is doubtful, and end with what to paste', () => {
  const tile = { invocations: 128, rows: 2, keyLanes: 4 };
  const tuning = {
    ...defaultTuning(traitsOf({}), { description: 'A GPU' }),
    decode: [{ headDim: 128, headDimV: 128, kvDType: 'f16', rows: 4, tile } as const],
  };
  const [, second] = sweepCells({ software: false, quick: true });
  const failed = { status: 'failed', cell: second!, message: 'there was no time' } as const;
  expect(sweepTables({ rows: [ROW, failed], left: [second!], tuning })).toMatchInlineSnapshot(`
    "decode 32/8×128 f16
      candidate  16 × 4096 keys  GB/s  1 × 2048 keys  GB/s  over what is in use
      rows 2             150 µs  1790          18 µs   466                0.82×  spread 12 %
      as it is           200 µs  1342          20 µs   419                1.00×
      rows 1             900 µs   298          90 µs  93.2                4.50×  far off, not measured on
      WRONG: teams 4, lanes 4
      not compiled in time: 1 candidates

    prefill 32/8×128 f16: FAILED: there was no time

    No time was left for prefill 32/8×128 f16.

    // A GPU
    {
      rates: { macsPerSecond: 4.00e11, bytesPerSecond: 2.00e10 },
      chunks: { workgroups: 512, minKeys: 256 },
      merge: { stepParts: 4, partLanes: 16 },
      prefill: [
      ],
      decode: [
        { headDim: 128, headDimV: 128, kvDType: 'f16', rows: 4, tile: { invocations: 128, rows: 2, keyLanes: 4 } },
      ],
    }"
  `);
  expect([ROW, failed, null].map(sweepOutcome)).toMatchInlineSnapshot(`
    [
      "rows 2 150 µs, 18 µs (0.82× of 3)",
      "FAILED: there was no time",
      "no time was left to compile it",
    ]
  `);
});

test('a cell is swept on a device that does nothing, and destroys what it has made', async () => {
  const { device, live, violations } = strictDevice();
  const cell = {
    ...sweepCells({ software: true, quick: true })[0]!,
    room: { queries: 16, keys: 64 },
  };
  const { row, tuning } = await measureSweep(device, { cell, tuning: null, budgetMs: 2000 }, () => {});
  expect(row).toMatchObject({ status: 'measured', wrong: [], nLate: 0 });
  expect(tuning).toMatchObject({ format: 2 });
  expect(violations).toEqual([]);
  expect(live.size).toBe(0);
});
