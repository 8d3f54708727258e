import { describe, expect, test } from 'vitest';
import { fuzzPlanner, replayEngine } from './fuzz/fuzzPaging.js';

describe('an engine with random users', () => {
  test('every token sees its own past, and every sequence ends', { timeout: 60_000 }, () => {
    expect(fuzzPlanner({ nRuns: 200, seed: 1 })).toBeGreaterThan(3000);
  });
});

describe('scenarios that once failed', () => {
  const options = { nHostPages: 0, isCaching: true, preempt: 'recompute', watermark: 0 } as const;
  const user = { type: 'add', priority: 0, salt: 0, isPrivate: false } as const;

  test('a first sequence preempted two others in turns, and never got enough pages', () => {
    const pool = {
      nPages: 2,
      pageSize: 1,
      window: 0,
      firstKeys: 0,
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

  test('two forks that had to copy a page at once preempted each other', () => {
    const pool = {
      nPages: 2,
      pageSize: 4,
      window: -1,
      firstKeys: 0,
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

  test('a sequence that had to copy a page fitted, but not with the copy', () => {
    const pool = {
      nPages: 3,
      pageSize: 3,
      window: 0,
      firstKeys: 0,
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

  test('a page filled by wrong drafts was reused after the page before it', () => {
    const pool = {
      nPages: 3,
      pageSize: 3,
      window: 0,
      firstKeys: 0,
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
