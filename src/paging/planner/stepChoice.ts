import type { Job, Jobs } from './sequenceQueues.js';
import type { SequenceView } from '../managedSequence.js';
import type { PageManager } from '../pageManager.js';
import type { PageCopy } from '../pool/pageTable.js';
import { isBefore } from './rankedList.js';
import type { StepArrays } from './step.js';

export interface StepRules {
  /** The most tokens of a step. */
  readonly maxTokens: number;
  /** The most sequences of a step. */
  readonly maxSequences: number;
  readonly prefer: 'decode' | 'prefill';
  readonly preempt: 'recompute' | 'swap';
  /** The share of pages that stays free when a sequence is admitted. */
  readonly watermark: number;
}

export interface StepChoiceArgs {
  readonly jobs: Jobs;
  readonly pages: PageManager;
  readonly step: StepArrays;
  readonly rules: StepRules;
}

/**
 * Chooses which sequences are in a step. First it only counts tokens and pages, while others give back theirs; then it
 * reserves. So no page changes hands that is still to be copied for another one in the step, and nothing gives way unless
 * that is enough.
 *
 * The first of those that can go on is in every step, and nothing may take its pages. So it ends, and then there is
 * another first one: whatever happens to the others, all of them end.
 */
export class StepChoice {
  readonly #jobs: Jobs;
  readonly #pages: PageManager;
  readonly #step: StepArrays;
  readonly #rules: StepRules;
  readonly #chosen: Job[] = [];
  readonly #views: SequenceView[] = [];
  #nChosen = 0;
  #nTokensLeft = 0;
  #nPagesLeft = 0;
  #hasAdmitted = false;
  #hasPreempted = false;

  constructor({ jobs, pages, step, rules }: StepChoiceArgs) {
    this.#jobs = jobs;
    this.#pages = pages;
    this.#step = step;
    this.#rules = rules;
  }

