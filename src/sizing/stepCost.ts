import { checkAmounts, checkCounts, checkFlags, checkNames, namesOf } from '../core/checkArguments.js';
import { checkCacheFormat } from '../core/checkCacheFormat.js';
import { bytesPerElement, type FloatDType, type KvDType } from '../core/dtype.js';
import { DEFAULT_SCALE_DTYPE } from '../core/kvFormats.js';
import { fail } from '../core/errors.js';
import {
  bytesPerToken,
  checkAttention,
  checkDType,
  checkLayer,
  checkModel,
  feedForwardWeights,
  projectionWeights,
  storedElements,
  type AttentionShape,
  type Filled,
  type LayerShape,
  type ModelShape,
} from './modelShape.js';
import { bytesOfWeights, checkPrecision, type WeightPrecision } from './weights.js';

/**
 * A batch of sequences of the same lengths. A prefill has qLen = kLen. A decode step has qLen = 1, and kLen tokens in the
 * cache with the new one. A chunk of a prompt and the verification of speculative tokens lie between.
 */
export interface AttentionStep {
  /** Sequences. Default 1. */
  readonly batch?: number | undefined;
  /** New tokens of each sequence. */
  readonly qLen: number;
  /** Tokens that each sequence has after the step. Default `qLen`. */
  readonly kLen?: number | undefined;
  /**
   * Whether to count only the scores that a causal mask lets through: of a prefill half of them and half the diagonal,
   * of a decode step all. Default false: all scores, as published formulas count them.
   */
  readonly causal?: boolean | undefined;
}

/** A step of a whole model, for `forwardFlops`. */
export interface ForwardStep extends AttentionStep {
  /** New tokens of each sequence whose logits are computed. After a prompt, 1 is enough. Default `qLen`. */
  readonly logitsPerSequence?: number | undefined;
}

/** A layer's attention with the element type of its tensors, for `attentionBytes`. */
export interface StoredAttention extends AttentionShape {
  /** Element type of q, k, v and out. */
  readonly dtype: FloatDType;
}

/** A step with the types of what it reads, for `forwardBytes`. */
export interface StoredStep extends AttentionStep {
  /** Of the matrices of the model. */
  readonly weightPrecision: WeightPrecision;
  /** Of k and v in the cache; the scales of i8 and i4 are counted as f16. */
  readonly cacheDType: KvDType;
}

/** The fields of a step of any kind, so that one object serves for operations and bytes. */
const STEP_NAMES = namesOf<ForwardStep & StoredStep>({
  batch: true,
  qLen: true,
  kLen: true,
  causal: true,
  logitsPerSequence: true,
  weightPrecision: true,
  cacheDType: true,
});

function checkStep(caller: string, step: AttentionStep): Filled<AttentionStep> {
  checkNames(caller, step, STEP_NAMES, { of: 'step' });
  const { batch = 1, qLen, kLen = qLen, causal = false } = step;
  checkCounts(caller, { batch, qLen, kLen }, 0);
  checkFlags(caller, { causal });
  return { batch, qLen, kLen, causal };
}

/** Checks a step of a whole model: new tokens are in the cache before attention, so kLen counts them. */
function checkModelStep(caller: string, step: AttentionStep): Filled<AttentionStep> {
  const filled = checkStep(caller, step);
  const { qLen, kLen } = filled;
  if (kLen < qLen)
    fail(
      'argument',
      caller,
      `kLen counts the new tokens too, so it must be at least qLen = ${qLen}, not ${kLen}.`,
    );
  return filled;
}

// Names in formulas: B batch, S or Sq new tokens, Sk all tokens, H hiddenSize, Hq heads, Hkv kv heads, D headDim,
// Dv headDimV, V vocabSize.
//
// A multiplication and an addition are two operations. Only matrix products are counted: norms, rotary embeddings,
// softmax and activations are O(H) per token. Results are exact up to 2^53, since no product here is larger than the
// result. Larger ones, as of a long prefill of a large model, are rounded to one part in 10^15.

/**
 * Operations of a layer. The formulas are for the simplest shape: as many kv heads as heads, of H / Hq elements each, and
 * two feed-forward matrices of width 4·H. The counts are those of the shape that was given.
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

/** Operations of a model, the sum over all layers. */
export interface ForwardFlops extends LayerFlops {
  /** Logits: 2·B·S·H·V. */
  readonly outputHead: number;
}

/**
 * Returns the operations of attention alone, q·kᵀ and the weighted sum of v: 2·B·Hq·Sq·Sk·(D + Dv), or 4·B·S²·H where D
 * = Dv = H / Hq. This is what `attn`, `attnVarlen` and `attnWithKvCache` compute. The number of kv heads does not
 * matter.
 *
 * @throws PageflashError `argument`
 * @example
 * attentionFlops({ nHeads: 32, nKvHeads: 8, headDim: 128 }, { qLen: 2048 }); // 68 719 476 736
 */
export function attentionFlops(shape: AttentionShape, step: AttentionStep): number {
  return scoresAndValues(checkAttention('attentionFlops', shape), checkStep('attentionFlops', step));
}

/**
 * Returns the operations of one layer. Published figures for "the attention of a layer", 8·B·S·H² + 4·B·S²·H, are
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
 * Returns the operations of a forward pass: all layers, and the logits unless `outputHead` is `none`.
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

/** Returns the number of scores of one head of one sequence. */
function scoresPerHead({ qLen, kLen, causal }: Filled<AttentionStep>): number {
  if (!causal) return qLen * kLen;
  // The last query sees all keys, the one before it one less, and so on. Queries before the first key see none.
  const nRows = Math.min(qLen, kLen);
  return nRows * kLen - (nRows * (nRows - 1)) / 2;
}

