import { namesOf } from '../core/checkNames.js';
import { fail } from '../core/errors.js';
import { checkChoice, checkCounts, checkObject } from './check.js';
import type { ForwardStep } from './flops.js';
import type { Filled } from './modelShape.js';
import type { StoredStep } from './traffic.js';

/**
 * A batch of sequences of the same lengths. A prefill has qLen = kLen; a decode step qLen = 1 and kLen tokens in the
 * cache, the new one included; a chunk of a prompt, or the check of speculative tokens, lies between.
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
   * of a decode step all. Default false: all, as published formulas count.
   */
  readonly causal?: boolean | undefined;
}

/** Of a step of any kind, so that one object serves for operations and bytes. */
const STEP_NAMES = namesOf<ForwardStep & StoredStep>({
  batch: true,
  qLen: true,
  kLen: true,
  causal: true,
  logitsPerSequence: true,
  weightPrecision: true,
  cacheDType: true,
});

export function checkStep(caller: string, step: AttentionStep): Filled<AttentionStep> {
  checkObject(caller, 'step', step, STEP_NAMES);
  const { batch = 1, qLen, kLen = qLen, causal = false } = step;
  checkCounts(caller, { batch, qLen, kLen }, 0);
  checkChoice(caller, 'causal', causal, [true, false]);
  return { batch, qLen, kLen, causal };
}

/** A step of a whole model, whose new tokens join the cache before they are attended to. */
export function checkModelStep(caller: string, step: AttentionStep): Filled<AttentionStep> {
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
