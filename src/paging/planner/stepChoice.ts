import type { PageManager } from '../pageManager.js';
import type { PageCopy } from '../pool/pagePool.js';
import { isBefore, type QueuedSequence, type SequenceQueues } from './sequenceQueues.js';
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
  readonly queues: SequenceQueues;
  readonly pages: PageManager;
  readonly step: StepArrays;
  readonly rules: StepRules;
}

/**
 * Chooses the sequences of a step. First it only counts tokens and pages, while preempted sequences give back theirs;
 * then it reserves. So no page is reused that is still to be copied in the same step, and nothing is preempted in vain.
 *
 * Every step has the first sequence that can go on, and nothing may take its pages. So that one ends, and then there is
 * another first one: whatever happens to the others, all of them end.
 */
export class StepChoice {
  readonly #queues: SequenceQueues;
  readonly #pages: PageManager;
  readonly #step: StepArrays;
  readonly #rules: StepRules;
  #chosen: QueuedSequence[] = [];
  #nTokensLeft = 0;
  #nPagesLeft = 0;
  #hasAdmitted = false;
  #hasPreempted = false;

  constructor({ queues, pages, step, rules }: StepChoiceArgs) {
    this.#queues = queues;
    this.#pages = pages;
    this.#step = step;
    this.#rules = rules;
  }

