import { describe, expect, test } from 'vitest';
import { PageflashError } from '../../src/core/errors.js';
import { PageManager } from '../../src/paging/pageManager.js';
import type { PageManagerOptions } from '../../src/paging/pageStore.js';
import type { Step } from '../../src/paging/planner/step.js';
import { StepPlanner, type StepPlannerOptions } from '../../src/paging/planner/stepPlanner.js';
import { replayEngine, fuzzPlanner } from './fuzz/fuzzPaging.js';
import { tokensOf } from './computedSequences.js';

function plannerOf(options: Partial<StepPlannerOptions & PageManagerOptions> = {}) {
  const { nPages = 64, pageSize = 4, nHostPages = 0, window = -1, ...rules } = options;
  const pages = new PageManager({ nPages, pageSize, nHostPages, window });
  return {
    pages,
    planner: new StepPlanner({ pages, maxTokens: 64, maxSequences: 8, watermark: 0, ...rules }),
  };
}

/** [sequence, first position, tokens] of each sequence of a step. */
function rowsOf(step: Step | 'idle' | 'full') {
  if (typeof step === 'string') return step;
  return Array.from(step.sequences, (sequence, b) => [
    sequence,
    step.cacheSeqlens[b]!,
    step.cuSeqlensQ[b + 1]! - step.cuSeqlensQ[b]!,
  ]);
}

/** Plan a step, and commit it with token 7 for whoever is sampled. */
function stepOf(planner: StepPlanner) {
  const step = planner.plan();
  const rows = rowsOf(step);
  if (typeof step !== 'string') planner.commit(Array(step.sampled.length).fill(7));
  return rows;
}

describe('whatever users do', () => {
  test('every token sees its own past, and every sequence ends', { timeout: 60_000 }, () => {
    expect(fuzzPlanner({ nRuns: 200, seed: 1 })).toBeGreaterThan(3000);
  });
});

describe('what once went wrong', () => {
  const options = { nHostPages: 0, isCaching: true, preempt: 'recompute', watermark: 0 } as const;
  const user = { type: 'add', priority: 0, salt: 0, isPrivate: false } as const;

  test('a sequence that ranked first took pages from two others in turns, and never got enough', () => {
    const pool = {
      nPages: 2,
      pageSize: 1,
      window: 0,
      maxTokens: 2,
      maxSequences: 2,
      prefer: 'prefill',
    } as const;
    replayEngine({ ...options, ...pool }, [
      { ...user, tokens: Array<number>(20).fill(0), nNew: 1 },
      { ...user, tokens: Array<number>(20).fill(0), nNew: 1 },
      { type: 'steps', n: 2 },
      { ...user, tokens: [0], nNew: 2, priority: 1, isPrivate: true },
    ]);
  });

  test('two forks had to copy a page at once, and gave way to each other', () => {
    const pool = {
      nPages: 2,
      pageSize: 4,
      window: -1,
      maxTokens: 5,
      maxSequences: 1,
      prefer: 'decode',
    } as const;
    replayEngine({ ...options, ...pool }, [
      { ...user, tokens: [0, 0, 0, 0, 0], nNew: 5 },
      { type: 'steps', n: 4 },
      { type: 'checkpoint', pick: 0 },
      { type: 'fork', pick: 7 },
      { type: 'fork', pick: 1 },
    ]);
  });

  test('one that had to copy a page fitted as it was, but not the copy', () => {
    const pool = {
      nPages: 3,
      pageSize: 3,
      window: 0,
      maxTokens: 6,
      maxSequences: 1,
      prefer: 'decode',
    } as const;
    replayEngine({ ...options, ...pool }, [
      { ...user, tokens: [0, 0, 0, 0, 0, 0], nNew: 2 },
      { type: 'steps', n: 1 },
      { type: 'draft', pick: 0, nRight: 0, nWrong: 1 },
      { type: 'goBack', pick: 0 },
      { type: 'resize', n: 0 },
    ]);
  });

  test('a page that wrong drafts had filled was reused after the page before it', () => {
    const pool = {
      nPages: 3,
      pageSize: 3,
      window: 0,
      maxTokens: 1,
      maxSequences: 1,
      prefer: 'decode',
    } as const;
    replayEngine({ ...options, ...pool }, [
      { ...user, tokens: [0], nNew: 5 },
      { type: 'steps', n: 2 },
      { type: 'draft', pick: 0, nRight: 1, nWrong: 3 },
    ]);
  });
});

