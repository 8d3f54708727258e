import { describe, expect, test } from 'vitest';
import type { ModelShape } from '../../src/sizing/modelShape.js';
import { parameterCounts, weightBytes } from '../../src/sizing/weights.js';
import { refusal } from '../check/refusal.js';
import {
  GIB,
  GEMMA_2B,
  GPT_2,
  llama,
  LLAMA_3_8B,
  LLAMA_65B,
  LLAMA_7B,
  MIB,
  OPT_125M,
  OPT_175B,
  QWEN_2_5_HALF_B,
} from './models.js';

describe('parameterCounts', () => {
  test.each([
    { name: 'LLaMA-7B', model: LLAMA_7B, millions: '6607.34' },
    { name: 'LLaMA-65B', model: LLAMA_65B, millions: '65023.52' },
  ])('$name has $millions M in embedding and layers', ({ model, millions }) => {
    const { total, outputHead } = parameterCounts(model);
    expect(((total - outputHead) / 1e6).toFixed(2)).toBe(millions);
    expect(parameterCounts({ ...model, outputHead: 'none' }).total).toBe(total - outputHead);
  });

  // The parameters of the checkpoints, with tied matrices counted once.
  test.each([
    { name: 'LLaMA-7B', model: LLAMA_7B, total: 6_738_415_616, why: 'an output head of its own' },
    { name: 'LLaMA-13B', model: llama(40, 5120, 40, 13824), total: 13_015_864_320, why: 'another size' },
    { name: 'Llama-3-8B', model: LLAMA_3_8B, total: 8_030_261_248, why: 'fewer kv heads' },
    { name: 'Gemma-2B', model: GEMMA_2B, total: 2_506_172_416, why: 'one kv head, tied embedding' },
    { name: 'Qwen2.5-0.5B', model: QWEN_2_5_HALF_B, total: 494_032_768, why: 'biases of q, k and v' },
    { name: 'OPT-125M', model: OPT_125M, total: 125_239_296, why: 'two matrices, biases everywhere' },
    { name: 'GPT-2', model: GPT_2, total: 124_439_808, why: 'learned positions' },
  ])('$name has $total: $why', ({ model, total }) => {
    const counts = parameterCounts(model);
    expect(counts.total).toBe(total);
    const { embedding, attention, feedForward, norms, outputHead } = counts;
    expect(embedding + attention + feedForward + norms + outputHead).toBe(total);
  });

  test('the largest matrix is what one binding must hold', () => {
    expect(2 * parameterCounts(LLAMA_3_8B).largestMatrix).toBe(1002 * MIB);
    expect(parameterCounts({ ...LLAMA_7B, vocabSize: 100 }).largestMatrix).toBe(4096 * 11008);
    expect(parameterCounts({ ...OPT_125M, vocabSize: 10 }).largestMatrix).toBe(768 * 3072);
    expect(parameterCounts({ ...LLAMA_7B, headDimV: 1024 }).largestMatrix).toBe(4096 * 32768);
  });

  test('values with another head size than keys', () => {
    const { attention } = parameterCounts({ ...LLAMA_3_8B, headDimV: 64 });
    expect(attention).toBe(32 * 4096 * (32 * 128 + 8 * 128 + 8 * 64 + 32 * 64));
  });

  test('biases of a gated feed-forward network', () => {
    const withBiases = parameterCounts({ ...LLAMA_7B, biases: 'all' });
    expect(withBiases.feedForward - parameterCounts(LLAMA_7B).feedForward).toBe(32 * (2 * 11008 + 4096));
  });

  test('refuses arguments that are wrong, by their names', () => {
    const message = (change: object) =>
      refusal(() => parameterCounts({ ...LLAMA_3_8B, ...change } as ModelShape));
    expect([
      message({ nLayers: -1 }),
      message({ hiddenSize: NaN }),
      message({ nHeads: 2.5 }),
      message({ nKvHeads: undefined }),
      message({ nKvHeads: 5 }),
      message({ headDimV: 0 }),
      message({ feedForwardMatrices: 4 }),
      message({ vocabSize: '128256' }),
      message({ vocabSize: 128256n }),
      message({ nPositions: -5 }),
      message({ biases: true }),
      message({ outputHead: 'shared' }),
      refusal(() => parameterCounts(undefined as unknown as ModelShape)),
    ]).toMatchInlineSnapshot(`
      [
        "argument: parameterCounts: nLayers must be a whole number ≥ 1, not -1.",
        "argument: parameterCounts: hiddenSize must be a whole number ≥ 1, not NaN.",
        "argument: parameterCounts: nHeads must be a whole number ≥ 1, not 2.5.",
        "argument: parameterCounts: nKvHeads must be a whole number ≥ 1, not undefined.",
        "argument: parameterCounts: nHeads must be a multiple of nKvHeads, but there are 32 and 5.",
        "argument: parameterCounts: headDimV must be a whole number ≥ 1, not 0.",
        "argument: parameterCounts: feedForwardMatrices must be 2 or 3, not 4.",
        "argument: parameterCounts: vocabSize must be a whole number ≥ 1, not "128256".",
        "argument: parameterCounts: vocabSize must be a whole number ≥ 1, not 128256n.",
        "argument: parameterCounts: nPositions must be a whole number ≥ 0, not -5.",
        "argument: parameterCounts: biases must be 'none', 'qkv' or 'all', not true.",
        "argument: parameterCounts: outputHead must be 'own', 'tied' or 'none', not "shared".",
        "argument: parameterCounts: model must be an object, not undefined.",
      ]
    `);
  });
});

