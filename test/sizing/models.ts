import type { LayerShape, ModelShape } from '../../src/sizing/modelShape.js';

export const MIB = 2 ** 20;
export const GIB = 2 ** 30;
export const TIB = 2 ** 40;

export function llama(
  nLayers: number,
  hiddenSize: number,
  nHeads: number,
  feedForwardSize: number,
): ModelShape {
  const headDim = hiddenSize / nHeads;
  return { nLayers, hiddenSize, nHeads, nKvHeads: nHeads, headDim, feedForwardSize, vocabSize: 32000 };
}

/** As GPT and OPT: four times as wide between two matrices, biases everywhere, learned positions. */
export function gpt(
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

export const LLAMA_7B = llama(32, 4096, 32, 11008);
export const LLAMA_65B = llama(80, 8192, 64, 22016);
export const LLAMA_3_8B: ModelShape = {
  nLayers: 32,
  hiddenSize: 4096,
  nHeads: 32,
  nKvHeads: 8,
  headDim: 128,
  feedForwardSize: 14336,
  vocabSize: 128256,
};
export const QWEN_2_5_HALF_B: ModelShape = {
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
export const GEMMA_2B: ModelShape = {
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
export const OPT_125M = gpt(12, 768, 12, [50272, 2050]);
export const OPT_175B = gpt(96, 12288, 96, [50272, 2050]);
export const GPT_2 = gpt(12, 768, 12, [50257, 1024]);
export const GPT_3 = gpt(96, 12288, 96, [50257, 2048]);

/** With a feed-forward network of two matrices and four times the width, as formulas in H alone assume. */
export function layerOf(hiddenSize: number, nHeads: number): LayerShape {
  return { ...llama(1, hiddenSize, nHeads, 4 * hiddenSize), feedForwardMatrices: 2 };
}

export const A100 = { flopsPerSecond: 312e12, bytesPerSecond: 1.5e12 };
