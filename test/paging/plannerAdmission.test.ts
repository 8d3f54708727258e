import { describe, expect, test } from 'vitest';
import { planAndCommit, plannerOf, tokensOf } from './pagingFixtures.js';

describe('a planner with a full pool', () => {
  test('admits no sequence that would be preempted at once', () => {
    const { planner } = plannerOf({ nPages: 4, watermark: 0.25 });
    const [first, second] = [planner.add({ tokens: tokensOf(4) }), planner.add({ tokens: tokensOf(11, 1) })];
    expect(planAndCommit(planner)).toEqual([[first, 0, 4]]);
    expect(planAndCommit(planner)).toEqual([[first, 4, 1]]);
    planner.finish(first);
    expect(planAndCommit(planner)).toEqual([[second, 0, 11]]);
  });

  test('admits nothing in a step in which something was preempted', () => {
    const { planner } = plannerOf({ nPages: 5 });
    const [first, second] = [planner.add({ tokens: tokensOf(8) }), planner.add({ tokens: tokensOf(12, 1) })];
    expect(planAndCommit(planner)).toHaveLength(2);
    const urgent = planner.add({ tokens: tokensOf(3, 2), priority: 1 });
    expect(planAndCommit(planner)).toEqual([[first, 8, 1]]);
    expect(planAndCommit(planner)).toEqual([
      [first, 9, 1],
      [urgent, 0, 3],
    ]);
    expect(planner.nWaiting).toBe(1);
    planner.finish(second);
  });

  test('admits what fits behind a sequence that never will', () => {
    const { planner } = plannerOf({ nPages: 4 });
    const chat = planner.add({ tokens: tokensOf(3) });
    planAndCommit(planner);
    planner.add({ tokens: tokensOf(17, 1) });
    const short = planner.add({ tokens: tokensOf(3, 2) });
    expect(planAndCommit(planner)).toEqual([
      [chat, 3, 1],
      [short, 0, 3],
    ]);
  });

  test('lets two sequences that need all of it end one after the other', () => {
    const { planner } = plannerOf({ nPages: 4 });
    const sequences = [planner.add({ tokens: tokensOf(7) }), planner.add({ tokens: tokensOf(7, 1) })];
    const left = new Map(sequences.map((sequence) => [sequence, 8]));
    let nSteps = 0;
    for (; left.size > 0 && nSteps < 100; nSteps++) {
      const step = planner.plan();
      if (typeof step === 'string') break;
      planner.commit(Array(step.sampled.length).fill(7));
      for (const sequence of step.sampled) {
        left.set(sequence, left.get(sequence)! - 1);
        if (left.get(sequence) === 0) {
          left.delete(sequence);
          planner.finish(sequence);
        }
      }
    }
    expect(left.size).toBe(0);
    expect(nSteps).toBeLessThan(20);
  });

  test("answers 'full' when nothing fits, not even alone", () => {
    const { pages, planner } = plannerOf({ nPages: 4 });
    const long = planner.add({ tokens: tokensOf(17) });
    expect(planner.plan()).toBe('full');
    const short = planner.add({ tokens: tokensOf(4, 1) });
    expect(planAndCommit(planner)).toEqual([[short, 0, 4]]);
    planner.finish(short);
    planner.truncate(long, 9);
    const system = pages.add(tokensOf(8, 2));
    pages.reserve(system, 8);
    pages.commit(system);
    const pin = pages.pin(system);
    pages.release(system);
    expect(planner.plan()).toBe('full');
    pages.unpin(pin);
    expect(planAndCommit(planner)).toEqual([[long, 0, 9]]);
  });

  test("answers 'full' again, and preempts nothing for what never fits", () => {
    const { pages, planner } = plannerOf({ nPages: 4 });
    const resting = planner.add({ tokens: tokensOf(8) });
    planAndCommit(planner);
    planner.truncate(resting, 8);
    planner.add({ tokens: tokensOf(20, 1) });
    const before = pages.snapshot();
    expect(planner.plan()).toBe('full');
    expect(planner.plan()).toBe('full');
    expect(pages.snapshot()).toEqual(before);
  });

  test('preempts nothing for a running sequence that has become too long', () => {
    const { pages, planner } = plannerOf({ nPages: 4 });
    const resting = planner.add({ tokens: tokensOf(8) });
    planAndCommit(planner);
    planner.truncate(resting, 8);
    const chat = planner.add({ tokens: tokensOf(7, 1) });
    planAndCommit(planner);
    planner.append(chat, tokensOf(10, 2));
    expect(planner.plan()).toBe('full');
    expect([resting, chat].map((sequence) => pages.sequence(sequence).nPages)).toEqual([2, 2]);
    planner.truncate(chat, 8);
    expect(planAndCommit(planner)).toEqual([[chat, 7, 1]]);
  });

  test('holds up nothing behind a prompt that does not fit beside what is pinned', () => {
    const { pages, planner } = plannerOf({ nPages: 10 });
    const system = planner.add({ tokens: tokensOf(20) });
    planAndCommit(planner);
    const pin = pages.pin(system);
    planner.finish(system);
    const long = planner.add({ tokens: tokensOf(24, 1) });
    // It has the pinned pages in common.
    const longer = planner.add({ tokens: [...tokensOf(20), ...tokensOf(16, 2)] });
    expect(planAndCommit(planner)).toEqual([[longer, 20, 16]]);
    planner.finish(longer);
    const short = [3, 4].map((seed) => planner.add({ tokens: tokensOf(4, seed) }));
    expect(planAndCommit(planner)).toEqual(short.map((sequence) => [sequence, 0, 4]));
    for (const sequence of short) planner.finish(sequence);
    expect(planner.plan()).toBe('full');
    pages.unpin(pin);
    expect(planAndCommit(planner)).toEqual([[long, 0, 24]]);
  });
});
