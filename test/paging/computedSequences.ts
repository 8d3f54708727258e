import type { PageManager } from '../../src/paging/pageManager.js';

/** `count` tokens, different ones for each seed. */
export function tokensOf(count: number, seed = 0): number[] {
  return Array.from({ length: count }, (_, i) => 1000 * seed + i);
}

/** Compute all tokens of a sequence. */
export function computeAll(manager: PageManager, sequence: number): void {
  if (manager.reserve(sequence) === 'full') throw new Error('the pool is full');
  manager.commit(sequence);
}

/** Add a sequence and compute all its tokens. */
export function addComputed(manager: PageManager, tokens: readonly number[]): number {
  const sequence = manager.add(tokens);
  computeAll(manager, sequence);
  return sequence;
}

/** The pages of a sequence, column by column. */
export function pagesOf(manager: PageManager, sequence: number): readonly number[] {
  return manager.snapshot().sequences.find(({ id }) => id === sequence)!.pages;
}