/**
 * Returns the least bytes that attention moves: q, k and v read once and out written once, which is
 * B·(Hq·Sq + Hkv·Sk)·(D + Dv)·bytesPerElement; with `valuesInKeys` there are no values to read. FlashAttention comes near it when q is short. A long prefill reads k and v
 * once for every tile of queries, mostly from the device's caches.
 *
 * @throws PageflashError `argument`
 * @example
 * attentionBytes({ ...llama3, dtype: 'f16' }, { qLen: 1, kLen: 8192 }); // 33 570 816
 */
export function attentionBytes(shape: StoredAttention, step: AttentionStep): number {
  const checked = checkAttention('attentionBytes', shape);
  const { nHeads, nKvHeads, headDim, headDimV } = checked;
  checkDType('attentionBytes', 'dtype', shape.dtype);
  const { batch, qLen, kLen } = checkStep('attentionBytes', step);
  const elements = nHeads * qLen * (headDim + headDimV) + nKvHeads * kLen * storedElements(checked);
  return batch * elements * bytesPerElement(shape.dtype);
}

/**
 * Returns the least bytes that a forward pass moves: the matrices of all layers and of the output head are read once, and
 * one row of the embedding per new token; the KV cache of new tokens is written, that of all tokens is read. Activations
 * are left out: a decode step has few of them, and in a prefill they are not the bottleneck.
 *
 * @throws PageflashError `argument`
 * @example
 * forwardBytes(llama3, { qLen: 1, kLen: 8192, weightPrecision: 4.5, cacheDType: 'f16' });
 */
export function forwardBytes(model: ModelShape, step: StoredStep): number {
  const filled = checkModel('forwardBytes', model);
  const { batch, qLen, kLen } = checkModelStep('forwardBytes', step);
  const bits = checkPrecision('forwardBytes', 'weightPrecision', step.weightPrecision);
  const { cacheDType } = step;
  const { headDim, headDimV } = filled;
  checkCacheFormat('forwardBytes', { kvDType: cacheDType, headDim, headDimV }, 'cacheDType');

  const { nLayers, hiddenSize, vocabSize, outputHead } = filled;
  const tokens = batch * qLen;
  const nWeights =
    nLayers * (projectionWeights(filled) + feedForwardWeights(filled)) +
    (outputHead === 'none' ? 0 : hiddenSize * vocabSize) +
    tokens * hiddenSize;
  const cacheTokens = batch * (qLen + kLen);
  return (
    bytesOfWeights(nWeights, bits) +
    cacheTokens * bytesPerToken({ ...filled, dtype: cacheDType, scaleDType: DEFAULT_SCALE_DTYPE })
  );
}

/** What some work costs, as `attentionFlops` and `forwardFlops`, `attentionBytes` and `forwardBytes` count it. */
export interface StepCost {
  readonly flops: number;
  /** Bytes that move between memory and the processor. */
  readonly bytes: number;
}

/** The peak rates of a device. WebGPU does not report them: measure them, or look them up. */
export interface DeviceRates {
  /** For the arithmetic that is used: f16 on matrix units has another rate than f32. */
  readonly flopsPerSecond: number;
  readonly bytesPerSecond: number;
}

/** Where some work stands in the roofline model of a device. */
export interface Roofline {
  /** The arithmetic intensity of the work. */
  readonly flopsPerByte: number;
  /**
   * The intensity at which the device turns from memory bound to compute bound: 208 for an A100 (312 TFLOP/s, 1.5 TB/s).
   */
  readonly ridgeFlopsPerByte: number;
  /** The bottleneck. `memory`: fewer bytes or a larger batch help. `compute`: fewer operations help. */
  readonly bound: 'compute' | 'memory';
  /** The least time that the work can take. */
  readonly seconds: number;
}

const COST_NAMES = namesOf<StepCost>({ flops: true, bytes: true });
const RATE_NAMES = namesOf<DeviceRates>({ flopsPerSecond: true, bytesPerSecond: true });

/**
 * Returns whether some work is bound by the memory or by the arithmetic of a device, and how long it takes at best.
 *
 * @throws PageflashError `argument`
 * @example
 * const step = { qLen: 1, kLen: 8192 };
 * const bytes = forwardBytes(llama3, { ...step, weightPrecision: 4.5, cacheDType: 'f16' });
 * const { total: flops } = forwardFlops(llama3, step);
 * const m2Max = { flopsPerSecond: 13.6e12, bytesPerSecond: 400e9 };
 * roofline({ flops, bytes }, m2Max); // bound 'memory', seconds 0.0132: at best 75 tokens a second
 */
export function roofline(cost: StepCost, device: DeviceRates): Roofline {
  checkNames('roofline', cost, COST_NAMES, { of: 'cost' });
  checkNames('roofline', device, RATE_NAMES, { of: 'device' });
  const { flops, bytes } = cost;
  const { flopsPerSecond, bytesPerSecond } = device;
  checkAmounts('roofline', { flops });
  checkAmounts('roofline', { bytes, flopsPerSecond, bytesPerSecond }, { above: true });
  const computeSeconds = flops / flopsPerSecond;
  const memorySeconds = bytes / bytesPerSecond;
  return {
    flopsPerByte: flops / bytes,
    ridgeFlopsPerByte: flopsPerSecond / bytesPerSecond,
    bound: computeSeconds < memorySeconds ? 'memory' : 'compute',
    seconds: Math.max(computeSeconds, memorySeconds),
  };
}
