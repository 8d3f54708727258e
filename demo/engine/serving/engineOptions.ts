import type { FloatDType } from 'pageflash';
import { refuse } from '../engineError.js';
import type { Progress } from '../files/loadProgress.js';
import type { KernelTimes } from '../gpu/kernelTimes.js';
import type { ActivationType } from '../kernels/layer.js';
import type { SamplingOptions } from '../kernels/sampling.js';
import type { OpenModel } from '../model/openModel.js';
import type { WeightFormat } from '../model/weightFormats.js';

export interface EngineOptions {
  readonly model: OpenModel;
  /** How weights are stored on the GPU. Default: as the checkpoint has them, if config.json says it, else f16 */
  readonly weights?: WeightFormat | undefined;
  /** Of the KV cache. With f32, everything is f32; otherwise q, k and v are f16. Default f16 */
  readonly kvType?: FloatDType | undefined;
  /**
   * What frequencies of rotary embedding are rounded to, as those of a model are that PyTorch has converted as a whole, to
   * compare with such a one. Default f32: not at all
   */
  readonly rotaryType?: FloatDType | undefined;
  /** The most tokens of a sequence, prompt and answer. Default: what the model knows, at most 4096 */
  readonly context?: number | undefined;
  /** Sequences that have room at their full length. Default 4 */
  readonly nSequences?: number | undefined;
  /** The most tokens of a step. Default 512 */
  readonly maxTokens?: number | undefined;
  /** Tokens that are proposed by prompt lookup and checked in one step; 0 (default): none */
  readonly nDrafts?: number | undefined;
  /** How a sequence gives way when the cache is full. Default `'swap'` */
  readonly preempt?: 'recompute' | 'swap' | undefined;
  /** Pages of the cache. Default: room for `nSequences` at their full length */
  readonly nPages?: number | undefined;
  /**
   * Pageflash's over pages, or naive attention to compare with: rows of a cache that are as long as the context, no more
   * than `nSequences` generations at once, no forks, and nothing that is found again. Default `'paged'`
   */
  readonly attention?: 'paged' | 'naive' | undefined;
  /** Bytes of GPU memory that the engine may take: a model that needs more is refused before it is loaded. Default: any */
  readonly budgetBytes?: number | undefined;
  /**
   * Whether to run every kernel once before the first prompt, as many drivers compile only then. Default: on GPUs, but not on
   * software adapters, which would compile for a minute what few prompts need
   */
  readonly warmUp?: boolean | undefined;
  /** Where the time of each kernel is kept, if it is measured. */
  readonly times?: KernelTimes | undefined;
  readonly onProgress?: ((progress: Progress) => void) | undefined;
  readonly signal?: AbortSignal | undefined;
}

export interface GenerateOptions {
  /** The prompt, one token at least. */
  readonly tokens: readonly number[];
  /** Default: as many as the context has room for */
  readonly maxNewTokens?: number | undefined;
  readonly sampling?: SamplingOptions | undefined;
  /** Tokens that end it. Default: those of the model */
  readonly stopIds?: Iterable<number> | undefined;
  /** Higher priorities are served first. Default 0 */
  readonly priority?: number | undefined;
}

/** How an engine runs a model: its options, with all defaults. */
export interface EngineSettings {
  readonly weights: WeightFormat;
  readonly kvType: FloatDType;
  /** Of q, k, v and what attention gives. */
  readonly qkvType: ActivationType;
  readonly rotaryType: FloatDType;
  readonly context: number;
  readonly nSequences: number;
  readonly maxTokens: number;
  /** The most rows of a step that have logits. */
  readonly maxLogits: number;
  readonly nDrafts: number;
  readonly preempt: 'recompute' | 'swap';
  readonly pageSize: number;
  readonly nPages: number;
  readonly attention: 'paged' | 'naive';
}

const PAGE_SIZE = 16;
const MOST_CONTEXT = 4096;

/**
 * Fills in the defaults.
 *
 * @throws EngineError for options that are out of range, or exclude each other
 */
export function settingsOf(options: EngineOptions): EngineSettings {
  const { name, config } = options.model;
  const { kvType = 'f16', nSequences = 4, maxTokens = 512, nDrafts = 0, preempt = 'swap' } = options;
  const { attention = 'paged' } = options;
  const context = options.context ?? Math.min(MOST_CONTEXT, config.maxPositions);
  const nPages = options.nPages ?? nSequences * Math.ceil(context / PAGE_SIZE);
  for (const [option, count] of Object.entries({ context, nSequences, maxTokens, nPages }))
    if (!(Number.isInteger(count) && count > 0))
      refuse(`${option} must be a whole number, 1 at least, not ${count}.`);
  if (!(Number.isInteger(nDrafts) && nDrafts >= 0)) refuse(`nDrafts must be a count, not ${nDrafts}.`);
  if (context > config.maxPositions)
    refuse(
      `${name} knows ${config.maxPositions} positions, but sequences are to have ${context} tokens: pass --context ${config.maxPositions} or less.`,
    );
  if (attention === 'naive' && kvType === 'bf16')
    refuse('Naive attention keeps keys and values in f32 or f16, not in bf16.');
  return {
    weights: options.weights ?? config.dtype ?? 'f16',
    kvType,
    qkvType: kvType === 'f32' ? 'f32' : 'f16',
    rotaryType: options.rotaryType ?? 'f32',
    context,
    nSequences,
    maxTokens,
    maxLogits: Math.min(maxTokens, nSequences * (1 + nDrafts)),
    nDrafts,
    preempt,
    pageSize: PAGE_SIZE,
    nPages,
    attention,
  };
}
