import { checkNames, namesOf } from '../../core/checkNames.js';
import { describe } from '../../core/describe.js';
import { fail } from '../../core/errors.js';
import { checkCount, checkList, checkOneOf, checkTokens } from '../check.js';
import { checkReset, checkStart, refuseInFlight } from '../checkSequence.js';
import { Jobs, type Job } from './sequenceQueues.js';
import { PageManager, type AddOptions, type ResetOptions } from '../pageManager.js';
import type { SequenceId } from '../registry.js';
import { StepArrays, type Step } from './step.js';
import { StepChoice } from './stepChoice.js';

export interface StepPlannerOptions {
  /** The planner is the only one who adds sequences to it. */
  readonly pages: PageManager;
  /** The most tokens of a step. */
  readonly maxTokens: number;
  /** The most sequences of a step. */
  readonly maxSequences: number;
  /**
   * Who gets the tokens of a step first: `'decode'`, so that what is being written does not falter, or `'prefill'`, so
   * that answers begin early. The sequence that ranks first always gets one. Default `'decode'`
   */
  readonly prefer?: 'decode' | 'prefill';
  /**
   * How a sequence gives way when the pool is full. `'swap'` needs the `nHostPages` of the manager, and recomputes where
   * they are full. Default `'recompute'`
   */
  readonly preempt?: 'recompute' | 'swap';
  /** The share of pages that stays free when a sequence is admitted, for those who run to grow into. Default 0.01 */
  readonly watermark?: number;
}

export interface AddArgs extends AddOptions {
  /** The prompt. */
  readonly tokens: ArrayLike<number>;
  /** Higher ones are admitted first, and give way last. Default 0 */
  readonly priority?: number;
}

const NAMES = namesOf<StepPlannerOptions>({
  pages: true,
  maxTokens: true,
  maxSequences: true,
  prefer: true,
  preempt: true,
  watermark: true,
});

const ADD_NAMES = namesOf<AddArgs>({
  tokens: true,
  priority: true,
  salt: true,
  isPrivate: true,
});

/**
 * Plans steps for sequences that come and go: continuous batching with chunked prefill. A sequence that has few tokens
 * left to compute decodes; with more it prefills, in chunks of what the step has room for.
 *
 * ```ts
 * const pages = new PageManager({ nPages: cache.nPages, pageSize: cache.pageSize });
 * const planner = new StepPlanner({ pages, maxTokens: 256, maxSequences: 32 });
 * planner.add({ tokens: prompt });
 *
 * for (;;) {
 *   const step = planner.plan();
 *   if (step === 'idle') break; // or wait for the next prompt
 *   if (step === 'full') …      // no sequence fits, not even alone: finish one, or unpin pages
 *   cache.copyPages(step.copies);
 *   const logits = model.run(step); // embeds step.tokens, and calls attnWithKvCache with ...step in every layer
 *   const tokens = await sample(logits, step.sampledRows);
 *   planner.commit(tokens);
 *   step.sampled.forEach((sequence, i) => {
 *     if (tokens[i] === END) planner.finish(sequence);
 *   });
 * }
 * ```
 *
 * Drafts for speculation are `append`ed after the sampled token, and those found wrong are dropped by `commit`. For
 * parallel sampling and beams, `fork` before the token that differs and `append` another one.
 *
 * A sequence of which every token was computed once is at rest: a checkpoint that was forked to go on from later, or one
 * that was truncated. It is in no step before something is appended. Its pages are the first to be taken, to the host
 * with `preempt: 'swap'` if there is room, and then come back, or are computed again, only with what is appended.
 */
export class StepPlanner {
  readonly #pages: PageManager;
  readonly #jobs = new Jobs();
  readonly #step: StepArrays;
  readonly #choice: StepChoice;
  readonly #token = new Int32Array(1);
  #isPlanned = false;

