import { PageManager } from '../../src/paging/pageManager.js';
import type { Random } from '../../tools/random.js';

export const PAGE_SIZE = 16;

export interface BusyPoolArgs {
  readonly nPages: number;
  readonly nSequences: number;
  readonly random: Random;
}

/** A pool that has been in use for a while: four fifths are held, the rest is free in no order, all of it was written. */
export class BusyPool {
  readonly manager: PageManager;
  readonly sequences: number[];
  readonly nPagesEach: number;
  readonly #seeds: number[];

  constructor({ nPages, nSequences, random }: BusyPoolArgs) {
    this.manager = new PageManager({ nPages, pageSize: PAGE_SIZE });
    this.nPagesEach = Math.floor((0.8 * nPages) / nSequences);
    this.#seeds = Array.from({ length: nSequences }, (_, i) => i);
    this.sequences = this.#seeds.map((seed) => this.#start(seed));
    for (const i of random.permutation(nSequences)) {
      this.manager.release(this.sequences[i]!);
      if (random.boolean()) this.manager.release(this.#start(nSequences + i));
      this.#seeds[i] = 2 * nSequences + i;
      this.sequences[i] = this.#start(this.#seeds[i]!);
    }
  }

  /** The tokens that sequence i began with. The last one is alone in its page. */
  prompt(i: number): Int32Array {
    return tokensOf(this.#seeds[i]!, (this.nPagesEach - 1) * PAGE_SIZE + 1);
  }

  /** Begin sequence i again. */
  restart(i: number): void {
    this.sequences[i] = this.#start(this.#seeds[i]!);
  }

  /** Compute the next `nTokens` of a sequence. */
  compute(sequence: number, nTokens?: number): void {
    if (this.manager.reserve(sequence, nTokens) === 'full') throw new Error('The pool is too small.');
    this.manager.commit(sequence);
  }

  #start(seed: number): number {
    const sequence = this.manager.add(tokensOf(seed, (this.nPagesEach - 1) * PAGE_SIZE + 1));
    this.compute(sequence);
    return sequence;
  }
}

export function tokensOf(seed: number, count: number): Int32Array {
  return Int32Array.from({ length: count }, (_, i) => Math.imul(seed + 1, 65_537) + i);
}
