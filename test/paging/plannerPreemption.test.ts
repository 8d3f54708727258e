import { describe, expect, test } from 'vitest';
import type { Step } from '../../src/paging/planner/step.js';
import { planAndCommit, plannerOf, rowsOf, tokensOf } from './pagingFixtures.js';

describe('a planner with a full pool', () => {
  test('preempts the sequences behind, and computes them again', () => {
    const { pages, planner } = plannerOf({ nPages: 4 });
    const [first, second] = [planner.add({ tokens: tokensOf(8) }), planner.add({ tokens: tokensOf(7, 1) })];
    planAndCommit(planner);
    expect(planAndCommit(planner)).toEqual([[first, 8, 1]]);
    expect(pages.sequence(second)).toMatchObject({ nTokens: 8, nComputed: 0, nPages: 0 });
    expect(planAndCommit(planner)).toEqual([[first, 9, 1]]);
    planner.finish(first);
    // Of its two pages the deeper one was reused.
    expect(planAndCommit(planner)).toEqual([[second, 4, 4]]);
  });

  test('or moves them to the host, and back', () => {
    const { pages, planner } = plannerOf({ nPages: 4, nHostPages: 4, preempt: 'swap' });
    const [first, second] = [planner.add({ tokens: tokensOf(8) }), planner.add({ tokens: tokensOf(7, 1) })];
    planAndCommit(planner);
    const step = planner.plan() as Step;
    expect(rowsOf(step)).toEqual([[first, 8, 1]]);
    expect(step.swapsOut).toEqual([
      [2, 0],
      [3, 1],
    ]);
    expect(pages.sequence(second)).toMatchObject({ isSwapped: true, nComputed: 7 });
    planner.commit([7]);
    planner.finish(first);
    const next = planner.plan() as Step;
    expect(rowsOf(next)).toEqual([[second, 7, 1]]);
    // The first page is still where it was.
    expect(next.swapsIn).toEqual([[1, 3]]);
  });

  test('preempts a sequence that cannot go on while pages are pinned, and preempts nothing for it', () => {
    const { pages, planner } = plannerOf({ nPages: 4, nHostPages: 4, preempt: 'swap' });
    const [first, second] = [planner.add({ tokens: tokensOf(8) }), planner.add({ tokens: tokensOf(8, 1) })];
    planAndCommit(planner);
    const pin = pages.pin(second);
    // The first needs another page, which the second cannot give, as its pages are pinned. So the second goes on.
    const step = planner.plan() as Step;
    expect(rowsOf(step)).toEqual([[second, 8, 1]]);
    expect(step.swapsOut).toHaveLength(2);
    expect(pages.sequence(first)).toMatchObject({ nComputed: 8, isSwapped: true });
    planner.commit([7]);
    pages.unpin(pin);
    planner.finish(second);
    expect(planAndCommit(planner)).toEqual([[first, 8, 1]]);
  });

  test('preempts nothing in a step that has admitted a sequence', () => {
    const { pages, planner } = plannerOf({ nPages: 6, prefer: 'prefill' });
    const [first, ...others] = [7, 8, 4].map((nTokens, seed) =>
      planner.add({ tokens: tokensOf(nTokens, seed) }),
    );
    planAndCommit(planner);
    const prompt = planner.add({ tokens: tokensOf(4, 3) });
    // The prompt takes the last page, so sequences that would need one wait.
    expect(planAndCommit(planner)).toEqual([
      [first, 7, 1],
      [prompt, 0, 4],
    ]);
    expect(others.map((sequence) => pages.sequence(sequence).nPages)).toEqual([2, 1]);
  });

  /** Two chats and, ranking between them, a prompt that is half computed; and no page is free any more. */
  function tightPool(nTokensOfLast: number) {
    const { pages, planner } = plannerOf({ maxTokens: 20 });
    const first = planner.add({ tokens: tokensOf(5), priority: 2 });
    const last = planner.add({ tokens: tokensOf(nTokensOfLast, 1) });
    planAndCommit(planner);
    const prompt = planner.add({ tokens: tokensOf(40, 2), priority: 1 });
    planAndCommit(planner);
    const blocker = pages.add(tokensOf(4 * pages.nFreePages, 3));
    pages.reserve(blocker);
    return { pages, planner, first, last, prompt };
  }

  test('preempts nothing that is in the step', () => {
    const { pages, planner, first, last, prompt } = tightPool(8);
    // The prompt has computed 18 tokens, and has room for 2.
    expect(planAndCommit(planner)).toContainEqual([prompt, 18, 2]);
    expect(planAndCommit(planner)).toEqual([
      [first, 7, 1],
      [last, 10, 1],
    ]);
    expect(pages.sequence(prompt).nComputed).toBe(20);
  });

  test('preempts nothing that ranks before, even if it is not in the step yet', () => {
    const { pages, planner, first, last, prompt } = tightPool(7);
    expect(planAndCommit(planner)).toEqual([
      [first, 6, 1],
      [prompt, 18, 2],
    ]);
    expect(pages.sequence(last).nComputed).toBe(8);
  });

  test('preempts nothing whose pages are all held by others as well', () => {
    const { pages, planner } = plannerOf({ nPages: 6 });
    const chat = planner.add({ tokens: tokensOf(8) });
    const other = planner.add({ tokens: tokensOf(8, 1) });
    planAndCommit(planner);
    const checkpoint = planner.fork(chat, 8);
    const late = planner.add({ tokens: tokensOf(7, 2) });
    for (let i = 0; i < 4; i++) planAndCommit(planner);
    // The next token of the chat takes a page; the checkpoint has none of its own, the other one has three.
    planAndCommit(planner);
    expect(pages.sequence(checkpoint).nPages).toBe(2);
    expect(pages.sequence(other).nPages).toBe(0);
    expect(pages.sequence(late).nPages).toBe(0);
  });

  test('preempts nothing whose pages are found by the sequence that needs some', () => {
    const { pages, planner } = plannerOf({ nPages: 8 });
    const [other, system] = [planner.add({ tokens: tokensOf(8, 1) }), planner.add({ tokens: tokensOf(16) })];
    planAndCommit(planner);
    planner.truncate(other, 8);
    planner.truncate(system, 16);
    const chat = planner.add({ tokens: tokensOf(31) });
    expect(planAndCommit(planner)).toEqual([[chat, 16, 15]]);
    expect([other, system].map((sequence) => pages.sequence(sequence).nPages)).toEqual([0, 4]);
  });

  test.each(['recompute', 'swap'] as const)(
    'leaves a preempted sequence at rest alone until something is appended: %s',
    (preempt) => {
      const { pages, planner } = plannerOf({ nPages: 8, nHostPages: 8, preempt });
      const chat = planner.add({ tokens: tokensOf(16) });
      planAndCommit(planner);
      const checkpoint = planner.fork(chat, 16);
      planner.finish(chat);
      expect(planner.plan()).toBe('idle');
      const other = planner.add({ tokens: tokensOf(30, 5) });
      const isSwapped = preempt === 'swap';
      const step = planner.plan() as Step;
      expect(rowsOf(step)).toEqual([[other, 0, 30]]);
      expect(step.swapsOut).toHaveLength(isSwapped ? 4 : 0);
      planner.commit([7]);
      expect(pages.sequence(checkpoint)).toMatchObject({ isResting: true, isSwapped });
      planner.finish(other);
      expect(planner.plan()).toBe('idle');
      expect([planner.nRunning, planner.nWaiting, planner.nResting]).toEqual([0, 0, 1]);
      const again = planner.fork(checkpoint);
      expect(planner.plan()).toBe('idle');
      planner.append(again, [9]);
      expect(planAndCommit(planner)).toEqual([isSwapped ? [again, 16, 1] : [again, 0, 17]]);
      expect(pages.sequence(checkpoint).nTokens).toBe(16);
    },
  );

  test('lets swapped sequences be truncated and forked', () => {
    const { pages, planner } = plannerOf({ nPages: 8, nHostPages: 8, preempt: 'swap' });
    const first = planner.add({ tokens: tokensOf(14) });
    const second = planner.add({ tokens: tokensOf(14, 1) });
    while (!pages.sequence(second).isSwapped) planAndCommit(planner);
    const nTokens = pages.sequence(second).nComputed;
    const fork = planner.fork(second, 10);
    expect(pages.usage().nHostUsed).toBe(Math.ceil(nTokens / 4));
    planner.truncate(second, 9);
    planner.append(second, [5]);
    planner.append(fork, [6]);
    expect(pages.sequence(fork)).toMatchObject({ nComputed: 10, isSwapped: true });
    expect(pages.usage().nHostUsed).toBe(3);
    planner.finish(first);
    expect(planAndCommit(planner)).toEqual([
      [second, 9, 1],
      [fork, 10, 1],
    ]);
    expect(pages.usage().nHostUsed).toBe(0);
  });

  test('preempts sequences with nothing to compute first', () => {
    const { pages, planner } = plannerOf({ nPages: 4 });
    const idle = planner.add({ tokens: tokensOf(8), priority: 1 });
    planAndCommit(planner);
    planner.truncate(idle, 8);
    const chat = planner.add({ tokens: tokensOf(12, 1) });
    expect(planAndCommit(planner)).toEqual([[chat, 0, 12]]);
    expect(pages.sequence(idle).nPages).toBe(0);
  });
});
