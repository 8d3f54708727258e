import { checkNames, namesOf } from '../../core/checkArguments.js';
import { describe, fail } from '../../core/errors.js';
import { checkStart, refuseInFlight, refuseUnknown, type AddOptions } from '../managedSequence.js';
import { PageManager } from '../pageManager.js';
import type { PagePlanner, PlannedMoves } from '../pagePlanner.js';
import { checkReset, type ResetOptions } from '../pageStore.js';
import { checkCount, checkList, checkOneOf, checkTokens, refuseValue } from '../pool/pagingChecks.js';
import type { SequenceId } from '../sequenceRegistry.js';
import { SequenceQueues, type QueuedSequence } from './sequenceQueues.js';
import { StepArrays, type Step } from './step.js';
import { StepChoice } from './stepChoice.js';

export interface StepPlannerOptions {
  /** The manager of the pages. Only the planner may add sequences to it, but for those that are restored. */
  readonly pages: PageManager;
  /** The most tokens of a step. */
  readonly maxTokens: number;
  /** The most sequences of a step. */
  readonly maxSequences: number;
  /**
   * Which sequences get the tokens of a step first: `'decode'`, so that answers do not falter, or `'prefill'`, so that
   * they start early. The sequence that ranks first always gets one token. Default `'decode'`
   */
  readonly prefer?: 'decode' | 'prefill';
  /**
   * How a sequence is preempted when the pool is full: computed again later, or swapped to host memory. `'swap'` needs
   * the `nHostPages` of the manager, and recomputes if they are full. Default `'recompute'`
   */
  readonly preempt?: 'recompute' | 'swap';
  /** The share of pages that stays free when a sequence is admitted, so that running ones can grow. Default 0.01 */
  readonly watermark?: number;
}

export interface AddArgs extends AddOptions {
  /** The prompt. */
  readonly tokens: ArrayLike<number>;
  /** Higher priorities are admitted first and preempted last. Default 0 */
  readonly priority?: number;
}

export interface AdoptArgs {
  /** A sequence of the page manager, which nothing else uses. */
  readonly sequence: SequenceId;
  /** As in `add`. */
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

const ADOPT_NAMES = namesOf<AdoptArgs>({ sequence: true, priority: true });

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
 *   if (step === 'full') …      // nothing fits, not even alone: finish a sequence, or unpin pages
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
 * A sequence of which every token was computed once is at rest: a checkpoint that was forked to go on from later, or
 * one that was truncated. It is in no step before something is appended. It is the first to be preempted, to the host
 * with `preempt: 'swap'` if there is room, and its pages come back, or are computed again, only with what is appended.
 */
export class StepPlanner implements PagePlanner {
  readonly #pages: PageManager;
  readonly #queues = new SequenceQueues();
  readonly #step: StepArrays;
  readonly #choice: StepChoice;
  readonly #token = new Int32Array(1);
  #isPlanned = false;
  /** What the last step samples, while that is not known. */
  #unknown: readonly SequenceId[] | undefined;

  /** @throws PageflashError `argument` if a number is out of range, an option of the wrong kind, or unknown */
  constructor(options: StepPlannerOptions) {
    checkNames('StepPlanner', options, NAMES);
    const { pages, maxTokens, maxSequences } = options;
    const { prefer = 'decode', preempt = 'recompute', watermark = 0.01 } = options;
    if (!(pages instanceof PageManager)) refuseValue('StepPlanner', 'pages', 'a PageManager', pages);
    checkCount('StepPlanner', 'maxTokens', maxTokens, 1);
    checkCount('StepPlanner', 'maxSequences', maxSequences, 1);
    if (!(typeof watermark === 'number' && watermark >= 0 && watermark < 1))
      refuseValue('StepPlanner', 'watermark', 'a share of the pages, at least 0 and below 1', watermark);
    checkOneOf('StepPlanner', 'prefer', prefer, ['decode', 'prefill']);
    checkOneOf('StepPlanner', 'preempt', preempt, ['recompute', 'swap']);
    this.#pages = pages;
    this.#step = new StepArrays(pages.pageSize);
    const rules = { maxTokens, maxSequences, prefer, preempt, watermark };
    this.#choice = new StepChoice({ queues: this.#queues, pages, step: this.#step, rules });
    pages.planner = this;
  }

  /** Sequences that have pages, those at rest included. */
  get nRunning(): number {
    return this.#queues.running.length;
  }

  /** Sequences that wait for pages, those in host memory included. */
  get nWaiting(): number {
    return this.#queues.waiting.length;
  }