  /** @throws PageflashError `argument` if a number is out of range, an option of the wrong kind, or unknown */
  constructor(options: StepPlannerOptions) {
    checkNames('StepPlanner', options, NAMES);
    const { pages, maxTokens, maxSequences } = options;
    const { prefer = 'decode', preempt = 'recompute', watermark = 0.01 } = options;
    if (!(pages instanceof PageManager))
      fail('argument', 'StepPlanner', `pages must be a PageManager, not ${describe(pages)}.`);
    checkCount('StepPlanner', 'maxTokens', maxTokens, 1);
    checkCount('StepPlanner', 'maxSequences', maxSequences, 1);
    if (!(typeof watermark === 'number' && watermark >= 0 && watermark < 1))
      fail(
        'argument',
        'StepPlanner',
        `watermark must be a share of the pages, at least 0 and below 1, not ${describe(watermark)}.`,
      );
    checkOneOf('StepPlanner', 'prefer', prefer, ['decode', 'prefill']);
    checkOneOf('StepPlanner', 'preempt', preempt, ['recompute', 'swap']);
    this.#pages = pages;
    this.#step = new StepArrays(pages.pageSize);
    const rules = { maxTokens, maxSequences, prefer, preempt, watermark };
    this.#choice = new StepChoice({ jobs: this.#jobs, pages, step: this.#step, rules });
  }

  /** Sequences that have pages, those at rest included. */
  get nRunning(): number {
    return this.#jobs.running.items.length;
  }

  /** Sequences that wait for pages, those in host memory included. */
  get nWaiting(): number {
    return this.#jobs.waiting.items.length;
  }

  /** Sequences at rest without pages here: they want none before something is appended. */
  get nResting(): number {
    return this.#jobs.nResting;
  }

  /** A prompt to go on with, of at least one token: there would be nothing to sample of otherwise. */
  add(args: AddArgs): SequenceId {
    const caller = 'StepPlanner.add';
    checkNames(caller, args, ADD_NAMES);
    const { tokens, priority = 0, ...options } = args;
    checkStart(caller, tokens, options);
    if (tokens.length === 0)
      fail(
        'argument',
        caller,
        'tokens must have at least one token, as an answer is sampled after the last.',
      );
    if (!Number.isFinite(priority))
      fail('argument', caller, `priority must be a finite number, not ${describe(priority)}.`);
    return this.#start(this.#pages.add(tokens, options), priority);
  }

  /** Tokens to compute besides: drafts, or what a user adds. Not while the sequence is in flight. */
  append(sequence: SequenceId, tokens: ArrayLike<number>): void {
    const job = this.#findSettled('append', sequence);
    checkTokens('StepPlanner.append', tokens);
    this.#pages.append(sequence, tokens);
    this.#jobs.settle(job);
  }

  /**
   * A sequence with the first `nTokens` of another one, by default with all, wherever its pages are. It rests if all of
   * these were computed, as does one without any. Not while that one is in flight.
   */
  fork(sequence: SequenceId, nTokens?: number): SequenceId {
    const { priority, view } = this.#findSettled('fork', sequence);
    if (nTokens !== undefined) checkCount('StepPlanner.fork', 'nTokens', nTokens, 0, view.nTokens);
    return this.#start(this.#pages.fork(sequence, nTokens), priority);
  }

  /**
   * Keep the first `nTokens` of a sequence, wherever its pages are. It rests then if all of these were computed, and also
   * if there are none. Not while it is in flight.
   */
  truncate(sequence: SequenceId, nTokens: number): void {
    const job = this.#findSettled('truncate', sequence);
    checkCount('StepPlanner.truncate', 'nTokens', nTokens, 0, job.view.nTokens);
    this.#pages.truncate(sequence, nTokens);
    this.#jobs.settle(job);
  }

  /** End a sequence, at any time. */
  finish(sequence: SequenceId): void {
    this.#jobs.delete(this.#find('finish', sequence));
    this.#pages.release(sequence);
  }

