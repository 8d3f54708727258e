import { describe, expect, test } from 'vitest';
import {
  attentionBytes,
  attentionFlops,
  forwardBytes,
  forwardFlops,
  layerFlops,
  roofline,
} from '../../src/sizing/stepCost.js';
import { parameterCounts, weightBytes } from '../../src/sizing/weights.js';
import { refusal } from '../check/refusal.js';
import { A100, GPT_3, layerOf, LLAMA_3_8B, LLAMA_7B } from './models.js';

describe('FLOPs', () => {
  test.each([
    { B: 1, S: 512, H: 768, nHeads: 12 },
    { B: 7, S: 2048, H: 4096, nHeads: 32 },
    { B: 2, S: 100, H: 96, nHeads: 1 },
  ])('of a layer are 8BSH² + 4BS²H + 16BSH²: B $B, S $S, H $H', ({ B, S, H, nHeads }) => {
    const flops = layerFlops(layerOf(H, nHeads), { batch: B, qLen: S });
    expect(flops.projections).toBe(8 * B * S * H ** 2);
    expect(flops.attention).toBe(4 * B * S ** 2 * H);
    expect(flops.feedForward).toBe(16 * B * S * H ** 2);
    expect(flops.total).toBe(24 * B * S * H ** 2 + 4 * B * S ** 2 * H);
  });

  test('of a layer with gated feed-forward and grouped heads: Llama 3 8B, 2048 tokens', () => {
    expect(layerFlops(LLAMA_3_8B, { qLen: 2048 })).toEqual({
      projections: 2 * 2048 * 4096 * (4096 + 1024 + 1024 + 4096),
      attention: 68_719_476_736,
      feedForward: 2 * 2048 * 3 * 4096 * 14336,
      total: 962_072_674_304,
    });
  });

  test('of a forward pass of GPT-3 are those of a training step by the Megatron-LM paper', () => {
    // There a layer is run forward twice and backward once, which costs as much again; the output head is not recomputed.
    const { nLayers: l, hiddenSize: h, vocabSize: V } = GPT_3;
    const [B, s] = [1, 2048];
    const { total, outputHead } = forwardFlops(GPT_3, { batch: B, qLen: s });
    const published = 96 * B * s * l * h ** 2 * (1 + s / (6 * h) + V / (16 * l * h));
    expect((4 * (total - outputHead) + 3 * outputHead) / published).toBeCloseTo(1, 14);
  });

  test('of a token are about two for each parameter', () => {
    const { total } = forwardFlops(LLAMA_3_8B, { qLen: 1 });
    const { embedding, norms, total: parameters } = parameterCounts(LLAMA_3_8B);
    expect(total).toBe(2 * (parameters - embedding - norms) + 32 * attentionFlops(LLAMA_3_8B, { qLen: 1 }));
  });

  test('of a decode step grow with the keys, those of projections do not', () => {
    const short = layerFlops(LLAMA_3_8B, { batch: 4, qLen: 1, kLen: 1000 });
    const long = layerFlops(LLAMA_3_8B, { batch: 4, qLen: 1, kLen: 2000 });
    expect(short.attention).toBe(4 * 4 * 1000 * 4096);
    expect(long).toEqual({
      ...short,
      attention: 2 * short.attention,
      total: short.total + short.attention,
    });
    expect(layerFlops(LLAMA_3_8B, { batch: 4, qLen: 1, kLen: 1000, causal: true })).toEqual(short);
  });

  test('of attention do not depend on kv heads, and of projections do', () => {
    const mha = layerFlops({ ...LLAMA_3_8B, nKvHeads: 32 }, { qLen: 10 });
    const gqa = layerFlops(LLAMA_3_8B, { qLen: 10 });
    expect(gqa.attention).toBe(mha.attention);
    expect(gqa.projections).toBe((mha.projections * (32 + 8)) / (32 + 32));
  });

  test.each([
    { qLen: 5, kLen: 5, scores: 15, why: 'half and half the diagonal' },
    { qLen: 1, kLen: 5, scores: 5, why: 'a decode step' },
    { qLen: 3, kLen: 5, scores: 12, why: 'a chunk of a prompt' },
    { qLen: 5, kLen: 3, scores: 6, why: 'more queries than keys' },
    { qLen: 0, kLen: 5, scores: 0, why: 'no query' },
    { qLen: 5, kLen: 0, scores: 0, why: 'no key' },
  ])('a causal mask leaves $scores scores of $qLen × $kLen: $why', ({ scores, qLen, kLen }) => {
    const step = { qLen, kLen };
    const shape = { nHeads: 6, nKvHeads: 2, headDim: 64, headDimV: 32 };
    expect(attentionFlops(shape, { ...step, batch: 2, causal: true })).toBe(2 * 2 * 6 * scores * 96);
    expect(attentionFlops(shape, { ...step, batch: 2 })).toBe(2 * 2 * 6 * step.qLen * step.kLen * 96);
  });

  test('of logits, for those tokens that need them', () => {
    const step = { batch: 3, qLen: 100 };
    const all = forwardFlops(LLAMA_3_8B, step);
    const last = forwardFlops(LLAMA_3_8B, { ...step, logitsPerSequence: 1 });
    expect(all.outputHead).toBe(2 * 300 * 4096 * 128256);
    expect(last.outputHead).toBe(2 * 3 * 4096 * 128256);
    expect(all.total - last.total).toBe(all.outputHead - last.outputHead);
    expect(forwardFlops({ ...LLAMA_3_8B, outputHead: 'tied' }, step)).toEqual(all);
    expect(forwardFlops({ ...LLAMA_3_8B, outputHead: 'none' }, step).outputHead).toBe(0);
  });

  test('are exact integers up to 2^53', () => {
    const H = 4096n;
    const [B, S] = [1n, 8191n];
    const exact = 32n * (24n * B * S * H * H + 4n * B * S * S * H);
    const model = { ...layerOf(4096, 32), nLayers: 32, vocabSize: 1, outputHead: 'none' } as const;
    const { total } = forwardFlops(model, { batch: 1, qLen: 8191 });
    expect(Number.isSafeInteger(total)).toBe(true);
    expect(BigInt(total)).toBe(exact);
  });

  test('refuses arguments that are wrong, by their names', () => {
    expect([
      refusal(() => attentionFlops({ nHeads: 14, nKvHeads: 4, headDim: 64 }, { qLen: 1 })),
      refusal(() => attentionFlops(LLAMA_7B, { qLen: NaN })),
      refusal(() => attentionFlops(LLAMA_7B, { qLen: 1, kLen: -1 })),
      refusal(() => attentionFlops(LLAMA_7B, { qLen: 1, causal: 1 as unknown as boolean })),
      refusal(() => layerFlops(LLAMA_7B, 512 as unknown as { qLen: number })),
      refusal(() => layerFlops(LLAMA_7B, { qLen: 8, kLen: 4 })),
      refusal(() => forwardFlops(LLAMA_7B, { qLen: 8, batch: 0.5 })),
      refusal(() => forwardFlops(LLAMA_7B, { qLen: 8, logitsPerSequence: -1 })),
      refusal(() => attentionFlops({ ...LLAMA_7B, nKVHeads: 8 } as never, { qLen: 1 })),
      refusal(() => attentionFlops(LLAMA_7B, { qLen: 1, causual: true } as never)),
    ]).toMatchInlineSnapshot(`
      [
        "argument: attentionFlops: nHeads must be a multiple of nKvHeads, but there are 14 and 4.",
        "argument: attentionFlops: qLen must be a whole number ≥ 0, not NaN.",
        "argument: attentionFlops: kLen must be a whole number ≥ 0, not -1.",
        "argument: attentionFlops: causal must be true or false, not 1.",
        "argument: layerFlops: step must be an object, not 512.",
        "argument: layerFlops: kLen counts the new tokens too, so it must be at least qLen = 8, not 4.",
        "argument: forwardFlops: batch must be a whole number ≥ 0, not 0.5.",
        "argument: forwardFlops: logitsPerSequence must be a whole number ≥ 0, not -1.",
        "argument: attentionFlops: there is no argument shape.nKVHeads. There are nLayers, hiddenSize, nHeads, nKvHeads, headDim, headDimV, valuesInKeys, feedForwardSize, feedForwardMatrices, vocabSize, nPositions, biases, outputHead, dtype, scaleDType.",
        "argument: attentionFlops: there is no argument step.causual. There are batch, qLen, kLen, causal, logitsPerSequence, weightPrecision, cacheDType.",
      ]
    `);
  });
});

