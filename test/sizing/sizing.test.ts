import { describe, expect, test } from 'vitest';
import { fitKvCache, kvBytesPerToken, kvCacheBytes, type CacheRoom } from '../../src/sizing/kvCache.js';
import {
  attentionBytes,
  attentionFlops,
  forwardBytes,
  forwardFlops,
  layerFlops,
  roofline,
} from '../../src/sizing/stepCost.js';
import type { CacheShape, LayerShape, ModelShape } from '../../src/sizing/modelShape.js';
import { parameterCounts, weightBytes } from '../../src/sizing/weights.js';
import { Random } from '../../tools/random.js';
import { refusal } from '../check/refusal.js';

const MIB = 2 ** 20;
const GIB = 2 ** 30;
const TIB = 2 ** 40;

function llama(nLayers: number, hiddenSize: number, nHeads: number, feedForwardSize: number): ModelShape {
  const headDim = hiddenSize / nHeads;
  return { nLayers, hiddenSize, nHeads, nKvHeads: nHeads, headDim, feedForwardSize, vocabSize: 32000 };
}

/** As GPT and OPT: four times as wide between two matrices, biases everywhere, learned positions. */
function gpt(
  nLayers: number,
  hiddenSize: number,
  nHeads: number,
  [vocabSize, nPositions]: [number, number],
): ModelShape {
  return {
    ...llama(nLayers, hiddenSize, nHeads, 4 * hiddenSize),
    vocabSize,
    nPositions,
    feedForwardMatrices: 2,
    biases: 'all',
    outputHead: 'tied',
  };
}

const LLAMA_7B = llama(32, 4096, 32, 11008);
const LLAMA_65B = llama(80, 8192, 64, 22016);
const LLAMA_3_8B: ModelShape = {
  nLayers: 32,
  hiddenSize: 4096,
  nHeads: 32,
  nKvHeads: 8,
  headDim: 128,
  feedForwardSize: 14336,
  vocabSize: 128256,
};
const QWEN_2_5_HALF_B: ModelShape = {
  nLayers: 24,
  hiddenSize: 896,
  nHeads: 14,
  nKvHeads: 2,
  headDim: 64,
  feedForwardSize: 4864,
  vocabSize: 151936,
  biases: 'qkv',
  outputHead: 'tied',
};
const GEMMA_2B: ModelShape = {
  nLayers: 18,
  hiddenSize: 2048,
  nHeads: 8,
  nKvHeads: 1,
  headDim: 256,
  feedForwardSize: 16384,
  vocabSize: 256000,
  outputHead: 'tied',
};
// OPT's table of positions has two rows that are never used.
const OPT_125M = gpt(12, 768, 12, [50272, 2050]);
const OPT_175B = gpt(96, 12288, 96, [50272, 2050]);
const GPT_2 = gpt(12, 768, 12, [50257, 1024]);
const GPT_3 = gpt(96, 12288, 96, [50257, 2048]);

/** With a feed-forward network of two matrices and four times the width, as formulas in H alone assume. */
function layerOf(hiddenSize: number, nHeads: number): LayerShape {
  return { ...llama(1, hiddenSize, nHeads, 4 * hiddenSize), feedForwardMatrices: 2 };
}

const A100 = { flopsPerSecond: 312e12, bytesPerSecond: 1.5e12 };