  /** Sequences at rest without pages here: they need none before something is appended. */
  get nResting(): number {
    return this.#queues.nResting;
  }

  /** Starts a sequence. Its prompt has at least one token, as the first answer is sampled after the last. */
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
    checkPriority(caller, priority);
    return this.#start(this.#pages.add(tokens, options), priority);
  }

  /**
   * Takes over a sequence that `PageManager.restore` has made, once it is committed; `PagedKvCache.restore` calls it
   * itself. It goes on where it was, or rests until something is appended.
   */
  adopt(args: AdoptArgs): void {
    const caller = 'StepPlanner.adopt';
    checkNames(caller, args, ADOPT_NAMES);
    const { sequence, priority = 0 } = args;
    checkPriority(caller, priority);
    const view = this.#pages.sequence(sequence);
    refuseInFlight(caller, view);
    if (this.#queues.get(sequence))
      fail('argument', caller, `sequence ${sequence} is one of the planner's already. Adopt it once.`);
    this.#start(sequence, priority);
  }

  /** @internal */
  plannedStep(): PlannedMoves | undefined {
    return this.#isPlanned ? this.#step : undefined;
  }

  /** Adds tokens to compute: drafts, or what a user adds. Not while the sequence is in flight. */
  append(sequence: SequenceId, tokens: ArrayLike<number>): void {
    const queued = this.#findSettled('append', sequence);
    checkTokens('StepPlanner.append', tokens);
    this.#pages.append(sequence, tokens);
    this.#queues.update(queued);
  }

  /**
   * Starts a sequence with the first `nTokens` of another one, by default with all, wherever its pages are. It rests if
   * all of these were computed, as does one without any. Not while the other one is in flight.
   */
  fork(sequence: SequenceId, nTokens?: number): SequenceId {
    const { priority, view } = this.#findSettled('fork', sequence);
    if (nTokens !== undefined) checkCount('StepPlanner.fork', 'nTokens', nTokens, 0, view.nTokens);
    return this.#start(this.#pages.fork(sequence, nTokens), priority);
  }

  /**
   * Keeps the first `nTokens` of a sequence, wherever its pages are. It rests then if all of these were computed, and
   * also if there are none. Not while it is in flight.
   */
  truncate(sequence: SequenceId, nTokens: number): void {
    const queued = this.#findSettled('truncate', sequence);
    checkCount('StepPlanner.truncate', 'nTokens', nTokens, 0, queued.view.nTokens);
    this.#pages.truncate(sequence, nTokens);
    this.#queues.update(queued);
  }

  /** Ends a sequence, at any time. */
  finish(sequence: SequenceId): void {
    this.#queues.delete(this.#find('finish', sequence));
    this.#pages.release(sequence);
  }

  /**
   * Forgets what pages contain, and the step that is planned: after a lost device, or with new weights. What is in host
   * memory can be kept, unless the planned step swaps something out, which may not have arrived.
   */
  reset(options: ResetOptions = {}): void {
    checkReset('StepPlanner.reset', options);
    const { keepSwapped = false } = options;
    const isArriving = this.#isPlanned && this.#step.swapsOut.length > 0;
    this.#pages.reset({ keepSwapped: keepSwapped && !isArriving });
    this.#isPlanned = false;
    for (const sequence of this.#unknown ?? [])
      if (this.#queues.get(sequence)) this.#pages.dropUnknown(sequence);
    this.#unknown = undefined;
    for (const queued of this.#queues.all()) this.#queues.update(queued);
  }

  /**
   * Returns the next step. `'idle'` if there is nothing to compute, `'full'` if no sequence fits that has something to
   * compute, not even alone beside what is pinned; neither changes anything. Otherwise the step is not empty, and all
   * sequences get to their end in finitely many steps. A sequence that does not fit holds up no other.
   *
   * O(running sequences + new tokens), O(tokens) for each waiting sequence that is considered, and where the pool is
   * full O(pages) of those that may be preempted.
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
   * Notes that the step is computed, and that `tokens` [S] are sampled for the sequences `step.sampled`. The last
   * `nRejected` [S] tokens of these, drafts, were wrong. What is given for a sequence that was finished meanwhile is
   * ignored.
   */
  commit(tokens: ArrayLike<number>, nRejected?: ArrayLike<number>): void {
    this.#checkCanCommit('commit');
    this.#checkSamples('commit', tokens, this.#step.sampled, nRejected);
    this.#commit(tokens, nRejected);
  }

  /**
   * Notes that the step is on its way, while what it samples is not known yet. The next step can be planned at once, so
   * that the GPU need not wait for the host: its `unknownRows` say which tokens are to be taken from the samples on the
   * GPU. `resolve` must tell them before that step is committed. Not for steps that check drafts.
   */
  commitAhead(): void {
    this.#checkCanCommit('commitAhead');
    this.#commit(undefined, undefined);
    this.#unknown = Array.from(this.#step.sampled);
  }

  /**
   * Tells the tokens [S] that the step of the last `commitAhead` has sampled. What is given for a sequence that was
   * finished meanwhile is ignored.
   */
  resolve(tokens: ArrayLike<number>): void {
    const caller = 'StepPlanner.resolve';
    const unknown = this.#unknown;
    if (!unknown) fail('argument', caller, 'all tokens are known. Call it once after commitAhead.');
    this.#checkSamples('resolve', tokens, unknown);
    this.#unknown = undefined;
    unknown.forEach((sequence, i) => {
      if (this.#queues.get(sequence)) this.#pages.resolve(sequence, tokens[i]!);
    });
  }

  #checkCanCommit(operation: 'commit' | 'commitAhead'): void {
    const caller = `StepPlanner.${operation}`;
    if (!this.#isPlanned) fail('argument', caller, 'no step is planned. Call plan first.');
    if (this.#unknown)
      fail('argument', caller, 'what the step before has sampled is not known yet. Call resolve first.');
  }

  /** Without tokens, they are not known yet. */
  #commit(tokens: ArrayLike<number> | undefined, nRejected: ArrayLike<number> | undefined): void {
    this.#isPlanned = false;
    const { sampled, sequences } = this.#step;
    let nSampled = 0;
    for (let b = 0; b < sequences.length; b++) {
      const isSampled = sampled[nSampled] === sequences[b];
      const i = isSampled ? nSampled++ : -1;
      const queued = this.#queues.get(sequences[b]!);
      if (!queued) continue;
      this.#pages.commit(queued.id, isSampled ? (nRejected?.[i] ?? 0) : 0);
      if (isSampled && tokens) {
        this.#token[0] = tokens[i]!;
        this.#pages.append(queued.id, this.#token);
      } else if (isSampled) {
        this.#pages.appendUnknown(queued.id, i);
      }
      this.#queues.update(queued);
    }
  }

  #checkSamples(
    operation: 'commit' | 'resolve',
    tokens: ArrayLike<number>,
    sampled: ArrayLike<SequenceId>,
    nRejected?: ArrayLike<number>,
  ): void {
    const caller = `StepPlanner.${operation}`;
    checkList(caller, 'tokens', tokens);
    if (nRejected !== undefined) checkList(caller, 'nRejected', nRejected);
    if (tokens.length !== sampled.length || (nRejected && nRejected.length !== sampled.length)) {
      const [names, counts] =
        operation === 'commit'
          ? ['tokens and nRejected', `${tokens.length} and ${nRejected?.length ?? 'none'}`]
          : ['tokens', `${tokens.length}`];
      fail(
        'argument',
        caller,
        `${names} must have a number for each of ${sampled.length} sampled sequences, not ${counts}.`,
      );
    }
    checkTokens(caller, tokens);
    if (!nRejected) return;
    for (let i = 0; i < sampled.length; i++) {
      const view = this.#queues.get(sampled[i]!)?.view;
      if (view) checkCount(caller, `nRejected[${i}]`, nRejected[i]!, 0, view.nInFlight);
    }
  }

  #start(sequence: SequenceId, priority: number): SequenceId {
    this.#queues.add(this.#pages.sequence(sequence), priority);
    return sequence;
  }

  /** Finds a sequence that is not in flight and whose tokens are all known. */
  #findSettled(operation: string, sequence: SequenceId): QueuedSequence {
    const queued = this.#find(operation, sequence);
    refuseInFlight(`StepPlanner.${operation}`, queued.view);
    refuseUnknown(`StepPlanner.${operation}`, queued.view);
    return queued;
  }

  #find(operation: string, sequence: SequenceId): QueuedSequence {
    return (
      this.#queues.get(sequence) ??
      fail(
        'argument',
        `StepPlanner.${operation}`,
        `there is no sequence ${describe(sequence)}. It was finished, or never added.`,
      )
    );
  }
}

function checkPriority(caller: string, priority: number): void {
  if (!Number.isFinite(priority)) refuseValue(caller, 'priority', 'a finite number', priority);
}
