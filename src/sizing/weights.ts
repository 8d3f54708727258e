import { checkCounts } from '../core/checkArguments.js';
import { bytesPerElement, type FloatDType } from '../core/dtype.js';
import { describe, fail } from '../core/errors.js';
import {
  checkModel,
  feedForwardWeights,
  projectionWeights,
  storedElements,
  type ModelShape,
} from './modelShape.js';

/** Parameters of a model, the sum over all layers. */
export interface ParameterCounts {
  /** Of tokens, and of positions where they are learned: (V + nPositions)·H. */
  readonly embedding: number;
  /** The q, k, v and o projections. */
  readonly attention: number;
  readonly feedForward: number;
  /** Two per layer and a last one. */
  readonly norms: number;
  /** V·H; 0 if the output head is tied to the embedding, or there is none. */
  readonly outputHead: number;
  readonly total: number;
  /** The largest matrix alone, usually the embedding: what one binding must hold if no matrix is split. */
  readonly largestMatrix: number;
}

/**
 * Returns how many parameters a model has, in total and by part.
 *
 * Per layer, without biases: H·(Hq + Hkv)·(D + Dv) in the projections, 3·H·F (or 2·H·F) in the feed-forward network and
 * 2·H in the norms, with H hiddenSize, Hq heads, Hkv kv heads, D headDim, Dv headDimV and F feedForwardSize. Further
 * small norms, such as those of Gemma 2 and Qwen 3, are not counted: they are less than one parameter in 10 000.
 *
 * @throws PageflashError `argument`
 * @example
 * parameterCounts(llama3).total; // 8 030 261 248
 */
export function parameterCounts(model: ModelShape): ParameterCounts {
  const filled = checkModel('parameterCounts', model);
  const { nLayers, hiddenSize, nHeads, nKvHeads, headDim, headDimV, feedForwardSize } = filled;
  const { feedForwardMatrices, vocabSize, nPositions, biases, outputHead: head } = filled;

  const qkvBiases = biases === 'none' ? 0 : nHeads * headDim + nKvHeads * storedElements(filled);
  const oBias = biases === 'all' ? hiddenSize : 0;
  const feedForwardBiases = biases === 'all' ? (feedForwardMatrices - 1) * feedForwardSize + hiddenSize : 0;
  const norm = biases === 'all' ? 2 * hiddenSize : hiddenSize;

  const embedding = (vocabSize + nPositions) * hiddenSize;
  const attention = nLayers * (projectionWeights(filled) + qkvBiases + oBias);
  const feedForward = nLayers * (feedForwardWeights(filled) + feedForwardBiases);
  const norms = (2 * nLayers + 1) * norm;
  const outputHead = head === 'own' ? vocabSize * hiddenSize : 0;
  const total = embedding + attention + feedForward + norms + outputHead;
  const largestMatrix =
    hiddenSize * Math.max(vocabSize, nPositions, feedForwardSize, nHeads * Math.max(headDim, headDimV));
  return { embedding, attention, feedForward, norms, outputHead, total, largestMatrix };
}

/**
 * How weights are stored: as an element type, or in bits per weight, such as 4.5 for 4 bits with an f16 scale per 32
 * weights.
 */
export type WeightPrecision = FloatDType | number;

/**
 * Returns the bytes that weights take, rounded up to whole bytes. For a file of mixed precision, add up its parts.
 *
 * @throws PageflashError `argument`
 * @example
 * const { embedding, total } = parameterCounts(llama3);
 * weightBytes(embedding, 'f16') + weightBytes(total - embedding, 4.5); // 5 272 193 280
 */
export function weightBytes(nWeights: number, precision: WeightPrecision): number {
  checkCounts('weightBytes', { nWeights }, 0);
  return bytesOfWeights(nWeights, checkPrecision('weightBytes', 'precision', precision));
}

/** Checks a precision and returns its bits per weight. */
export function checkPrecision(caller: string, name: string, precision: WeightPrecision): number {
  if (precision === 'f32' || precision === 'f16' || precision === 'bf16')
    return 8 * bytesPerElement(precision);
  if (!Number.isFinite(precision) || precision <= 0) {
    fail(
      'argument',
      caller,
      `${name} must be 'f32', 'f16', 'bf16' or a number of bits > 0, not ${describe(precision)}.`,
    );
  }
  return precision;
}

export function bytesOfWeights(nWeights: number, bits: number): number {
  return Math.ceil((nWeights * bits) / 8);
}