  /** Writes the next step. If nothing fits, or there is nothing to compute, nothing has changed. */
  choose(): 'chosen' | 'idle' | 'full' {
    this.#start();
    const { prefer } = this.#rules;
    this.#chooseFirst();
    if (prefer === 'decode') this.#chooseRunning(true);
    this.#chooseRunning(false);
    this.#admit();
    if (prefer === 'prefill') this.#chooseRunning(true);
    if (this.#chosen.length === 0) return this.#hasWork() ? 'full' : 'idle';
    this.#reserve();
    return 'chosen';
  }

  #start(): void {
    for (const sequence of this.#chosen) sequence.nChosen = 0;
    this.#chosen = [];
    this.#step.clearCopies();
    this.#nTokensLeft = this.#rules.maxTokens;
    this.#nPagesLeft = this.#pages.nFreePages;
    this.#hasAdmitted = false;
    this.#hasPreempted = false;
  }

  /** The first sequence that can go on gets a token, even if all others are preempted for it. */
  #chooseFirst(): void {
    for (;;) {
      const first = this.#queues.running.find((sequence) => this.#canGoOn(sequence));
      if (!first || this.#add(first, 1)) return;
      // It may have to copy a published page, and there is none for the copy. When it starts again it needs no copy.
      if (!this.#preemptFor(first)) this.#preempt(first);
    }
  }

  /** Running sequences get tokens, and pages, if need be from those after them. */
  #chooseRunning(isDecoding: boolean): void {
    const { running } = this.#queues;
    for (let i = 0; i < running.length && this.#nTokensLeft > 0; i++) {
      const sequence = running[i]!;
      if (!this.#canGoOn(sequence) || (sequence.nChosen === 0 && !this.#hasRoom())) continue;
      const nLeft = this.#pages.nToCompute(sequence.id);
      if (nLeft <= MAX_DECODE_TOKENS !== isDecoding) continue;
      if (this.#add(sequence, nLeft) || !this.#preemptFor(sequence)) continue;
      this.#add(sequence, nLeft);
      i = running.indexOf(sequence);
    }
  }

  /** Waiting sequences start while there are pages for all their tokens, free or from sequences that cannot go on. */
  #admit(): void {
    const { waiting } = this.#queues;
    // What was just taken from one sequence must not go to another, which would soon have to give it back.
    if (waiting.length === 0 || (this.#hasPreempted && this.#chosen.length > 0)) return;
    let nPromised = 0;
    for (const sequence of this.#chosen) nPromised += this.#nMissingLater(sequence);
    for (let i = 0; i < waiting.length && this.#hasRoom();) {
      const sequence = waiting[i]!;
      if (!this.#canGoOn(sequence)) {
        i++;
        continue;
      }
      const nSpare = this.#chosen.length === 0 ? 0 : Math.ceil(this.#rules.watermark * this.#pages.nPages);
      const nPages = this.#nPagesLeft - nPromised - nSpare;
      const isEnough = this.#pages.nMissingInAll(sequence.id) <= nPages;
      if (!isEnough && !this.#preemptAny(this.#stuck(), sequence, nPages)) return;
      if (!this.#add(sequence, this.#pages.nToCompute(sequence.id))) return;
      this.#queues.move(sequence, 'running');
      this.#hasAdmitted = true;
      nPromised += this.#nMissingLater(sequence);
    }
  }

  /** Pages for the tokens of a sequence that are not in this step. */
  #nMissingLater({ id, nChosen }: QueuedSequence): number {
    return Math.max(0, this.#pages.nMissingInAll(id) - this.#pages.nMissing(id, nChosen));
  }

  #hasRoom(): boolean {
    return this.#chosen.length < this.#rules.maxSequences && this.#nTokensLeft > 0;
  }

  #hasWork(): boolean {
    const { running, waiting } = this.#queues;
    return waiting.length > 0 || running.some(({ view }) => !view.isResting);
  }

  /** Whether a sequence has something to compute, and can have the pages for it beside those that are pinned. */
  #canGoOn({ id, view }: QueuedSequence): boolean {
    return !view.isResting && this.#pages.canFit(id);
  }

  /** Puts a sequence into the step with up to `nTokens`, as many as fit. Returns whether any does. */
  #add(sequence: QueuedSequence, nTokens: number): boolean {
    const { id, nChosen: nBefore } = sequence;
    const nPages = this.#nPagesLeft + (nBefore === 0 ? 0 : this.#pages.nMissing(id, nBefore));
    const nChosen = Math.min(nTokens, this.#pages.nFitting(id, nPages), this.#nTokensLeft + nBefore);
    if (nChosen === 0) return false;
    if (nBefore === 0) this.#chosen.push(sequence);
    sequence.nChosen = nChosen;
    this.#nTokensLeft -= nChosen - nBefore;
    this.#nPagesLeft = nPages - this.#pages.nMissing(id, nChosen);
    return true;
  }

  /** Sequences that have pages and cannot go on, the last first. */
  #stuck(): QueuedSequence[] {
    return this.#preemptible((sequence) => !this.#canGoOn(sequence));
  }

  /** Running sequences that are not in the step and pass a test, the last first. */
  #preemptible(test: (sequence: QueuedSequence) => boolean): QueuedSequence[] {
    return this.#queues.running.filter((sequence) => sequence.nChosen === 0 && test(sequence)).toReversed();
  }

  /** Makes room for a token of a running sequence. Returns whether there is room then. */
  #preemptFor(sequence: QueuedSequence): boolean {
    if (this.#hasAdmitted) return false;
    const behind = this.#preemptible((other) => isBefore(sequence, other) && this.#canGoOn(other));
    const isEnough = this.#preemptAny([...this.#stuck(), ...behind], sequence, this.#nPagesLeft);
    this.#hasPreempted ||= isEnough;
    return isEnough;
  }

  /** Preempts others for a sequence that may have `nPages` besides, if that is enough. Returns whether it is. */
  #preemptAny(others: readonly QueuedSequence[], { id }: QueuedSequence, nPages: number): boolean {
    const candidates = others.map((other) => other.id);
    const victims = this.#pages.victims({ sequence: id, candidates, nPages });
    for (const victim of victims) this.#preempt(this.#queues.get(victim)!);
    return victims.length > 0;
  }

  /** Takes back the pages of a sequence. */
  #preempt(sequence: QueuedSequence): void {
    const nFree = this.#pages.nFreePages;
    const isSwapped =
      this.#rules.preempt === 'swap' && pushAll(this.#step.swapsOut, this.#pages.swapOut(sequence.id));
    if (!isSwapped) this.#pages.evict(sequence.id);
    this.#nPagesLeft += this.#pages.nFreePages - nFree;
    this.#queues.update(sequence);
  }

  /** Takes pages for what was chosen, and writes the step. */
  #reserve(): void {
    this.#chosen = this.#chosen.filter((sequence) => {
      if (this.#takePages(sequence)) return true;
      // With a window, a page that others take may end a prefix that was counted on. The step goes without the sequence.
      sequence.nChosen = 0;
      this.#queues.update(sequence);
      return false;
    });
    this.#step.describe(
      this.#pages,
      this.#chosen.map(({ view }) => view),
    );
  }

  #takePages({ id, view, nChosen }: QueuedSequence): boolean {
    if (view.isSwapped && !pushAll(this.#step.swapsIn, this.#pages.swapIn(id))) return false;
    return pushAll(this.#step.copies, this.#pages.reserve(id, nChosen));
  }
}

function pushAll(list: PageCopy[], copies: readonly PageCopy[] | 'full'): boolean {
  if (copies === 'full') return false;
  for (const copy of copies) list.push(copy);
  return true;
}

// With so few tokens left, a sequence is about to be sampled.
const MAX_DECODE_TOKENS = 16;