  /**
   * Forget what pages contain, and the step that is planned: after a lost device, or with new weights. What is in host
   * memory can be kept, unless the step that is planned was to bring something there: that may not have arrived.
   */
  reset(options: ResetOptions = {}): void {
    checkReset('StepPlanner.reset', options);
    const { keepSwapped = false } = options;
    const isArriving = this.#isPlanned && this.#step.swapsOut.length > 0;
    this.#pages.reset({ keepSwapped: keepSwapped && !isArriving });
    this.#isPlanned = false;
    for (const job of this.#jobs.all()) this.#jobs.settle(job);
  }

  /**
   * The next step. `'idle'` if there is nothing to compute, `'full'` if no sequence fits that has something to compute,
   * not even alone beside what is pinned; neither changes anything. Otherwise the step is not empty, and sequences that
   * end do so after finitely many steps. A sequence that does not fit holds up no other.
   *
   * O(running sequences + new tokens), O(tokens) for each sequence that asks to be admitted, and where the pool is full
   * O(pages) of those that may give way.
   */
  plan(): Step | 'idle' | 'full' {
    if (this.#isPlanned)
      fail('argument', 'StepPlanner.plan', 'the last step is not committed. Call commit with its samples.');
    const answer = this.#choice.choose();
    if (answer !== 'chosen') return answer;
    this.#isPlanned = true;
    return this.#step;
  }

  /**
   * The step is computed, and `tokens` [S] are sampled for the sequences `step.sampled`. The last `nRejected` [S] tokens
   * of these, drafts, were wrong. What is given for a sequence that was finished meanwhile does not matter.
   */
  commit(tokens: ArrayLike<number>, nRejected?: ArrayLike<number>): void {
    if (!this.#isPlanned) fail('argument', 'StepPlanner.commit', 'no step is planned. Call plan first.');
    this.#checkSamples(tokens, nRejected);
    this.#isPlanned = false;
    const { sampled, sequences } = this.#step;
    let nSampled = 0;
    for (let b = 0; b < sequences.length; b++) {
      const isSampled = sampled[nSampled] === sequences[b];
      const i = isSampled ? nSampled++ : -1;
      const job = this.#jobs.get(sequences[b]!);
      if (!job) continue;
      this.#pages.commit(job.id, isSampled ? (nRejected?.[i] ?? 0) : 0);
      if (isSampled) {
        this.#token[0] = tokens[i]!;
        this.#pages.append(job.id, this.#token);
      }
      this.#jobs.settle(job);
    }
  }

  #checkSamples(tokens: ArrayLike<number>, nRejected: ArrayLike<number> | undefined): void {
    const { sampled } = this.#step;
    checkList('StepPlanner.commit', 'tokens', tokens);
    if (nRejected !== undefined) checkList('StepPlanner.commit', 'nRejected', nRejected);
    if (tokens.length !== sampled.length || (nRejected && nRejected.length !== sampled.length)) {
      fail(
        'argument',
        'StepPlanner.commit',
        `tokens and nRejected must have a number for each of ${sampled.length} sampled sequences, not ${tokens.length} and ${nRejected?.length ?? 'none'}.`,
      );
    }
    checkTokens('StepPlanner.commit', tokens);
    if (!nRejected) return;
    for (let i = 0; i < sampled.length; i++) {
      const view = this.#jobs.get(sampled[i]!)?.view;
      if (view) checkCount('StepPlanner.commit', `nRejected[${i}]`, nRejected[i]!, 0, view.nInFlight);
    }
  }

  #start(sequence: SequenceId, priority: number): SequenceId {
    this.#jobs.add(this.#pages.sequence(sequence), priority);
    return sequence;
  }

  #findSettled(operation: string, sequence: SequenceId): Job {
    const job = this.#find(operation, sequence);
    refuseInFlight(`StepPlanner.${operation}`, job.view);
    return job;
  }

  #find(operation: string, sequence: SequenceId): Job {
    return (
      this.#jobs.get(sequence) ??
      fail(
        'argument',
        `StepPlanner.${operation}`,
        `there is no sequence ${describe(sequence)}. It was finished, or never added.`,
      )
    );
  }
}