  /** Write the next step. If nothing fits, or there is nothing to compute, nothing has changed. */
  choose(): 'chosen' | 'idle' | 'full' {
    this.#begin();
    const { prefer } = this.#rules;
    this.#chooseFirst();
    if (prefer === 'decode') this.#chooseRunning(true);
    this.#chooseRunning(false);
    this.#admit();
    if (prefer === 'prefill') this.#chooseRunning(true);
    if (this.#nChosen === 0) return this.#hasWork() ? 'full' : 'idle';
    this.#reserve();
    return 'chosen';
  }

  #begin(): void {
    for (let i = 0; i < this.#nChosen; i++) this.#chosen[i]!.nChosen = 0;
    this.#step.clearCopies();
    this.#nChosen = 0;
    this.#nTokensLeft = this.#rules.maxTokens;
    this.#nPagesLeft = this.#pages.nFreePages;
    this.#hasAdmitted = false;
    this.#hasPreempted = false;
  }

  /** The first that can go on gets a token, whatever the others lose by it. More of them it gets in its turn. */
  #chooseFirst(): void {
    for (;;) {
      const first = this.#firstRunning();
      if (!first || this.#add(first, 1)) return;
      // It may want to change a page that it has published, and there is none to copy it. Without pages it needs no copy.
      if (!this.#preemptFor(first)) this.#giveWay(first);
    }
  }

  #firstRunning(): Job | undefined {
    for (const job of this.#jobs.running.items) if (this.#canGoOn(job)) return job;
    return undefined;
  }

  /** Those that run get tokens; and pages, if need be from those behind them. */
  #chooseRunning(isDecoding: boolean): void {
    const { items } = this.#jobs.running;
    for (let i = 0; i < items.length && this.#nTokensLeft > 0; i++) {
      const job = items[i]!;
      if (!this.#canGoOn(job) || (job.nChosen === 0 && !this.#hasRoom())) continue;
      const nLeft = this.#pages.nToCompute(job.id);
      if (nLeft <= MAX_DECODE_TOKENS !== isDecoding) continue;
      if (this.#add(job, nLeft) || !this.#preemptFor(job)) continue;
      this.#add(job, nLeft);
      i = items.indexOf(job);
    }
  }

  /** Those that wait get their turn, as long as there are pages for all their tokens, free or of those that cannot go on. */
  #admit(): void {
    const { items } = this.#jobs.waiting;
    // What was just taken from one must not go to another, which would soon have to give it back.
    if (items.length === 0 || (this.#hasPreempted && this.#nChosen > 0)) return;
    let nPromised = 0;
    for (let i = 0; i < this.#nChosen; i++) nPromised += this.#nMissingLater(this.#chosen[i]!);
    for (let i = 0; i < items.length && this.#hasRoom();) {
      const job = items[i]!;
      if (!this.#canGoOn(job)) {
        i++;
        continue;
      }
      const nSpare = this.#nChosen === 0 ? 0 : Math.ceil(this.#rules.watermark * this.#pages.nPages);
      const nPages = this.#nPagesLeft - nPromised - nSpare;
      const isEnough = this.#pages.nMissingInAll(job.id) <= nPages;
      if (!isEnough && !this.#takeFrom(this.#stuck(), job, nPages)) return;
      if (!this.#add(job, this.#pages.nToCompute(job.id))) return;
      this.#jobs.admit(job);
      this.#hasAdmitted = true;
      nPromised += this.#nMissingLater(job);
    }
  }

  /** Pages for the tokens of a sequence that are not in this step. */
  #nMissingLater({ id, nChosen }: Job): number {
    return Math.max(0, this.#pages.nMissingInAll(id) - this.#pages.nMissing(id, nChosen));
  }

  #hasRoom(): boolean {
    return this.#nChosen < this.#rules.maxSequences && this.#nTokensLeft > 0;
  }

  #hasWork(): boolean {
    const { running, waiting } = this.#jobs;
    return waiting.items.length > 0 || running.items.some(({ view }) => !view.isResting);
  }

  /** Whether a sequence has something to compute, and ever will have the pages for it while those pinned are. */
  #canGoOn({ id, view }: Job): boolean {
    return !view.isResting && this.#pages.canFit(id);
  }

  /** Put a sequence into the step with up to `nTokens`, as many as fit. Whether any does. */
  #add(job: Job, nTokens: number): boolean {
    const nBefore = job.nChosen;
    const nMissingBefore = nBefore === 0 ? 0 : this.#pages.nMissing(job.id, nBefore);
    const nPages = this.#nPagesLeft + nMissingBefore;
    const nChosen = Math.min(nTokens, this.#pages.nFitting(job.id, nPages), this.#nTokensLeft + nBefore);
    if (nChosen === 0) return false;
    if (nBefore === 0) this.#chosen[this.#nChosen++] = job;
    job.nChosen = nChosen;
    this.#nTokensLeft -= nChosen - nBefore;
    this.#nPagesLeft = nPages - this.#pages.nMissing(job.id, nChosen);
    return true;
  }

  /** Those in no step that have pages and cannot go on, the last first. */
  #stuck(): Job[] {
    return this.#jobs.running.items.filter((job) => job.nChosen === 0 && !this.#canGoOn(job)).toReversed();
  }

  /** Make room for a token of a sequence that runs. Whether there is room then. */
  #preemptFor(job: Job): boolean {
    if (this.#hasAdmitted) return false;
    const behind = this.#jobs.running.items
      .filter((other) => other.nChosen === 0 && isBefore(job, other) && this.#canGoOn(other))
      .toReversed();
    const isTaken = this.#takeFrom([...this.#stuck(), ...behind], job, this.#nPagesLeft);
    this.#hasPreempted ||= isTaken;
    return isTaken;
  }

  /** Take pages of others for a sequence that may have `nPages` as it is, if that is enough. Whether it is. */
  #takeFrom(others: readonly Job[], job: Job, nPages: number): boolean {
    const candidates = others.map(({ id }) => id);
    const victims = this.#pages.victims({ sequence: job.id, candidates, nPages });
    for (const victim of victims) this.#giveWay(this.#jobs.get(victim)!);
    return victims.length > 0;
  }

  /** Take the pages of a sequence. */
  #giveWay(job: Job): void {
    const nFree = this.#pages.nFreePages;
    const isSwapped =
      this.#rules.preempt === 'swap' && pushAll(this.#step.swapsOut, this.#pages.swapOut(job.id));
    if (!isSwapped) this.#pages.evict(job.id);
    this.#nPagesLeft += this.#pages.nFreePages - nFree;
    this.#jobs.settle(job);
  }

  /** What was chosen gets its pages. */
  #reserve(): void {
    let nReserved = 0;
    for (let i = 0; i < this.#nChosen; i++) {
      const job = this.#chosen[i]!;
      if (this.#fetch(job)) {
        this.#chosen[nReserved] = job;
        this.#views[nReserved++] = job.view;
      } else {
        // Behind a window, a page that others take may end a prefix that was counted upon. The step goes without it.
        job.nChosen = 0;
        this.#jobs.settle(job);
      }
    }
    this.#nChosen = nReserved;
    this.#step.describe(this.#pages, this.#views, nReserved);
  }

  #fetch(job: Job): boolean {
    if (job.view.isSwapped && !pushAll(this.#step.swapsIn, this.#pages.swapIn(job.id))) return false;
    return pushAll(this.#step.copies, this.#pages.reserve(job.id, job.nChosen));
  }
}

function pushAll(list: PageCopy[], copies: readonly PageCopy[] | 'full'): boolean {
  if (copies === 'full') return false;
  for (const copy of copies) list.push(copy);
  return true;
}

// With so few tokens left, a sequence is about to be sampled.
const MAX_DECODE_TOKENS = 16;
