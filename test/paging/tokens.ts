import type { PageManager } from '../../src/paging/pageManager.js';

/** So many tokens, different ones for each seed. */
export function tokensOf(count: number, seed = 0): number[] {
  return Array.from({ length: count }, (_, i) => 1000 * seed + i);
}

/** Compute all that a sequence has. */
export function compute(manager: PageManager, sequence: number): void {
  if (manager.reserve(sequence) === 'full') throw new Error('the pool is full');
  manager.commit(sequence);
}

/** A sequence whose tokens are computed. */
export function computed(manager: PageManager, tokens: readonly number[]): number {
  const sequence = manager.add(tokens);
  compute(manager, sequence);
  return sequence;
}

/** The pages of a sequence, column by column. */
export function pagesOf(manager: PageManager, sequence: number): readonly number[] {
  return manager.snapshot().sequences.find(({ id }) => id === sequence)!.pages;
}
