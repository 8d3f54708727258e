import { checkHeadDims, checkHeads, checkTypes } from '../check/checkModel.js';
import { checkCounts, checkFlags, checkNames, namesOf } from '../core/checkArguments.js';
import { checkCacheFormat } from '../core/checkCacheFormat.js';
import { isQuantised, type FloatDType, type KvDType } from '../core/dtype.js';
import { fail } from '../core/errors.js';
import { checkPrepareOptions } from '../runtime/runtimeOptions.js';
import { checkAttention, SHAPE_NAMES, type AttentionShape } from '../sizing/modelShape.js';
import type { TunedModel } from './benchTensors.js';

/** The attention to tune for, and how long to take. The shape of a model may be spread into it. */
export interface TuneOptions extends AttentionShape {
  /** Of q and out. */
  readonly dtype: FloatDType;
  /**
   * Of k and v, or of the cache. Default `dtype`. What is tuned for a quantised cache serves steps over a turned one
   * (`kvRotation`), too; prompts over it keep their defaults.
   */
  readonly kvDType?: KvDType | undefined;
  /** Whether keys are in pages: calls pass `blockTable`. Default true. Quantised caches are tuned in pages, for rows, too. */
  readonly paged?: boolean | undefined;
  /**
   * Milliseconds after which what was not measured yet keeps its defaults, compiling included, a whole number; 0 measures
   * nothing. Measuring alone takes under two seconds on a GPU. Default 30 000.
   */
  readonly budgetMs?: number | undefined;
  /** Called as the work goes on. */
  readonly onProgress?: ((progress: TuneProgress) => void) | undefined;
  /** Stops before the next kernel or measurement; `tune` rejects with its reason. */
  readonly signal?: AbortSignal | undefined;
}

export interface TuneProgress {
  /** How much is done, from 0 to 1. */
  readonly done: number;
  /** What is being done, such as `compiling attn_prefill`. */
  readonly step: string;
}

const NAMES = namesOf<TuneOptions>({
  nHeads: true,
  nKvHeads: true,
  headDim: true,
  headDimV: true,
  valuesInKeys: true,
  dtype: true,
  kvDType: true,
  paged: true,
  budgetMs: true,
  onProgress: true,
  signal: true,
});

const DEFAULT_BUDGET_MS = 30_000;

/** Options that were checked, with their defaults. */
export interface CheckedTuneOptions extends Pick<TuneOptions, 'onProgress' | 'signal'> {
  readonly model: TunedModel;
  readonly budgetMs: number;
}

export function checkTuneOptions(caller: string, options: TuneOptions): CheckedTuneOptions {
  checkNames(caller, options, NAMES, { alsoTaken: SHAPE_NAMES });
  const { nHeads, nKvHeads, headDim, dtype, kvDType = dtype, paged = true } = options;
  const { budgetMs = DEFAULT_BUDGET_MS, onProgress, signal } = options;
  const { headDimV, valuesInKeys } = options;
  const shape = checkAttention(caller, { nHeads, nKvHeads, headDim, headDimV, valuesInKeys });
  checkHeadDims(caller, { headDim, headDimV: shape.headDimV });
  checkHeads(caller, { nHeads });
  checkTypes(caller, { dtype });
  checkCacheFormat(caller, { kvDType, headDim, headDimV: shape.headDimV });
  checkFlags(caller, { paged });
  if (isQuantised(kvDType) && !paged)
    fail(
      'argument',
      caller,
      `paged is false, but a cache of ${kvDType} is tuned in pages, and its tiles are those of rows, too. Leave paged out.`,
    );
  checkCounts(caller, { budgetMs }, 0);
  checkPrepareOptions(caller, { onProgress: onProgress as never, signal });
  return { model: { ...shape, dtype, kvDType, paged }, budgetMs, onProgress, signal };
}
