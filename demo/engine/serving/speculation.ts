import type { PageManager, SequenceId, StepPlanner } from 'pageflash';
import type { StepInFlight } from './stepRunner.js';

export interface SpeculationOptions {
  readonly planner: StepPlanner;
  readonly pages: PageManager;
  /** The most drafts of a sequence. */
  readonly nDrafts: number;
}

/**
 * Drafts: the last tokens of some sequences, which are guessed. A step computes them all at once, and samples after each;
 * those before the first that differs from its sample are right.
 */
export class Speculation {
  readonly #options: SpeculationOptions;
  /** How many of a sequence's last tokens are drafts. */
  readonly #drafts = new Map<SequenceId, number>();

  constructor(options: SpeculationOptions) {
    this.#options = options;
  }

  /** Whether there may be drafts at all. */
  get isOn(): boolean {
    return this.#options.nDrafts > 0;
  }

  /** Returns how many of a sequence's last tokens are drafts. */
  nDrafts(sequence: SequenceId): number {
    return this.#drafts.get(sequence) ?? 0;
  }

  /** Returns the tokens of each sequence that are right: its drafts as far as they are what was sampled, and one more. */
  check({ sampled, nDrafts }: StepInFlight, samples: Uint32Array): readonly (readonly number[])[] {
    let end = 0;
    return sampled.map((sequence, i) => {
      const first = end;
      end += nDrafts[i]! + 1;
      const nRight = this.#nRight(sequence, samples.subarray(first, end));
      return [...samples.subarray(first, first + nRight + 1)];
    });
  }

  /** The drafts of a sequence were checked, and are tokens now or gone. */
  forget(sequence: SequenceId): void {
    this.#drafts.delete(sequence);
  }

  /** Appends drafts to a sequence whose tokens are all known: `most`, or fewer. */
  propose(sequence: SequenceId, most: number): void {
    const { planner, pages, nDrafts } = this.#options;
    const view = pages.sequence(sequence);
    const tokens = Array.from({ length: view.nTokens }, (_, position) => view.token(position));
    const drafts = draftByLookup(tokens, Math.min(nDrafts, most));
    if (drafts.length === 0) return;
    planner.append(sequence, drafts);
    this.#drafts.set(sequence, drafts.length);
  }

  /** Drops the drafts of a sequence. The token before them is computed again, so that the next is sampled. */
  withdraw(sequence: SequenceId): void {
    const { planner, pages } = this.#options;
    const nDrafts = this.nDrafts(sequence);
    if (nDrafts === 0) return;
    const view = pages.sequence(sequence);
    const nTokens = view.nTokens - nDrafts;
    const last = view.token(nTokens - 1);
    planner.truncate(sequence, nTokens - 1);
    planner.append(sequence, [last]);
    this.#drafts.delete(sequence);
  }

  /** How many drafts, from the first on, are what was sampled. A sequence that was cancelled has none any more. */
  #nRight(sequence: SequenceId, samples: Uint32Array): number {
    const nDrafts = this.nDrafts(sequence);
    if (nDrafts === 0) return 0;
    const view = this.#options.pages.sequence(sequence);
    const first = view.nTokens - nDrafts;
    for (let i = 0; i < nDrafts; i++) if (view.token(first + i) !== samples[i]) return i;
    return nDrafts;
  }
}

/** How many of the last tokens are looked for. */
const MATCHED = 3;

/**
 * Speculation by prompt lookup: proposes the tokens that followed the last few tokens where these stood before.
 * O(tokens)
 */
export function draftByLookup(tokens: readonly number[], nDrafts: number): readonly number[] {
  for (let length = Math.min(MATCHED, tokens.length - 1); length > 0; length--) {
    const first = tokens.length - length;
    for (let start = first - 1; start >= 0; start--) {
      if (!isSame(tokens, start, { first, length })) continue;
      return tokens.slice(start + length, start + length + nDrafts);
    }
  }
  return [];
}

function isSame(
  tokens: readonly number[],
  start: number,
  { first, length }: { first: number; length: number },
): boolean {
  for (let i = 0; i < length; i++) if (tokens[start + i] !== tokens[first + i]) return false;
  return true;
}