describe('weightBytes', () => {
  test.each([
    { nWeights: 8_030_261_248, precision: 'f32', bytes: 32_121_044_992 },
    { nWeights: 8_030_261_248, precision: 'f16', bytes: 16_060_522_496 },
    { nWeights: 8_030_261_248, precision: 'bf16', bytes: 16_060_522_496 },
    { nWeights: 8_030_261_248, precision: 4.5, bytes: 4_517_021_952 },
    { nWeights: 3, precision: 4.5, bytes: 2 },
    { nWeights: 0, precision: 4.5, bytes: 0 },
  ] as const)('$nWeights weights of $precision', ({ nWeights, precision, bytes }) => {
    expect(weightBytes(nWeights, precision)).toBe(bytes);
  });

  test('OPT-175B has 324 GiB of f16 in its layers', () => {
    const { attention, feedForward } = parameterCounts({ ...OPT_175B, biases: 'none' });
    expect(weightBytes(attention + feedForward, 'f16')).toBe(324 * GIB);
    const withBiases = parameterCounts(OPT_175B);
    const { norms } = withBiases;
    const bytes = weightBytes(withBiases.attention + withBiases.feedForward + norms, 'f16');
    expect((bytes / GIB).toFixed(2)).toBe('324.03');
  });

  test('parts of different precision add up', () => {
    const { embedding, total } = parameterCounts(LLAMA_3_8B);
    expect(weightBytes(embedding, 'f16') + weightBytes(total - embedding, 4.5)).toBe(5_272_193_280);
  });

  test('refuses arguments that are wrong, by their names', () => {
    expect([
      refusal(() => weightBytes(1.5, 'f16')),
      refusal(() => weightBytes(1, 'q4' as 'f16')),
      refusal(() => weightBytes(1, 0)),
      refusal(() => weightBytes(1, Infinity)),
    ]).toMatchInlineSnapshot(`
      [
        "argument: weightBytes: nWeights must be a whole number ≥ 0, not 1.5.",
        "argument: weightBytes: precision must be 'f32', 'f16', 'bf16' or a number of bits > 0, not "q4".",
        "argument: weightBytes: precision must be 'f32', 'f16', 'bf16' or a number of bits > 0, not 0.",
        "argument: weightBytes: precision must be 'f32', 'f16', 'bf16' or a number of bits > 0, not Infinity.",
      ]
    `);
  });
});
