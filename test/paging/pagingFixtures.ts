import { expect } from 'vitest';
import { BlockAllocator } from '../../src/paging/blockAllocator.js';
import { PageManager } from '../../src/paging/pageManager.js';
import type { PageManagerOptions } from '../../src/paging/pageStore.js';
import type { Step } from '../../src/paging/planner/step.js';
import { StepPlanner, type StepPlannerOptions } from '../../src/paging/planner/stepPlanner.js';

/** `count` tokens, different ones for each seed. */
export function tokensOf(count: number, seed = 0): number[] {
  return Array.from({ length: count }, (_, i) => 1000 * seed + i);
}

export function allocatorOf(nPages: number, pageSize = 4): BlockAllocator {
  return new BlockAllocator({ nPages, pageSize });
}

/** Start a sequence with `nTokens` tokens. */
export function allocate(allocator: BlockAllocator, nTokens: number): number {
  const sequence = allocator.create();
  expect(allocator.append(sequence, nTokens)).toEqual([]);
  return sequence;
}

/** A page manager, by default of 16 pages of 4 tokens. */
export function managerOf(options: Partial<PageManagerOptions> = {}): PageManager {
  return new PageManager({ nPages: 16, pageSize: 4, ...options });
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

/** A planner with its page manager, by default of 64 pages of 4 tokens. */
export function plannerOf(options: Partial<StepPlannerOptions & PageManagerOptions> = {}) {
  const { nPages = 64, pageSize = 4, nHostPages = 0, window = -1, ...rules } = options;
  const pages = new PageManager({ nPages, pageSize, nHostPages, window });
  return {
    pages,
    planner: new StepPlanner({ pages, maxTokens: 64, maxSequences: 8, watermark: 0, ...rules }),
  };
}

/** [sequence, first position, tokens] of each sequence of a step. */
export function rowsOf(step: Step | 'idle' | 'full') {
  if (typeof step === 'string') return step;
  return Array.from(step.sequences, (sequence, b) => [
    sequence,
    step.cacheSeqlens[b]!,
    step.cuSeqlensQ[b + 1]! - step.cuSeqlensQ[b]!,
  ]);
}

/** Plan a step, and commit it with token 7 for each sampled sequence. */
export function planAndCommit(planner: StepPlanner) {
  const step = planner.plan();
  const rows = rowsOf(step);
  if (typeof step !== 'string') planner.commit(Array(step.sampled.length).fill(7));
  return rows;
}
