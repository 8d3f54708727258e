import { bytesPerElement, type FloatDType } from '../core/dtype.js';
import { bytesPerToken, checkDType } from './kvCache.js';
import {
  checkAttention,
  checkModel,
  feedForwardWeights,
  projectionWeights,
  type AttentionShape,
  type ModelShape,
} from './modelShape.js';
import { checkModelStep, checkStep, type AttentionStep } from './step.js';
import { bytesOfWeights, checkPrecision, type WeightPrecision } from './weights.js';

export interface StoredAttention extends AttentionShape {
  /** Of q, k, v and out. */
  readonly dtype: FloatDType;
}

export interface StoredStep extends AttentionStep {
  readonly weightPrecision: WeightPrecision;
  readonly cacheDType: FloatDType;
}

/**
 * Bytes that attention cannot do without: q, k and v read once, out written once. That is
 * B·(Hq·Sq + Hkv·Sk)·(D + Dv)·bytes of an element. FlashAttention comes near it when q is short; a long prefill reads
 * k and v once for every tile of queries, mostly out of the device's caches.
 *
 * @throws PageflashError `argument`
 * @example
 * attentionBytes({ ...llama3, dtype: 'f16' }, { qLen: 1, kLen: 8192 }); // 33 570 816
 */
export function attentionBytes(shape: StoredAttention, step: AttentionStep): number {
  const { nHeads, nKvHeads, headDim, headDimV } = checkAttention('attentionBytes', shape);
  checkDType('attentionBytes', 'dtype', shape.dtype);
  const { batch, qLen, kLen } = checkStep('attentionBytes', step);
  const headsByTokens = nHeads * qLen + nKvHeads * kLen;
  return batch * headsByTokens * (headDim + headDimV) * bytesPerElement(shape.dtype);
}

/**
 * Bytes that a forward pass cannot do without: the matrices of all layers and of the output head read once, one row of
 * the embedding a new token, the KV cache of new tokens written and that of all tokens read. Activations are left out:
 * a decode step has few of them, and a prefill is not held up by them.
 *
 * @throws PageflashError `argument`
 * @example
 * forwardBytes(llama3, { qLen: 1, kLen: 8192, weightPrecision: 4.5, cacheDType: 'f16' });
 */
export function forwardBytes(model: ModelShape, step: StoredStep): number {
  const filled = checkModel('forwardBytes', model);
  const { batch, qLen, kLen } = checkModelStep('forwardBytes', step);
  const bits = checkPrecision('forwardBytes', 'weightPrecision', step.weightPrecision);
  checkDType('forwardBytes', 'cacheDType', step.cacheDType);

  const { nLayers, hiddenSize, vocabSize, outputHead } = filled;
  const tokens = batch * qLen;
  const nWeights =
    nLayers * (projectionWeights(filled) + feedForwardWeights(filled)) +
    (outputHead === 'none' ? 0 : hiddenSize * vocabSize) +
    tokens * hiddenSize;
  const cacheTokens = batch * (qLen + kLen);
  return bytesOfWeights(nWeights, bits) + cacheTokens * bytesPerToken({ ...filled, dtype: step.cacheDType });
}
