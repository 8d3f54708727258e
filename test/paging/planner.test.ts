import { describe, expect, test } from 'vitest';
import { PageflashError } from '../../src/core/errors.js';
import { PageManager } from '../../src/paging/pageManager.js';
import type { Step } from '../../src/paging/planner/step.js';
import { StepPlanner } from '../../src/paging/planner/stepPlanner.js';
import { planAndCommit, plannerOf, tokensOf } from './pagingFixtures.js';

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

  test('serves sequences that decode first, then prompts in chunks', () => {
    const { planner } = plannerOf({ maxTokens: 20, maxSequences: 8 });
    const chat = planner.add({ tokens: tokensOf(5) });
    expect(planAndCommit(planner)).toEqual([[chat, 0, 5]]);
    const long = planner.add({ tokens: tokensOf(50, 1) });
    expect(planAndCommit(planner)).toEqual([
      [chat, 5, 1],
      [long, 0, 19],
    ]);
    expect(planAndCommit(planner)).toEqual([
      [chat, 6, 1],
      [long, 19, 19],
    ]);
  });

  test('or prompts first, if preferred, but the first sequence always', () => {
    const { planner } = plannerOf({ maxTokens: 20, prefer: 'prefill' });
    const chats = [planner.add({ tokens: tokensOf(5) }), planner.add({ tokens: tokensOf(5, 1) })];
    planAndCommit(planner);
    const long = planner.add({ tokens: tokensOf(50, 2) });
    expect(planAndCommit(planner)).toEqual([
      [chats[0], 5, 1],
      [long, 0, 19],
    ]);
  });

  test('has no more sequences than allowed, higher priorities and earlier arrivals first', () => {
    const { planner } = plannerOf({ maxSequences: 2 });
    const late = planner.add({ tokens: [1] });
    const later = planner.add({ tokens: [2] });
    const urgent = planner.add({ tokens: [3], priority: 1 });
    expect(planAndCommit(planner)).toEqual([
      [urgent, 0, 1],
      [late, 0, 1],
    ]);
    planner.finish(urgent);
    expect(planAndCommit(planner)).toEqual([
      [late, 1, 1],
      [later, 0, 1],
    ]);
  });

  test('computes only what is not found', () => {
    const { planner } = plannerOf();
    planner.add({ tokens: tokensOf(20) });
    planAndCommit(planner);
    const again = planner.add({ tokens: tokensOf(20) });
    expect(planAndCommit(planner)).toContainEqual([again, 16, 4]);
  });
});

describe('speculation', () => {
  test('drops the drafts that were wrong', () => {
    const { pages, planner } = plannerOf();
    const chat = planner.add({ tokens: tokensOf(5) });
    planAndCommit(planner);
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
    planAndCommit(planner);
    const other = planner.fork(one, 6);
    planner.append(other, [8]);
    const step = planner.plan() as Step;
    expect([...step.tokens]).toEqual([7, 8]);
    expect(step.copies).toEqual([[1, 2]]);
    expect([...step.blockTable]).toEqual([0, 2, 0, 1]);
  });
});

describe('finishing and resetting', () => {
  test('nothing to compute is idle', () => {
    const { planner } = plannerOf();
    expect(planner.plan()).toBe('idle');
    const chat = planner.add({ tokens: [1] });
    expect(planAndCommit(planner)).toEqual([[chat, 0, 1]]);
    planner.truncate(chat, 1);
    expect(planner.plan()).toBe('idle');
    expect([planner.nRunning, planner.nWaiting, planner.nResting]).toEqual([1, 0, 0]);
    planner.truncate(chat, 0);
    expect(planner.plan()).toBe('idle');
    expect([planner.nRunning, planner.nWaiting, planner.nResting]).toEqual([0, 0, 1]);
    planner.append(chat, [2]);
    expect(planAndCommit(planner)).toEqual([[chat, 0, 1]]);
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
    expect(planAndCommit(planner)).toEqual([[chat, 0, 1]]);
  });

  test('a lost device costs what was computed, and nothing else', () => {
    const { planner } = plannerOf();
    const chat = planner.add({ tokens: tokensOf(9) });
    planAndCommit(planner);
    planner.plan();
    planner.reset();
    expect(planAndCommit(planner)).toEqual([[chat, 0, 10]]);
  });

  test('keeps what is in host memory, unless the step was still to copy it there', () => {
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
