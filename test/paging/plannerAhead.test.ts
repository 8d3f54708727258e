import { array, assert, constantFrom, integer, property, record } from 'fast-check';
import { describe, expect, test } from 'vitest';
import { PageManager } from '../../src/paging/pageManager.js';
import type { PageEvent } from '../../src/paging/prefix/pageEvents.js';
import type { Step } from '../../src/paging/planner/step.js';
import { StepPlanner } from '../../src/paging/planner/stepPlanner.js';
import { plannerOf, tokensOf } from './pagingFixtures.js';

interface Prompt {
  readonly tokens: readonly number[];
  readonly nNew: number;
}

interface Pool {
  readonly nPages: number;
  readonly pageSize: number;
  readonly maxTokens: number;
  readonly preempt: 'recompute' | 'swap';
}

/** Answers prompts, one step ahead of what it knows or not, by a model that follows from all tokens before. */
function answers(prompts: readonly Prompt[], pool: Pool, isAhead: boolean) {
  const { nPages, pageSize, ...rules } = pool;
  const stored: number[] = [];
  const onEvent = (event: PageEvent): void => {
    if (event.type === 'stored') stored.push(...event.tokens);
  };
  const pages = new PageManager({ nPages, pageSize, nHostPages: 4, onEvent });
  const planner = new StepPlanner({ pages, ...rules, maxSequences: 4 });
  const texts = new Map(
    prompts.map((prompt) => [planner.add({ tokens: prompt.tokens }), { ...prompt, answer: [] as number[] }]),
  );
  const next = (tokens: readonly number[]): number =>
    tokens.reduce((sum, t) => (sum * 31 + t + 7) % 997, 1) % 5;

  /** What the step before has sampled, which only the GPU knows. */
  let ofLastStep: { readonly sampled: readonly number[]; readonly tokens: readonly number[] } | undefined;
  const tell = (): void => {
    ofLastStep!.sampled.forEach((sequence, i) => {
      const text = texts.get(sequence)!;
      if (text.answer.length === text.nNew) return;
      text.answer.push(ofLastStep!.tokens[i]!);
      if (text.answer.length === text.nNew) planner.finish(sequence);
    });
  };
  /** A row's token comes from the step where it is known, and from the samples where it is not. */
  const tokensOfStep = (step: Step): number[] => {
    const tokens = [...step.tokens];
    step.unknownRows.forEach((row, i) => (tokens[row] = ofLastStep!.tokens[step.unknownSamples[i]!]!));
    return tokens;
  };

  let nSteps = 0;
  for (let step = planner.plan(); step !== 'idle' || ofLastStep; step = planner.plan()) {
    if (++nSteps > 3000) throw new Error('steps without an end');
    if (step === 'full') throw new Error('full');
    if (step === 'idle') {
      planner.resolve(ofLastStep!.tokens);
      tell();
      ofLastStep = undefined;
      continue;
    }
    const tokens = tokensOfStep(step);
    const sampled = [...step.sampled];
    const samples = sampled.map((sequence) => {
      const b = step.sequences.indexOf(sequence);
      const inStep = tokens.slice(step.cuSeqlensQ[b], step.cuSeqlensQ[b + 1]);
      const view = pages.sequence(sequence);
      const before = Array.from({ length: view.nComputed }, (_, position) => view.token(position));
      expect(before).not.toContain(-1);
      return next([...before, ...inStep]);
    });
    if (!isAhead) {
      planner.commit(samples);
      ofLastStep = { sampled, tokens: samples };
      tell();
      ofLastStep = undefined;
      continue;
    }
    if (ofLastStep) {
      planner.resolve(ofLastStep.tokens);
      tell();
    }
    planner.commitAhead();
    ofLastStep = { sampled, tokens: samples };
  }
  expect(stored).not.toContain(-1);
  expect(pages.nFreePages).toBe(nPages);
  return [...texts.values()].map(({ answer }) => answer);
}