describe('parameterCounts', () => {
  test.each([
    { name: 'LLaMA-7B', model: LLAMA_7B, millions: '6607.34' },
    { name: 'LLaMA-65B', model: LLAMA_65B, millions: '65023.52' },
  ])('$name has $millions M in embedding and layers', ({ model, millions }) => {
    const { total, outputHead } = parameterCounts(model);
    expect(((total - outputHead) / 1e6).toFixed(2)).toBe(millions);
    expect(parameterCounts({ ...model, outputHead: 'none' }).total).toBe(total - outputHead);
  });

  // What the checkpoints hold, tied matrices once.
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

  test('the largest matrix is what a binding must hold', () => {
    expect(2 * parameterCounts(LLAMA_3_8B).largestMatrix).toBe(1002 * MIB);
    expect(parameterCounts({ ...LLAMA_7B, vocabSize: 100 }).largestMatrix).toBe(4096 * 11008);
    expect(parameterCounts({ ...OPT_125M, vocabSize: 10 }).largestMatrix).toBe(768 * 3072);
    expect(parameterCounts({ ...LLAMA_7B, headDimV: 1024 }).largestMatrix).toBe(4096 * 32768);
  });

  test('values of another head size than keys', () => {
    const { attention } = parameterCounts({ ...LLAMA_3_8B, headDimV: 64 });
    expect(attention).toBe(32 * 4096 * (32 * 128 + 8 * 128 + 8 * 64 + 32 * 64));
  });

  test('biases of a gated feed-forward network', () => {
    const withBiases = parameterCounts({ ...LLAMA_7B, biases: 'all' });
    expect(withBiases.feedForward - parameterCounts(LLAMA_7B).feedForward).toBe(32 * (2 * 11008 + 4096));
  });

  test('names what is wrong', () => {
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
        "argument: parameterCounts: vocabSize must be a whole number ≥ 1, not '128256'.",
        "argument: parameterCounts: vocabSize must be a whole number ≥ 1, not 128256n.",
        "argument: parameterCounts: nPositions must be a whole number ≥ 0, not -5.",
        "argument: parameterCounts: biases must be 'none', 'qkv' or 'all', not true.",
        "argument: parameterCounts: outputHead must be 'own', 'tied' or 'none', not 'shared'.",
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

  test('names what is wrong', () => {
    expect([
      refusal(() => weightBytes(1.5, 'f16')),
      refusal(() => weightBytes(1, 'q4' as 'f16')),
      refusal(() => weightBytes(1, 0)),
      refusal(() => weightBytes(1, Infinity)),
    ]).toMatchInlineSnapshot(`
      [
        "argument: weightBytes: nWeights must be a whole number ≥ 0, not 1.5.",
        "argument: weightBytes: precision must be 'f32', 'f16', 'bf16' or a number of bits > 0, not 'q4'.",
        "argument: weightBytes: precision must be 'f32', 'f16', 'bf16' or a number of bits > 0, not 0.",
        "argument: weightBytes: precision must be 'f32', 'f16', 'bf16' or a number of bits > 0, not Infinity.",
      ]
    `);
  });
});

describe('the KV cache', () => {
  test.each([
    { name: 'LLaMA-7B', model: LLAMA_7B, dtype: 'f16', bytes: 512 * 1024, why: 'MHA' },
    { name: 'LLaMA-7B', model: LLAMA_7B, dtype: 'f32', bytes: 1024 * 1024, why: 'MHA' },
    {
      name: 'OPT-13B',
      model: gpt(40, 5120, 40, [50272, 2050]),
      dtype: 'f16',
      bytes: 800 * 1024,
      why: 'MHA, as the vLLM paper has it',
    },
    { name: 'Llama-3-8B', model: LLAMA_3_8B, dtype: 'f16', bytes: 131_072, why: 'GQA' },
    { name: 'Llama-3-8B', model: LLAMA_3_8B, dtype: 'bf16', bytes: 131_072, why: 'GQA' },
    { name: 'Gemma-2B', model: GEMMA_2B, dtype: 'bf16', bytes: 18_432, why: 'MQA' },
  ] as const)('of $name takes $bytes bytes a token in $dtype: $why', ({ model, dtype, bytes }) => {
    expect(kvBytesPerToken({ ...model, dtype })).toBe(bytes);
  });

  test('keys and values of different head sizes', () => {
    const cache = { nLayers: 3, nKvHeads: 2, headDim: 192, headDimV: 128, dtype: 'f16' } as const;
    expect(kvBytesPerToken(cache)).toBe(3 * 2 * (192 + 128) * 2);
  });

  test('of OPT-175B with 512 sequences of 512 + 32 tokens takes 1.2 TiB, 3.8 times its weights', () => {
    const bytes = kvCacheBytes(
      { ...OPT_175B, dtype: 'f16' },
      { nSequences: 512, tokensPerSequence: 512 + 32 },
    );
    expect(bytes).toBe(1_314_259_992_576);
    expect((bytes / TIB).toFixed(1)).toBe('1.2');
    const { attention, feedForward } = parameterCounts(OPT_175B);
    expect((bytes / weightBytes(attention + feedForward, 'f16')).toFixed(1)).toBe('3.8');
  });

  test.each([
    { tokensPerSequence: 100, pageSize: 1, tokens: 100 },
    { tokensPerSequence: 100, pageSize: 16, tokens: 112 },
    { tokensPerSequence: 112, pageSize: 16, tokens: 112 },
    { tokensPerSequence: 1, pageSize: 256, tokens: 256 },
    { tokensPerSequence: 0, pageSize: 256, tokens: 0 },
  ])('$tokensPerSequence tokens in pages of $pageSize take $tokens', ({ tokens, ...load }) => {
    const cache = { ...LLAMA_3_8B, dtype: 'f16' } as const;
    expect(kvCacheBytes(cache, load)).toBe(131_072 * tokens);
    expect(kvCacheBytes(cache, { ...load, nSequences: 4 })).toBe(4 * 131_072 * tokens);
  });

  test('names what is wrong', () => {
    const cache: CacheShape = { ...LLAMA_3_8B, dtype: 'f16' };
    expect([
      refusal(() => kvBytesPerToken({ ...cache, nKvHeads: 0 })),
      refusal(() => kvBytesPerToken({ ...LLAMA_3_8B } as unknown as CacheShape)),
      refusal(() => kvBytesPerToken({ ...cache, dtype: 'i32' as 'f16' })),
      refusal(() => kvCacheBytes(cache, { tokensPerSequence: -1 })),
      refusal(() => kvCacheBytes(cache, { tokensPerSequence: 1, pageSize: 0 })),
      refusal(() => kvCacheBytes(cache, { tokensPerSequence: 1, pagesize: 16 } as never)),
      refusal(() => kvCacheBytes(cache, 8192 as unknown as { tokensPerSequence: number })),
    ]).toMatchInlineSnapshot(`
      [
        "argument: kvBytesPerToken: nKvHeads must be a whole number ≥ 1, not 0.",
        "argument: kvBytesPerToken: dtype must be 'f32', 'f16' or 'bf16', not undefined.",
        "argument: kvBytesPerToken: dtype must be 'f32', 'f16' or 'bf16', not 'i32'.",
        "argument: kvCacheBytes: tokensPerSequence must be a whole number ≥ 0, not -1.",
        "argument: kvCacheBytes: pageSize must be a whole number ≥ 1, not 0.",
        "argument: kvCacheBytes: load cannot have 'pagesize'. It has nSequences, tokensPerSequence, pageSize.",
        "argument: kvCacheBytes: load must be an object, not 8192.",
      ]
    `);
  });
});

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

  test('names what is wrong', () => {
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
        "argument: attentionFlops: shape cannot have 'nKVHeads'. It has nLayers, hiddenSize, nHeads, nKvHeads, headDim, headDimV, feedForwardSize, feedForwardMatrices, vocabSize, nPositions, biases, outputHead, dtype.",
        "argument: attentionFlops: step cannot have 'causual'. It has batch, qLen, kLen, causal, logitsPerSequence, weightPrecision, cacheDType.",
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

  test('names what is wrong', () => {
    const step = { qLen: 1, weightPrecision: 4.5, cacheDType: 'f16' } as const;
    expect([
      refusal(() => attentionBytes({ ...LLAMA_7B, dtype: 'f64' as 'f32' }, step)),
      refusal(() => forwardBytes(LLAMA_7B, { ...step, weightPrecision: -4 })),
      refusal(() => forwardBytes(LLAMA_7B, { ...step, cacheDType: 'u32' as 'f32' })),
      refusal(() => forwardBytes(LLAMA_7B, { ...step, qLen: 2, kLen: 1 })),
    ]).toMatchInlineSnapshot(`
      [
        "argument: attentionBytes: dtype must be 'f32', 'f16' or 'bf16', not 'f64'.",
        "argument: forwardBytes: weightPrecision must be 'f32', 'f16', 'bf16' or a number of bits > 0, not -4.",
        "argument: forwardBytes: cacheDType must be 'f32', 'f16' or 'bf16', not 'u32'.",
        "argument: forwardBytes: kLen counts the new tokens too, so it must be at least qLen = 2, not 1.",
      ]
    `);
  });
});

describe('roofline', () => {
  test('an A100 does 208 operations a byte', () => {
    expect(roofline({ flops: 1, bytes: 1 }, A100).ridgeFlopsPerByte).toBe(208);
  });

  // Two operations and two bytes for each f16 weight: a batch does as many operations a byte as it has tokens.
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

  test('time is that of the slower side', () => {
    const device = { flopsPerSecond: 10, bytesPerSecond: 5 };
    expect(roofline({ flops: 20, bytes: 40 }, device).seconds).toBe(8);
    expect(roofline({ flops: 90, bytes: 40 }, device).seconds).toBe(9);
  });

  test('one sequence of Llama 3 8B, 4.5 bits a weight, decodes 75 tokens a second on an M2 Max at best', () => {
    const step = { qLen: 1, kLen: 8192 };
    const bytes = forwardBytes(LLAMA_3_8B, { ...step, weightPrecision: 4.5, cacheDType: 'f16' });
    const { total: flops } = forwardFlops(LLAMA_3_8B, step);
    const m2Max = { flopsPerSecond: 13.6e12, bytesPerSecond: 400e9 };
    const { bound, seconds } = roofline({ flops, bytes }, m2Max);
    expect(bound).toBe('memory');
    expect(Math.floor(1 / seconds)).toBe(75);
  });

  test('names what is wrong', () => {
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
        "argument: roofline: cost cannot have 'second'. It has flops, bytes.",
        "argument: roofline: bytesPerSecond must be a finite number > 0, not NaN.",
        "argument: roofline: device must be an object, not undefined.",
      ]
    `);
  });
});

describe('fitKvCache', () => {
  /** What WebGPU allows on every device. */
  const defaultLimits = { maxBufferSize: 256 * MIB, maxStorageBufferBindingSize: 128 * MIB };
  const llama3: CacheShape = { ...LLAMA_3_8B, dtype: 'f16' };

  test('Llama 3 8B in 2 GiB', () => {
    const room = { budgetBytes: 2 * GIB, limits: defaultLimits, tokensPerSequence: 4096 };
    expect(fitKvCache(llama3, room)).toMatchInlineSnapshot(`
      {
        "bytes": 2147483648,
        "keyBufferBytes": 33554432,
        "limitedBy": "budgetBytes",
        "nBuffers": 64,
        "nPages": 256,
        "nSequences": 4,
        "pageSize": 64,
        "tokens": 16384,
        "valueBufferBytes": 33554432,
      }
    `);
  });

  test.each([
    {
      cache: { ...LLAMA_7B, dtype: 'f32' },
      room: { budgetBytes: 16 * GIB, limits: defaultLimits },
      tokens: 8192,
      limitedBy: 'maxStorageBufferBindingSize',
      why: '16 KiB a token and layer, 128 MiB a binding',
    },
    {
      cache: { ...LLAMA_3_8B, headDimV: 512, dtype: 'f16' },
      room: { budgetBytes: 64 * GIB, limits: defaultLimits },
      tokens: 16384,
      limitedBy: 'maxStorageBufferBindingSize',
      why: 'values are larger than keys',
    },
    {
      cache: llama3,
      room: {
        budgetBytes: 64 * GIB,
        limits: { maxBufferSize: 64 * MIB, maxStorageBufferBindingSize: 128 * MIB },
      },
      tokens: 32768,
      limitedBy: 'maxBufferSize',
      why: 'a buffer smaller than a binding',
    },
    {
      cache: llama3,
      room: { budgetBytes: 2 ** 50 },
      tokens: 2 ** 32 / 1024,
      limitedBy: 'indices',
      why: 'more elements than 32 bits count',
    },
    {
      cache: llama3,
      room: { budgetBytes: 131_072 * 64 - 0.5, pageSize: 64 },
      tokens: 0,
      limitedBy: 'budgetBytes',
      why: 'half a byte too few for a page',
    },
    {
      cache: llama3,
      room: { budgetBytes: 131_072 * 64, pageSize: 64 },
      tokens: 64,
      limitedBy: 'budgetBytes',
      why: 'a page',
    },
    { cache: llama3, room: { budgetBytes: 0 }, tokens: 0, limitedBy: 'budgetBytes', why: 'no budget' },
    {
      cache: llama3,
      room: { budgetBytes: GIB, limits: { maxBufferSize: 1000, maxStorageBufferBindingSize: 1000 } },
      tokens: 0,
      limitedBy: 'maxStorageBufferBindingSize',
      why: 'no page fits a binding',
    },
  ] as const)('$tokens tokens, limited by $limitedBy: $why', ({ cache, room, tokens, limitedBy }) => {
    expect(fitKvCache(cache, room)).toMatchObject({ tokens, limitedBy });
  });

  test.each([
    { tokensPerSequence: undefined, pageSize: 32, why: 'a usual conversation' },
    { tokensPerSequence: 1, pageSize: 16, why: 'nothing shorter than 16' },
    { tokensPerSequence: 511, pageSize: 16, why: 'half of 32 would be more than a 32nd' },
    { tokensPerSequence: 512, pageSize: 32, why: 'half of 32 is a 32nd' },
    { tokensPerSequence: 1023, pageSize: 32, why: 'half of 64 would be more' },
    { tokensPerSequence: 1024, pageSize: 64, why: 'half of 64 is a 32nd' },
    { tokensPerSequence: 131072, pageSize: 64, why: 'nothing longer than 64' },
  ])(
    'sequences of $tokensPerSequence tokens get pages of $pageSize: $why',
    ({ pageSize, tokensPerSequence }) => {
      expect(fitKvCache(llama3, { budgetBytes: GIB, tokensPerSequence }).pageSize).toBe(pageSize);
    },
  );

  test('nothing that fits is no error', () => {
    const fit = fitKvCache(llama3, { budgetBytes: 1000 });
    expect(fit).toMatchObject({ nPages: 0, nSequences: 0, bytes: 0, keyBufferBytes: 0, valueBufferBytes: 0 });
  });

  test('a sequence takes whole pages', () => {
    const fit = (tokensPerSequence: number) =>
      fitKvCache(llama3, { budgetBytes: 131_072 * 100, pageSize: 10, tokensPerSequence }).nSequences;
    expect([1, 10, 11, 100, 101].map(fit)).toEqual([10, 10, 5, 1, 0]);
  });

  test('an odd number of halves is a buffer of whole words, within the budget', () => {
    const cache = { nLayers: 1, nKvHeads: 1, headDim: 1, dtype: 'f16' } as const;
    const nPages = (budgetBytes: number) => fitKvCache(cache, { budgetBytes, pageSize: 1 }).nPages;
    expect([3, 4, 7, 8, 12, 15, 16].map(nPages)).toEqual([0, 0, 0, 2, 2, 2, 4]);
    const limits = { maxBufferSize: 6, maxStorageBufferBindingSize: 100 };
    expect(fitKvCache(cache, { budgetBytes: 1000, limits, pageSize: 1 })).toMatchObject({
      nPages: 2,
      keyBufferBytes: 4,
    });
  });

  test('keeps every limit, and one more page would not', () => {
    const random = new Random(6);
    for (let round = 0; round < 500; round++) {
      const nKvHeads = random.int(1, 9);
      const cache: CacheShape = {
        nLayers: random.int(1, 40),
        nKvHeads,
        headDim: random.int(1, 257),
        headDimV: random.int(1, 257),
        dtype: random.pick(['f32', 'f16', 'bf16'] as const),
      };
      const limits = {
        maxBufferSize: random.int(1, 2 ** 28),
        maxStorageBufferBindingSize: random.int(1, 2 ** 28),
      };
      const room = {
        budgetBytes: random.uniform(0, 2 ** 34),
        limits,
        tokensPerSequence: random.int(1, 5000),
      };
      const fit = fitKvCache(cache, { ...room, ...(random.boolean() && { pageSize: random.int(1, 300) }) });

      const keeps = (nPages: number): boolean => {
        const buffer = (headDim: number): number =>
          Math.ceil((nPages * fit.pageSize * nKvHeads * headDim * (cache.dtype === 'f32' ? 4 : 2)) / 4) * 4;
        const [keys, values] = [buffer(cache.headDim), buffer(cache.headDimV!)];
        return (
          Math.max(keys, values) <= Math.min(limits.maxBufferSize, limits.maxStorageBufferBindingSize) &&
          cache.nLayers * (keys + values) <= room.budgetBytes
        );
      };
      const what = JSON.stringify({ cache, room, fit });
      expect(keeps(fit.nPages), what).toBe(true);
      expect(keeps(fit.nPages + 1), what).toBe(false);
      expect(fit.bytes, what).toBe(cache.nLayers * (fit.keyBufferBytes + fit.valueBufferBytes));
      expect(fit.tokens, what).toBe(fit.nPages * fit.pageSize);
    }
  });

  test('takes the limits of a device as they are', () => {
    const toRoom = (device: GPUDevice): CacheRoom => ({ budgetBytes: GIB, limits: device.limits });
    const device = { limits: defaultLimits } as unknown as GPUDevice;
    expect(fitKvCache(llama3, toRoom(device)).tokens).toBe(8192);
  });

  test('names what is wrong', () => {
    const message = (change: object) => refusal(() => fitKvCache(llama3, { budgetBytes: GIB, ...change }));
    expect([
      message({ budgetBytes: -1 }),
      message({ budgetBytes: undefined }),
      message({ limits: null }),
      message({ limits: { maxBufferSize: GIB } }),
      message({ tokensPerSequence: 0 }),
      message({ pageSize: 2.5 }),
      message({ tokensPerSeq: 4 }),
      refusal(() => fitKvCache({ ...llama3, headDim: -128 }, { budgetBytes: GIB })),
    ]).toMatchInlineSnapshot(`
      [
        "argument: fitKvCache: budgetBytes must be a finite number ≥ 0, not -1.",
        "argument: fitKvCache: budgetBytes must be a finite number ≥ 0, not undefined.",
        "argument: fitKvCache: limits must be an object, not null.",
        "argument: fitKvCache: maxStorageBufferBindingSize must be a whole number ≥ 1, not undefined.",
        "argument: fitKvCache: tokensPerSequence must be a whole number ≥ 1, not 0.",
        "argument: fitKvCache: pageSize must be a whole number ≥ 1, not 2.5.",
        "argument: fitKvCache: room cannot have 'tokensPerSeq'. It has budgetBytes, limits, tokensPerSequence, pageSize.",
        "argument: fitKvCache: headDim must be a whole number ≥ 1, not -128.",
      ]
    `);
  });
});