test('an engine is a loop', () => {
  const END = 0;
  const pages = new PageManager({ nPages: 64, pageSize: 4 });
  const planner = new StepPlanner({ pages, maxTokens: 16, maxSequences: 4 });
  const answers = new Map<number, number[]>();
  for (const prompt of [tokensOf(21, 1), tokensOf(3, 2), tokensOf(9, 3)])
    answers.set(planner.add({ tokens: prompt }), []);

  // A model that counts down from the number of tokens that it has seen, in fives.
  const sample = (step: Step) =>
    Array.from(step.sampled, (sequence) =>
      Math.max(END, 5 - Math.floor(pages.sequence(sequence).nTokens / 5)),
    );

  for (;;) {
    const step = planner.plan();
    if (typeof step === 'string') break;
    const tokens = sample(step);
    planner.commit(tokens);
    step.sampled.forEach((sequence, i) => {
      answers.get(sequence)!.push(tokens[i]!);
      if (tokens[i] === END) planner.finish(sequence);
    });
  }
  expect([...answers.values()].map((tokens) => tokens.join(''))).toEqual([
    '11110',
    '55444443333322222111110',
    '44333332222211111'.slice(1) + '0',
  ]);
  expect(pages.nFreePages).toBe(64);
});

describe('a step', () => {
  test('has all that a model needs', () => {
    const { planner } = plannerOf({ maxTokens: 6 });
    const [a, b] = [planner.add({ tokens: [10, 11] }), planner.add({ tokens: tokensOf(9, 1) })];
    const step = planner.plan() as Step;
    expect([...step.sequences]).toEqual([a, b]);
    expect([...step.tokens]).toEqual([10, 11, 1000, 1001, 1002, 1003]);
    expect([...step.tokenPositions]).toEqual([0, 1, 0, 1, 2, 3]);
    expect([...step.cuSeqlensQ]).toEqual([0, 2, 6]);
    expect([...step.sampled, ...step.sampledRows]).toEqual([a, 1]);
    planner.commit([12]);
    const next = planner.plan() as Step;
    expect([...next.tokens]).toEqual([12, 1004, 1005, 1006, 1007, 1008]);
    expect([...next.sampled]).toEqual([a, b]);
    expect([...next.sampledRows]).toEqual([0, 5]);
  });

  test('is an object of own properties, which a spread copies', () => {
    const { planner } = plannerOf();
    planner.add({ tokens: [10, 11] });
    const step = planner.plan() as Step;
    expect({ ...step }).toMatchObject({
      nSequences: 1,
      nNewTokens: 2,
      blockTable: Int32Array.of(0),
      cacheSeqlens: Int32Array.of(0),
      cuSeqlensQ: Int32Array.of(0, 2),
      cuSeqlensKNew: Int32Array.of(0, 2),
      tokenPositions: Int32Array.of(0, 1),
      sequences: Int32Array.of(0),
      tokens: Int32Array.of(10, 11),
      sampled: Int32Array.of(0),
      sampledRows: Int32Array.of(1),
      swapsOut: [],
      copies: [],
      swapsIn: [],
    });
  });

  test('serves those who decode first, then the prompts in chunks', () => {
    const { planner } = plannerOf({ maxTokens: 20, maxSequences: 8 });
    const chat = planner.add({ tokens: tokensOf(5) });
    expect(stepOf(planner)).toEqual([[chat, 0, 5]]);
    const long = planner.add({ tokens: tokensOf(50, 1) });
    expect(stepOf(planner)).toEqual([
      [chat, 5, 1],
      [long, 0, 19],
    ]);
    expect(stepOf(planner)).toEqual([
      [chat, 6, 1],
      [long, 19, 19],
    ]);
  });

  test('or the prompts first, if so wanted, but the first sequence always', () => {
    const { planner } = plannerOf({ maxTokens: 20, prefer: 'prefill' });
    const chats = [planner.add({ tokens: tokensOf(5) }), planner.add({ tokens: tokensOf(5, 1) })];
    stepOf(planner);
    const long = planner.add({ tokens: tokensOf(50, 2) });
    expect(stepOf(planner)).toEqual([
      [chats[0], 5, 1],
      [long, 0, 19],
    ]);
  });

  test('has no more sequences than allowed, higher priorities and earlier arrivals first', () => {
    const { planner } = plannerOf({ maxSequences: 2 });
    const late = planner.add({ tokens: [1] });
    const later = planner.add({ tokens: [2] });
    const urgent = planner.add({ tokens: [3], priority: 1 });
    expect(stepOf(planner)).toEqual([
      [urgent, 0, 1],
      [late, 0, 1],
    ]);
    planner.finish(urgent);
    expect(stepOf(planner)).toEqual([
      [late, 1, 1],
      [later, 0, 1],
    ]);
  });

  test('computes only what is not found', () => {
    const { planner } = plannerOf();
    planner.add({ tokens: tokensOf(20) });
    stepOf(planner);
    const again = planner.add({ tokens: tokensOf(20) });
    expect(stepOf(planner)).toContainEqual([again, 16, 4]);
  });
});