describe('a step ahead', () => {
  test('gives the tokens that one after the other gives', () => {
    const prompts = array(
      record({
        tokens: array(integer({ min: 0, max: 1 }), { minLength: 1, maxLength: 20 }),
        nNew: integer({ min: 1, max: 12 }),
      }),
      { minLength: 1, maxLength: 6 },
    );
    const pool = record({
      nPages: integer({ min: 34, max: 50 }),
      pageSize: integer({ min: 1, max: 4 }),
      maxTokens: integer({ min: 1, max: 24 }),
      preempt: constantFrom('recompute' as const, 'swap' as const),
    });
    assert(
      property(prompts, pool, (drawn, sizes) => {
        expect(answers(drawn, sizes, true)).toEqual(answers(drawn, sizes, false));
      }),
      { numRuns: 300, seed: 14 },
    );
  });

  test('says which rows wait for which samples', () => {
    const { planner } = plannerOf({ maxTokens: 6 });
    const [a, b] = [planner.add({ tokens: [10, 11] }), planner.add({ tokens: tokensOf(4, 1) })];
    expect([...(planner.plan() as Step).sampled]).toEqual([a, b]);
    planner.commitAhead();
    const step = planner.plan() as Step;
    expect([...step.tokens]).toEqual([-1, -1]);
    expect([...step.unknownRows, ...step.unknownSamples]).toEqual([0, 1, 0, 1]);
    planner.finish(a);
    planner.resolve([7, 8]);
    planner.commit([1, 9]);
    expect([...(planner.plan() as Step).tokens]).toEqual([9]);
  });

  test('refuses what needs tokens that are not known', () => {
    const { planner, pages } = plannerOf({ maxTokens: 4 });
    const sequence = planner.add({ tokens: [1, 2] });
    expect(() => planner.resolve([3])).toThrowErrorMatchingInlineSnapshot(
      `[PageflashError: StepPlanner.resolve: all tokens are known. Call it once after commitAhead.]`,
    );
    expect(() => planner.commitAhead()).toThrowErrorMatchingInlineSnapshot(
      `[PageflashError: StepPlanner.commitAhead: no step is planned. Call plan first.]`,
    );
    planner.plan();
    planner.commitAhead();
    expect(() => planner.append(sequence, [3])).toThrowErrorMatchingInlineSnapshot(
      `[PageflashError: StepPlanner.append: the last token of sequence 0 is not known yet. Call resolve first.]`,
    );
    expect(() => planner.fork(sequence)).toThrowErrorMatchingInlineSnapshot(
      `[PageflashError: StepPlanner.fork: the last token of sequence 0 is not known yet. Call resolve first.]`,
    );
    expect(() => planner.truncate(sequence, 1)).toThrowErrorMatchingInlineSnapshot(
      `[PageflashError: StepPlanner.truncate: the last token of sequence 0 is not known yet. Call resolve first.]`,
    );
    expect(() => pages.pin(sequence)).toThrowErrorMatchingInlineSnapshot(
      `[PageflashError: PageManager.pin: the last token of sequence 0 is not known yet. Call resolve first.]`,
    );
    planner.plan();
    expect(() => planner.commit([3])).toThrowErrorMatchingInlineSnapshot(
      `[PageflashError: StepPlanner.commit: what the step before has sampled is not known yet. Call resolve first.]`,
    );
    expect(() => planner.resolve([3, 4])).toThrowErrorMatchingInlineSnapshot(
      `[PageflashError: StepPlanner.resolve: tokens must have a number for each of 1 sampled sequences, not 2.]`,
    );
    planner.resolve([3]);
    planner.commit([4]);
    expect(pages.sequence(sequence).nTokens).toBe(4);
  });

  test('a reset samples again what was never told', () => {
    const { planner, pages } = plannerOf({ maxTokens: 4 });
    const sequence = planner.add({ tokens: [1, 2] });
    planner.plan();
    planner.commitAhead();
    planner.plan();
    planner.reset();
    expect(pages.sequence(sequence).nTokens).toBe(2);
    const step = planner.plan() as Step;
    expect([...step.tokens]).toEqual([1, 2]);
    expect([...step.sampled]).toEqual([sequence]);
  });
});