describe('bytes moved', () => {
  test('by attention are q, k, v and out, once', () => {
    const shape = { nHeads: 32, nKvHeads: 8, headDim: 128, dtype: 'f16' } as const;
    expect(attentionBytes(shape, { qLen: 1, kLen: 8192 })).toBe(33_570_816);
    expect(attentionBytes({ ...shape, headDimV: 64, dtype: 'f32' }, { batch: 3, qLen: 10 })).toBe(
      3 * 10 * (32 * 128 + 8 * 128 + 8 * 64 + 32 * 64) * 4,
    );
  });

  test('by a decode step are all matrices, a row of the embedding, and the cache', () => {
    const { embedding, norms, total } = parameterCounts(LLAMA_3_8B);
    const precision = { weightPrecision: 'f16', cacheDType: 'f16' } as const;
    const weights = weightBytes(total - embedding - norms + 4 * 4096, 'f16');
    expect(forwardBytes(LLAMA_3_8B, { batch: 4, qLen: 1, kLen: 8192, ...precision })).toBe(
      weights + 4 * (8192 + 1) * 131_072,
    );
    const step = { batch: 4, qLen: 1, ...precision };
    expect(forwardBytes({ ...LLAMA_3_8B, outputHead: 'tied' }, step)).toBe(forwardBytes(LLAMA_3_8B, step));
    expect(forwardBytes(LLAMA_3_8B, step) - forwardBytes({ ...LLAMA_3_8B, outputHead: 'none' }, step)).toBe(
      2 * embedding,
    );
  });

  test('refuses arguments that are wrong, by their names', () => {
    const step = { qLen: 1, weightPrecision: 4.5, cacheDType: 'f16' } as const;
    expect([
      refusal(() => attentionBytes({ ...LLAMA_7B, dtype: 'f64' as 'f32' }, step)),
      refusal(() => forwardBytes(LLAMA_7B, { ...step, weightPrecision: -4 })),
      refusal(() => forwardBytes(LLAMA_7B, { ...step, cacheDType: 'u32' as 'f32' })),
      refusal(() => forwardBytes(LLAMA_7B, { ...step, qLen: 2, kLen: 1 })),
    ]).toMatchInlineSnapshot(`
      [
        "argument: attentionBytes: dtype must be 'f32', 'f16' or 'bf16', not "f64".",
        "argument: forwardBytes: weightPrecision must be 'f32', 'f16', 'bf16' or a number of bits > 0, not -4.",
        "argument: forwardBytes: cacheDType must be 'f32', 'f16', 'bf16', 'i8', 'i4' or 'e4m3', not "u32".",
        "argument: forwardBytes: kLen counts the new tokens too, so it must be at least qLen = 2, not 1.",
      ]
    `);
  });
});

