import { checkModel, feedForwardWeights, projectionWeights, type ModelShape } from './modelShape.js';

/** Parameters of a model, all layers together. */
export interface ParameterCounts {
  /** Tokens, and positions where they are learned. */
  readonly embedding: number;
  /** q, k, v and o projections. */
  readonly attention: number;
  readonly feedForward: number;
  /** Two a layer and a last one. */
  readonly norms: number;
  /** 0 if the head is the embedding again, or there is none. */
  readonly outputHead: number;
  readonly total: number;
  /** Of the largest matrix alone, usually the embedding: what one binding must hold if nothing is split. */
  readonly largestMatrix: number;
}

/**
 * How many parameters a model has, and where.
 *
 * A layer has H·(Hq + Hkv)·(D + Dv) in its projections, 3·H·F (or 2·H·F) in its feed-forward network and 2·H in its
 * norms, besides biases. Further small norms, as those of Gemma 2 and Qwen 3, are not counted: they are less than one
 * parameter in 10 000.
 *
 * @throws PageflashError `argument`
 * @example
 * parameterCounts(llama3).total; // 8 030 261 248
 */
export function parameterCounts(model: ModelShape): ParameterCounts {
  const filled = checkModel('parameterCounts', model);
  const { nLayers, hiddenSize, nHeads, nKvHeads, headDim, headDimV, feedForwardSize } = filled;
  const { feedForwardMatrices, vocabSize, nPositions, biases, outputHead: head } = filled;

  const qkvBiases = biases === 'none' ? 0 : nHeads * headDim + nKvHeads * (headDim + headDimV);
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
