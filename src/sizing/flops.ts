import { checkCounts } from './check.js';
import {
  checkAttention,
  checkLayer,
  checkModel,
  feedForwardWeights,
  projectionWeights,
  type AttentionShape,
  type Filled,
  type LayerShape,
  type ModelShape,
} from './modelShape.js';
import { checkModelStep, checkStep, type AttentionStep } from './step.js';

// A multiplication and an addition are two operations. Only products of matrices are counted: norms, rotary, softmax
// and activations are O(H) a token. Up to 2^53 results are exact, since no product here is larger than the result;
// beyond, as a long prefill of a large model is, they are rounded to one part in 10^15.

/**
 * Operations of a layer. The formulas are for as many kv heads as heads, of H / Hq elements, and two feed-forward
 * matrices of 4·H; other shapes are counted by their own matrices.
 */
export interface LayerFlops {
  /** q, k, v and o: 8·B·S·H². */
  readonly projections: number;
  /** Scores and values, as `attentionFlops`: 4·B·S²·H. */
  readonly attention: number;
  /** 16·B·S·H². */
  readonly feedForward: number;
  readonly total: number;
}

/** Operations of a model, all layers together. */
export interface ForwardFlops extends LayerFlops {
  /** Logits: 2·B·S·H·V. */
  readonly outputHead: number;
}

export interface ForwardStep extends AttentionStep {
  /** New tokens of each sequence whose logits are computed: 1 is enough to go on from a prompt. Default `qLen`. */
  readonly logitsPerSequence?: number | undefined;
}

/**
 * Operations of q·kᵀ and of the weighted sum of v, which is what `attn` and its like do: 2·B·Hq·Sq·Sk·(D + Dv), or
 * 4·B·S²·H. How many kv heads there are does not matter.
 *
 * @throws PageflashError `argument`
 * @example
 * attentionFlops({ nHeads: 32, nKvHeads: 8, headDim: 128 }, { qLen: 2048 }); // 68 719 476 736
 */
export function attentionFlops(shape: AttentionShape, step: AttentionStep): number {
  return scoresAndValues(checkAttention('attentionFlops', shape), checkStep('attentionFlops', step));
}

/**
 * Operations of one layer. What is published as the attention of a layer, 8·B·S·H² + 4·B·S²·H, is
 * `projections + attention`.
 *
 * @throws PageflashError `argument`
 * @example
 * layerFlops(llama3, { qLen: 2048 }).total; // 962 072 674 304
 */
export function layerFlops(layer: LayerShape, step: AttentionStep): LayerFlops {
  return flopsOfLayers(1, checkLayer('layerFlops', layer), checkModelStep('layerFlops', step));
}

/**
 * Operations of a forward pass: all layers, and logits unless `outputHead` is `none`.
 *
 * @throws PageflashError `argument`
 * @example
 * forwardFlops(llama3, { qLen: 2048, causal: true, logitsPerSequence: 1 }).total; // a prompt
 * forwardFlops(llama3, { batch: 16, qLen: 1, kLen: 2048 }).total; // a decode step of 16 sequences
 */
export function forwardFlops(model: ModelShape, step: ForwardStep): ForwardFlops {
  const filled = checkModel('forwardFlops', model);
  const checked = checkModelStep('forwardFlops', step);
  const { logitsPerSequence = checked.qLen } = step;
  checkCounts('forwardFlops', { logitsPerSequence }, 0);
  const { nLayers, hiddenSize, vocabSize } = filled;
  const layers = flopsOfLayers(nLayers, filled, checked);
  const nLogits = filled.outputHead === 'none' ? 0 : checked.batch * logitsPerSequence;
  const outputHead = 2 * nLogits * hiddenSize * vocabSize;
  return { ...layers, outputHead, total: layers.total + outputHead };
}

function flopsOfLayers(nLayers: number, layer: Filled<LayerShape>, step: Filled<AttentionStep>): LayerFlops {
  const tokens = step.batch * step.qLen;
  const projections = nLayers * 2 * tokens * projectionWeights(layer);
  const attention = nLayers * scoresAndValues(layer, step);
  const feedForward = nLayers * 2 * tokens * feedForwardWeights(layer);
  return { projections, attention, feedForward, total: projections + attention + feedForward };
}

function scoresAndValues(
  { nHeads, headDim, headDimV }: Filled<AttentionShape>,
  step: Filled<AttentionStep>,
): number {
  return 2 * step.batch * nHeads * scoresPerHead(step) * (headDim + headDimV);
}

/** Scores of one head of one sequence. */
function scoresPerHead({ qLen, kLen, causal }: Filled<AttentionStep>): number {
  if (!causal) return qLen * kLen;
  // The last query sees all keys, the one before one less, and so on until none is left to see.
  const nRows = Math.min(qLen, kLen);
  return nRows * kLen - (nRows * (nRows - 1)) / 2;
}
