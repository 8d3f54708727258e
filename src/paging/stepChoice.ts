import type { Job, Jobs } from './jobs.js';
import type { SequenceView } from './managedSequence.js';
import type { PageManager } from './pageManager.js';
import type { PageCopy } from './pageTable.js';
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
 * Chooses who is in a step. First it only counts tokens and pages, while others give back theirs; then it reserves. So no
 * page changes hands that is still to be copied for someone else in the step.
 *
 * The first of those who run is in every step, and nobody may take its pages. So it ends, and then there is another first
 * one: whatever happens to the others, all of them end.
 */
export class StepChoice {
  readonly #jobs: Jobs;
  readonly #pages: PageManager;
  readonly #step: StepArrays;
  readonly #rules: StepRules;
  readonly #chosen: Job[] = [];
  readonly #views: SequenceView[] = [];
  readonly #swappedOut: Job[] = [];
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

  /** Write the next step. `'idle'` if there is nothing to compute, `'full'` if nothing fits. */
  choose(): 'chosen' | 'idle' | 'full' {
    this.#begin();
    const { prefer } = this.#rules;
    this.#chooseFirst();
    if (prefer === 'decode') this.#chooseRunning(true);
    this.#chooseRunning(false);
    this.#admit();
    if (prefer === 'prefill') this.#chooseRunning(true);
    const answer = this.#nChosen > 0 ? 'chosen' : this.#makeWay();
    if (answer === 'chosen') this.#reserve();
    return answer;
  }

  #begin(): void {
    for (let i = 0; i < this.#nChosen; i++) this.#chosen[i]!.nChosen = 0;
    this.#step.clearCopies();
    this.#swappedOut.length = 0;
    this.#nChosen = 0;
    this.#nTokensLeft = this.#rules.maxTokens;
    this.#nPagesLeft = this.#pages.nFreePages;
    this.#hasAdmitted = false;
    this.#hasPreempted = false;
  }

  /** The first who runs gets a token, whatever the others lose by it. More of them it gets in its turn. */
  #chooseFirst(): void {
    const { items } = this.#jobs.running;
    let i = 0;
    while (i < items.length && this.#pages.nToCompute(items[i]!.id) === 0) i++;
    const first = items[i];
    if (!first) return;
    while (!this.#add(first, 1)) {
      if (this.#preemptFor(first)) continue;
      // It is alone, and still too long. Or it wants to change a page that it has published, and there is none to copy it.
      this.#evict(first);
      return;
    }
  }

  /** Those who run get tokens; and pages, if need be from those behind them. */
  #chooseRunning(isDecoding: boolean): void {
    const { items } = this.#jobs.running;
    for (let i = 0; i < items.length && this.#nTokensLeft > 0; i++) {
      const job = items[i]!;
      const nLeft = this.#pages.nToCompute(job.id);
      const isChoosable = nLeft > 0 && (job.nChosen > 0 || this.#hasRoom());
      if (!isChoosable || nLeft <= MAX_DECODE_TOKENS !== isDecoding) continue;
      while (!this.#add(job, nLeft) && this.#preemptFor(job));
    }
  }

  /** Those who wait get their turn, as long as there are pages for all their tokens. */
  #admit(): void {
    const { items } = this.#jobs.waiting;
    // What was just taken from one must not go to another, who would soon have to give it back.
    if (this.#hasPreempted || items.length === 0) return;
    let nPromised = 0;
    for (let i = 0; i < this.#nChosen; i++) nPromised += this.#nMissingLater(this.#chosen[i]!);
    for (let i = 0; i < items.length && this.#hasRoom();) {
      const job = items[i]!;
      const nMissing = this.#pages.nMissingInAll(job.id);
      const nLeft = this.#pages.nToCompute(job.id);
      if (nLeft === 0 || nMissing > this.#pages.nPages) {
        i++;
        continue;
      }
      const nSpare = this.#nChosen === 0 ? 0 : Math.ceil(this.#rules.watermark * this.#pages.nPages);
      if (nMissing + nPromised + nSpare > this.#nPagesLeft || !this.#add(job, nLeft)) return;
      this.#jobs.admit(job);
      this.#hasAdmitted = true;
      nPromised += this.#nMissingLater(job);
    }
  }

  /** Pages for the tokens of a sequence that are not in this step. */
  #nMissingLater({ id, nChosen }: Job): number {
    return Math.max(0, this.#pages.nMissingInAll(id) - this.#pages.nMissing(id, nChosen));
  }

  /** Nobody runs who has anything to compute, so those who have not give way to the first who then fits. */
  #makeWay(): 'chosen' | 'idle' | 'full' {
    const { running, waiting } = this.#jobs;
    const jobs = waiting.items.filter(({ id }) => this.#pages.nToCompute(id) > 0);
    if (jobs.length === 0) return 'idle';
    // There may be no step in which the copies are made.
    for (const job of this.#swappedOut) this.#evict(job);
    this.#step.clearCopies();
    for (const job of jobs) {
      for (const other of running.items.toReversed()) if (!this.#fits(job)) this.#evict(other);
      this.#nPagesLeft = this.#pages.nFreePages;
      if (!this.#fits(job) || !this.#add(job, this.#pages.nToCompute(job.id))) continue;
      this.#jobs.admit(job);
      return 'chosen';
    }
    return 'full';
  }

  #hasRoom(): boolean {
    return this.#nChosen < this.#rules.maxSequences && this.#nTokensLeft > 0;
  }

  #fits({ id }: Job): boolean {
    return this.#pages.nMissingInAll(id) <= this.#pages.nFreePages;
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

  /** Take the pages of someone who is not in the step: who has nothing to compute, or who is behind. Whether there is one. */
  #preemptFor(job: Job): boolean {
    const { items } = this.#jobs.running;
    if (this.#hasAdmitted) return false;
    const mayLose = (other: Job) => other !== job && other.nChosen === 0 && other.view.nPages > 0;
    const loser =
      items.findLast((other) => mayLose(other) && this.#pages.nToCompute(other.id) === 0) ??
      items.findLast((other) => mayLose(other) && isBefore(job, other));
    if (!loser) return false;
    const nFree = this.#pages.nFreePages;
    if (this.#rules.preempt === 'recompute' || !this.#swapOut(loser)) this.#evict(loser);
    this.#nPagesLeft += this.#pages.nFreePages - nFree;
    this.#hasPreempted = true;
    return true;
  }

  #swapOut(job: Job): boolean {
    if (!pushAll(this.#step.swapsOut, this.#pages.swapOut(job.id))) return false;
    this.#swappedOut.push(job);
    this.#jobs.settle(job);
    return true;
  }

  #evict(job: Job): void {
    this.#pages.evict(job.id);
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
        // Behind a window, a page that others take may end a prefix that was counted upon. The step goes without.
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