describe('speculation', () => {
  test('drops the drafts that were wrong', () => {
    const { pages, planner } = plannerOf();
    const chat = planner.add({ tokens: tokensOf(5) });
    stepOf(planner);
    planner.append(chat, [50, 51, 52]);
    const step = planner.plan() as Step;
    expect([...step.tokens]).toEqual([7, 50, 51, 52]);
    expect([...step.sampledRows]).toEqual([3]);
    planner.commit([99], [2]);
    expect(pages.sequence(chat)).toMatchObject({ nTokens: 8, nComputed: 7, nPages: 2 });
    expect([6, 7].map((position) => pages.sequence(chat).token(position))).toEqual([50, 99]);
  });
});

describe('parallel sampling', () => {
  test('forks before the token that differs, and copies the page that both write', () => {
    const { planner } = plannerOf();
    const one = planner.add({ tokens: tokensOf(6) });
    stepOf(planner);
    const other = planner.fork(one, 6);
    planner.append(other, [8]);
    const step = planner.plan() as Step;
    expect([...step.tokens]).toEqual([7, 8]);
    expect(step.copies).toEqual([[1, 2]]);
    expect([...step.blockTable]).toEqual([0, 2, 0, 1]);
  });
});

describe('a full pool', () => {
  test('lets those behind give way, and computes them again', () => {
    const { pages, planner } = plannerOf({ nPages: 4 });
    const [first, second] = [planner.add({ tokens: tokensOf(8) }), planner.add({ tokens: tokensOf(7, 1) })];
    stepOf(planner);
    expect(stepOf(planner)).toEqual([[first, 8, 1]]);
    expect(pages.sequence(second)).toMatchObject({ nTokens: 8, nComputed: 0, nPages: 0 });
    expect(stepOf(planner)).toEqual([[first, 9, 1]]);
    planner.finish(first);
    // Of its two pages the deeper one was reused.
    expect(stepOf(planner)).toEqual([[second, 4, 4]]);
  });

  test('or moves them to the host, and back', () => {
    const { pages, planner } = plannerOf({ nPages: 4, nHostPages: 4, preempt: 'swap' });
    const [first, second] = [planner.add({ tokens: tokensOf(8) }), planner.add({ tokens: tokensOf(7, 1) })];
    stepOf(planner);
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

  test('lets give way what cannot go on while pages are pinned, which nothing gives way for', () => {
    const { pages, planner } = plannerOf({ nPages: 4, nHostPages: 4, preempt: 'swap' });
    const [first, second] = [planner.add({ tokens: tokensOf(8) }), planner.add({ tokens: tokensOf(8, 1) })];
    stepOf(planner);
    const pin = pages.pin(second);
    // The first needs another page, which the second cannot give, as its pages are pinned. So the second goes on.
    const step = planner.plan() as Step;
    expect(rowsOf(step)).toEqual([[second, 8, 1]]);
    expect(step.swapsOut).toHaveLength(2);
    expect(pages.sequence(first)).toMatchObject({ nComputed: 8, isSwapped: true });
    planner.commit([7]);
    pages.unpin(pin);
    planner.finish(second);
    expect(stepOf(planner)).toEqual([[first, 8, 1]]);
  });

  test('is no reason to admit who would have to give way at once', () => {
    const { planner } = plannerOf({ nPages: 4, watermark: 0.25 });
    const [first, second] = [planner.add({ tokens: tokensOf(4) }), planner.add({ tokens: tokensOf(11, 1) })];
    expect(stepOf(planner)).toEqual([[first, 0, 4]]);
    expect(stepOf(planner)).toEqual([[first, 4, 1]]);
    planner.finish(first);
    expect(stepOf(planner)).toEqual([[second, 0, 11]]);
  });

  test('is no reason to admit anybody in the step in which someone gave way', () => {
    const { planner } = plannerOf({ nPages: 5 });
    const [first, second] = [planner.add({ tokens: tokensOf(8) }), planner.add({ tokens: tokensOf(12, 1) })];
    expect(stepOf(planner)).toHaveLength(2);
    const urgent = planner.add({ tokens: tokensOf(3, 2), priority: 1 });
    expect(stepOf(planner)).toEqual([[first, 8, 1]]);
    expect(stepOf(planner)).toEqual([
      [first, 9, 1],
      [urgent, 0, 3],
    ]);
    expect(planner.nWaiting).toBe(1);
    planner.finish(second);
  });

  test('makes nobody give way in a step that has admitted someone', () => {
    const { pages, planner } = plannerOf({ nPages: 6, prefer: 'prefill' });
    const [first, ...others] = [7, 8, 4].map((nTokens, seed) =>
      planner.add({ tokens: tokensOf(nTokens, seed) }),
    );
    stepOf(planner);
    const prompt = planner.add({ tokens: tokensOf(4, 3) });
    // The prompt takes the last page, so those who would need one wait.
    expect(stepOf(planner)).toEqual([
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
    stepOf(planner);
    const prompt = planner.add({ tokens: tokensOf(40, 2), priority: 1 });
    stepOf(planner);
    const blocker = pages.add(tokensOf(4 * pages.nFreePages, 3));
    pages.reserve(blocker);
    return { pages, planner, first, last, prompt };
  }

  test('takes nothing from those who are in the step', () => {
    const { pages, planner, first, last, prompt } = tightPool(8);
    // The prompt has computed 18 tokens, and has room for 2.
    expect(stepOf(planner)).toContainEqual([prompt, 18, 2]);
    expect(stepOf(planner)).toEqual([
      [first, 7, 1],
      [last, 10, 1],
    ]);
    expect(pages.sequence(prompt).nComputed).toBe(20);
  });

  test('takes nothing from those before, even if they are not in the step yet', () => {
    const { pages, planner, first, last, prompt } = tightPool(7);
    expect(stepOf(planner)).toEqual([
      [first, 6, 1],
      [prompt, 18, 2],
    ]);
    expect(pages.sequence(last).nComputed).toBe(8);
  });

  test('does not hold up those who fit behind one who never will', () => {
    const { planner } = plannerOf({ nPages: 4 });
    const chat = planner.add({ tokens: tokensOf(3) });
    stepOf(planner);
    planner.add({ tokens: tokensOf(17, 1) });
    const short = planner.add({ tokens: tokensOf(3, 2) });
    expect(stepOf(planner)).toEqual([
      [chat, 3, 1],
      [short, 0, 3],
    ]);
  });

  test('does not stop two who need all of it: they end one after the other', () => {
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

  test('is said when nothing fits, not even alone', () => {
    const { pages, planner } = plannerOf({ nPages: 4 });
    const long = planner.add({ tokens: tokensOf(17) });
    expect(planner.plan()).toBe('full');
    const short = planner.add({ tokens: tokensOf(4, 1) });
    expect(stepOf(planner)).toEqual([[short, 0, 4]]);
    planner.finish(short);
    planner.truncate(long, 9);
    const system = pages.add(tokensOf(8, 2));
    pages.reserve(system, 8);
    pages.commit(system);
    const pin = pages.pin(system);
    pages.release(system);
    expect(planner.plan()).toBe('full');
    pages.unpin(pin);
    expect(stepOf(planner)).toEqual([[long, 0, 9]]);
  });

  test('is the same answer again, and takes nothing for what never fits', () => {
    const { pages, planner } = plannerOf({ nPages: 4 });
    const resting = planner.add({ tokens: tokensOf(8) });
    stepOf(planner);
    planner.truncate(resting, 8);
    planner.add({ tokens: tokensOf(20, 1) });
    const before = pages.snapshot();
    expect(planner.plan()).toBe('full');
    expect(planner.plan()).toBe('full');
    expect(pages.snapshot()).toEqual(before);
  });

  test('takes nothing either for one that runs and has become too long', () => {
    const { pages, planner } = plannerOf({ nPages: 4 });
    const resting = planner.add({ tokens: tokensOf(8) });
    stepOf(planner);
    planner.truncate(resting, 8);
    const chat = planner.add({ tokens: tokensOf(7, 1) });
    stepOf(planner);
    planner.append(chat, tokensOf(10, 2));
    expect(planner.plan()).toBe('full');
    expect([resting, chat].map((sequence) => pages.sequence(sequence).nPages)).toEqual([2, 2]);
    planner.truncate(chat, 8);
    expect(stepOf(planner)).toEqual([[chat, 7, 1]]);
  });

  test('holds up nobody behind a prompt that does not fit beside what is pinned', () => {
    const { pages, planner } = plannerOf({ nPages: 10 });
    const system = planner.add({ tokens: tokensOf(20) });
    stepOf(planner);
    const pin = pages.pin(system);
    planner.finish(system);
    const long = planner.add({ tokens: tokensOf(24, 1) });
    // It has the pinned pages in common.
    const longer = planner.add({ tokens: [...tokensOf(20), ...tokensOf(16, 2)] });
    expect(stepOf(planner)).toEqual([[longer, 20, 16]]);
    planner.finish(longer);
    const short = [3, 4].map((seed) => planner.add({ tokens: tokensOf(4, seed) }));
    expect(stepOf(planner)).toEqual(short.map((sequence) => [sequence, 0, 4]));
    for (const sequence of short) planner.finish(sequence);
    expect(planner.plan()).toBe('full');
    pages.unpin(pin);
    expect(stepOf(planner)).toEqual([[long, 0, 24]]);
  });

  test('takes nothing from one whose pages others have as well', () => {
    const { pages, planner } = plannerOf({ nPages: 6 });
    const chat = planner.add({ tokens: tokensOf(8) });
    const other = planner.add({ tokens: tokensOf(8, 1) });
    stepOf(planner);
    const checkpoint = planner.fork(chat, 8);
    const late = planner.add({ tokens: tokensOf(7, 2) });
    for (let i = 0; i < 4; i++) stepOf(planner);
    // The next token of the chat takes a page; the checkpoint has none of its own, the other one has three.
    stepOf(planner);
    expect(pages.sequence(checkpoint).nPages).toBe(2);
    expect(pages.sequence(other).nPages).toBe(0);
    expect(pages.sequence(late).nPages).toBe(0);
  });

  test('takes nothing from one whose pages are found by the one that wants some', () => {
    const { pages, planner } = plannerOf({ nPages: 8 });
    const [other, system] = [planner.add({ tokens: tokensOf(8, 1) }), planner.add({ tokens: tokensOf(16) })];
    stepOf(planner);
    planner.truncate(other, 8);
    planner.truncate(system, 16);
    const chat = planner.add({ tokens: tokensOf(31) });
    expect(stepOf(planner)).toEqual([[chat, 16, 15]]);
    expect([other, system].map((sequence) => pages.sequence(sequence).nPages)).toEqual([0, 4]);
  });

  test.each(['recompute', 'swap'] as const)(
    'leaves one at rest alone until something is appended: %s',
    (preempt) => {
      const { pages, planner } = plannerOf({ nPages: 8, nHostPages: 8, preempt });
      const chat = planner.add({ tokens: tokensOf(16) });
      stepOf(planner);
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
      expect(stepOf(planner)).toEqual([isSwapped ? [again, 16, 1] : [again, 0, 17]]);
      expect(pages.sequence(checkpoint).nTokens).toBe(16);
    },
  );

  test('lets what it has swapped out be cut back and forked', () => {
    const { pages, planner } = plannerOf({ nPages: 8, nHostPages: 8, preempt: 'swap' });
    const first = planner.add({ tokens: tokensOf(14) });
    const second = planner.add({ tokens: tokensOf(14, 1) });
    while (!pages.sequence(second).isSwapped) stepOf(planner);
    const nTokens = pages.sequence(second).nComputed;
    const fork = planner.fork(second, 10);
    expect(pages.usage().nHostUsed).toBe(Math.ceil(nTokens / 4));
    planner.truncate(second, 9);
    planner.append(second, [5]);
    planner.append(fork, [6]);
    expect(pages.sequence(fork)).toMatchObject({ nComputed: 10, isSwapped: true });
    expect(pages.usage().nHostUsed).toBe(3);
    planner.finish(first);
    expect(stepOf(planner)).toEqual([
      [second, 9, 1],
      [fork, 10, 1],
    ]);
    expect(pages.usage().nHostUsed).toBe(0);
  });

  test('takes from those who have nothing to compute before it takes from others', () => {
    const { pages, planner } = plannerOf({ nPages: 4 });
    const idle = planner.add({ tokens: tokensOf(8), priority: 1 });
    stepOf(planner);
    planner.truncate(idle, 8);
    const chat = planner.add({ tokens: tokensOf(12, 1) });
    expect(stepOf(planner)).toEqual([[chat, 0, 12]]);
    expect(pages.sequence(idle).nPages).toBe(0);
  });
});

describe('the end', () => {
  test('nothing to compute is idle', () => {
    const { planner } = plannerOf();
    expect(planner.plan()).toBe('idle');
    const chat = planner.add({ tokens: [1] });
    expect(stepOf(planner)).toEqual([[chat, 0, 1]]);
    planner.truncate(chat, 1);
    expect(planner.plan()).toBe('idle');
    expect([planner.nRunning, planner.nWaiting, planner.nResting]).toEqual([1, 0, 0]);
    planner.truncate(chat, 0);
    expect(planner.plan()).toBe('idle');
    expect([planner.nRunning, planner.nWaiting, planner.nResting]).toEqual([0, 0, 1]);
    planner.append(chat, [2]);
    expect(stepOf(planner)).toEqual([[chat, 0, 1]]);
  });

  test('a sequence may end while it is computed', () => {
    const { pages, planner } = plannerOf();
    const [gone, chat] = [planner.add({ tokens: [1] }), planner.add({ tokens: [2] })];
    planner.plan();
    planner.finish(gone);
    planner.commit([8, 9]);
    expect(pages.sequence(chat).token(1)).toBe(9);
    expect(() => planner.finish(gone)).toThrow(
      new PageflashError(
        'argument',
        'StepPlanner.finish: there is no sequence 0. It was finished, or never added.',
      ),
    );
  });

  test('a sequence that loses all it has computed waits again', () => {
    const { planner } = plannerOf();
    const chat = planner.add({ tokens: [1] });
    planner.plan();
    planner.commit([2], [1]);
    expect([planner.nRunning, planner.nWaiting]).toEqual([0, 1]);
    expect(stepOf(planner)).toEqual([[chat, 0, 1]]);
  });

  test('a lost device costs what was computed, and nothing else', () => {
    const { planner } = plannerOf();
    const chat = planner.add({ tokens: tokensOf(9) });
    stepOf(planner);
    planner.plan();
    planner.reset();
    expect(stepOf(planner)).toEqual([[chat, 0, 10]]);
  });

  test('nor does it cost what is in host memory, unless that was still on its way', () => {
    for (const isArriving of [false, true]) {
      const { planner, pages } = plannerOf({ nPages: 6, pageSize: 4, nHostPages: 6, preempt: 'swap' });
      const chats = [planner.add({ tokens: tokensOf(11) }), planner.add({ tokens: tokensOf(11, 1) })];
      const swapsOut = () => (planner.plan() as Step).swapsOut.length;
      while (swapsOut() === 0) planner.commit([1, 2]);
      if (!isArriving) planner.commit([1]);
      const isSwapped = () => chats.filter((chat) => pages.sequence(chat).isSwapped).length;
      expect(isSwapped()).toBe(1);
      planner.reset({ keepSwapped: true });
      expect(isSwapped()).toBe(isArriving ? 0 : 1);
    }
  });
});

describe('wrong arguments', () => {
  test.each<{ why: string; call: (planner: StepPlanner) => unknown; message: string }>([
    {
      why: 'a step before the last is committed',
      call: (planner) => [planner.plan(), planner.plan()],
      message: 'StepPlanner.plan: the last step is not committed. Call commit with its samples.',
    },
    {
      why: 'a commit without a step',
      call: (planner) => planner.commit([]),
      message: 'StepPlanner.commit: no step is planned. Call plan first.',
    },
    {
      why: 'samples that are not as many as asked for',
      call: (planner) => [planner.plan(), planner.commit([1, 2])],
      message:
        'StepPlanner.commit: tokens and nRejected must have a number for each of 1 sampled sequences, not 2 and none.',
    },
    {
      why: 'more rejected than computed',
      call: (planner) => [planner.plan(), planner.commit([1], [4])],
      message: 'StepPlanner.commit: nRejected[0] must be a whole number from 0 to 3, not 4.',
    },
    {
      why: 'a priority that is none',
      call: (planner) => planner.add({ tokens: [1], priority: NaN }),
      message: 'StepPlanner.add: priority must be a finite number, not NaN.',
    },
    {
      why: 'what is in flight',
      call: (planner) => [planner.plan(), planner.append(0, [1])],
      message: 'StepPlanner.append: sequence 0 has 3 tokens in flight. Commit them first.',
    },
    {
      why: 'a fork of what is in flight',
      call: (planner) => [planner.plan(), planner.fork(0)],
      message: 'StepPlanner.fork: sequence 0 has 3 tokens in flight. Commit them first.',
    },
    {
      why: 'a fork of more than there is',
      call: (planner) => planner.fork(0, 4),
      message: 'StepPlanner.fork: nTokens must be a whole number from 0 to 3, not 4.',
    },
    {
      why: 'more tokens to keep than there are',
      call: (planner) => planner.truncate(0, 4),
      message: 'StepPlanner.truncate: nTokens must be a whole number from 0 to 3, not 4.',
    },
    {
      why: 'a prompt without tokens',
      call: (planner) => planner.add({ tokens: [] }),
      message:
        'StepPlanner.add: tokens must have at least one token, as an answer is sampled after the last.',
    },
    {
      why: 'tokens in place of options',
      call: (planner) => planner.add([1, 2, 3] as never),
      message: 'StepPlanner.add: the arguments must be one object, not [1, 2, 3].',
    },
    {
      why: 'a misspelt option',
      call: (planner) => planner.add({ tokens: [1], prority: 2 } as never),
      message: 'StepPlanner.add: there is no argument prority. There are tokens, priority, salt, isPrivate.',
    },
    {
      why: 'no tokens',
      call: (planner) => planner.add({} as never),
      message: 'StepPlanner.add: tokens must be an array of numbers, not undefined.',
    },
    {
      why: 'text for tokens',
      call: (planner) => planner.append(0, 'hello' as never),
      message: 'StepPlanner.append: tokens must be an array of numbers, not "hello".',
    },
    {
      why: 'a salt that is none',
      call: (planner) => planner.add({ tokens: [1], salt: 0.5 }),
      message: 'StepPlanner.add: salt must be a whole number of 32 bits, not 0.5.',
    },
    {
      why: 'samples that are no list',
      call: (planner) => [planner.plan(), planner.commit(7 as never)],
      message: 'StepPlanner.commit: tokens must be an array of numbers, not 7.',
    },
    {
      why: 'a misspelt option of reset',
      call: (planner) => planner.reset({ keepSwaped: true } as never),
      message: 'StepPlanner.reset: there is no argument keepSwaped. There are keepSwapped.',
    },
  ])('$why', ({ call, message }) => {
    const { planner } = plannerOf();
    planner.add({ tokens: [1, 2, 3] });
    expect(() => call(planner)).toThrow(new PageflashError('argument', message));
  });

  test('a planner with settings that are none', () => {
    expect(() => plannerOf({ maxTokens: 0 })).toThrow(
      'StepPlanner: maxTokens must be a whole number ≥ 1, not 0.',
    );
    expect(() => plannerOf({ prefer: 'both' as 'decode' })).toThrow(
      `StepPlanner: prefer must be 'decode' or 'prefill', not "both".`,
    );
    expect(() => plannerOf({ watermark: 1 })).toThrow(
      'StepPlanner: watermark must be a share of the pages, at least 0 and below 1, not 1.',
    );
    expect(() => plannerOf({ watermark: '0.5' as never })).toThrow(PageflashError);
    expect(() => plannerOf({ preemption: 'swap' } as never)).toThrow(
      'StepPlanner: there is no argument preemption. There are pages, maxTokens, maxSequences, prefer, preempt, watermark.',
    );
    expect(() => new StepPlanner({} as never)).toThrow(
      'StepPlanner: pages must be a PageManager, not undefined.',
    );
    expect(() => new StepPlanner(undefined as never)).toThrow(
      'StepPlanner: the arguments must be one object, not undefined.',
    );
  });
});