describe('roofline', () => {
  test('an A100 does 208 operations per byte', () => {
    expect(roofline({ flops: 1, bytes: 1 }, A100).ridgeFlopsPerByte).toBe(208);
  });

  // Two operations and two bytes for each f16 weight: a batch does as many operations per byte as it has tokens.
  test.each([
    { batch: 1, bound: 'memory' },
    { batch: 207, bound: 'memory' },
    { batch: 208, bound: 'compute' },
    { batch: 209, bound: 'compute' },
  ])('$batch tokens through a matrix of f16 on an A100: $bound', ({ batch, bound }) => {
    const nWeights = 4096 * 11008;
    const cost = { flops: 2 * batch * nWeights, bytes: weightBytes(nWeights, 'f16') };
    expect(roofline(cost, A100)).toMatchObject({ flopsPerByte: batch, bound });
  });

  test.each([
    { name: 'a decode step', step: { qLen: 1, kLen: 2048 }, bound: 'memory' },
    { name: 'a decode step of 64', step: { batch: 64, qLen: 1, kLen: 2048 }, bound: 'memory' },
    { name: 'a prompt', step: { qLen: 2048, causal: true }, bound: 'compute' },
  ])('$name of Llama 3 8B on an A100: $bound', ({ step, bound }) => {
    const { total: flops } = forwardFlops(LLAMA_3_8B, step);
    const bytes = forwardBytes(LLAMA_3_8B, { ...step, weightPrecision: 'f16', cacheDType: 'f16' });
    expect(roofline({ flops, bytes }, A100).bound).toBe(bound);
  });

  test('the intensity of decoding attention is nearly the group of an f16 cache', () => {
    const step = { qLen: 1, kLen: 8192 };
    const flops = attentionFlops(LLAMA_3_8B, step);
    const bytes = attentionBytes({ ...LLAMA_3_8B, dtype: 'f16' }, step);
    expect(roofline({ flops, bytes }, A100).flopsPerByte).toBeCloseTo(4, 2);
  });

  test('the time is that of the slower side', () => {
    const device = { flopsPerSecond: 10, bytesPerSecond: 5 };
    expect(roofline({ flops: 20, bytes: 40 }, device).seconds).toBe(8);
    expect(roofline({ flops: 90, bytes: 40 }, device).seconds).toBe(9);
  });

  test('one sequence of Llama 3 8B, 4.5 bits per weight, decodes at most 75 tokens per second on an M2 Max', () => {
    const step = { qLen: 1, kLen: 8192 };
    const bytes = forwardBytes(LLAMA_3_8B, { ...step, weightPrecision: 4.5, cacheDType: 'f16' });
    const { total: flops } = forwardFlops(LLAMA_3_8B, step);
    const m2Max = { flopsPerSecond: 13.6e12, bytesPerSecond: 400e9 };
    const { bound, seconds } = roofline({ flops, bytes }, m2Max);
    expect(bound).toBe('memory');
    expect(Math.floor(1 / seconds)).toBe(75);
  });

  test('refuses arguments that are wrong, by their names', () => {
    expect([
      refusal(() => roofline({ flops: -1, bytes: 1 }, A100)),
      refusal(() => roofline({ flops: 1, bytes: 0 }, A100)),
      refusal(() => roofline({ flops: 1, bytes: 1, second: 2 } as never, A100)),
      refusal(() => roofline({ flops: 1, bytes: 1 }, { ...A100, bytesPerSecond: NaN })),
      refusal(() => roofline({ flops: 1, bytes: 1 }, undefined as unknown as typeof A100)),
    ]).toMatchInlineSnapshot(`
      [
        "argument: roofline: flops must be a finite number ≥ 0, not -1.",
        "argument: roofline: bytes must be a finite number > 0, not 0.",
        "argument: roofline: there is no argument cost.second. There are flops, bytes.",
        "argument: roofline: bytesPerSecond must be a finite number > 0, not NaN.",
        "argument: roofline: device must be an object, not undefined.",
      ]
    `);
  });
});
