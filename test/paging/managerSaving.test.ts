import { describe, expect, test } from 'vitest';
import type { SequenceState } from '../../src/paging/saving.js';
import { refusal } from '../check/refusal.js';
import { addComputed, managerOf, pagesOf, plannerOf, tokensOf } from './pagingFixtures.js';

const state = (change: Partial<SequenceState> = {}): SequenceState => ({
  tokens: Int32Array.from(tokensOf(10)),
  salt: 0,
  isPrivate: false,
  nComputed: 9,
  nOnceComputed: 10,
  firstColumn: 0,
  ...change,
});

describe('saving', () => {
  test('gives the tokens and where their pages are, and holds these', () => {
    const manager = managerOf();
    const chat = addComputed(manager, tokensOf(10));
    const saved = manager.save({ sequence: chat });
    expect(saved).toMatchObject({ nComputed: 10, nOnceComputed: 10, firstColumn: 0, nPages: 3, pageSize: 4 });
    expect([...saved.tokens]).toEqual(tokensOf(10));
    expect(saved.pages).toEqual(pagesOf(manager, chat));
    manager.append(chat, [7]);
    // What goes on writes to a copy of the last page.
    expect(manager.reserve(chat)).toEqual([[saved.pages[2], 3]]);
    manager.commit(chat);
    manager.release(chat);
    expect(manager.nFreePages).toBe(13);
    saved.release();
    expect(manager.nFreePages).toBe(16);
    expect(refusal(() => saved.pages)).toMatchInlineSnapshot(
      `"argument: PageManager.save: the pages to save are held no more, since a reset took them or they were released. Save what is there now."`,
    );
  });

  test('a page that is copied stays until then, also when the save ends before', () => {
    const manager = managerOf({ nPages: 2 });
    const chat = addComputed(manager, tokensOf(2));
    const saved = manager.save({ sequence: chat });
    manager.append(chat, [7]);
    expect(manager.reserve(chat)).toEqual([[0, 1]]);
    saved.release();
    const other = manager.add(tokensOf(4, 1));
    expect(manager.reserve(other)).toBe('full');
    manager.commit(chat);
    expect(manager.reserve(other)).toEqual([]);
    expect(pagesOf(manager, other)).toEqual([0]);
  });

  test('pages that are held are no room for a planner, but hold up nothing that fits', () => {
    const { pages, planner } = plannerOf({ nPages: 4 });
    const chat = planner.add({ tokens: tokensOf(7) });
    planner.plan();
    planner.commit([1]);
    const saved = pages.save({ sequence: chat });
    planner.append(chat, [1, 2, 3]);
    expect(pages.canFit(chat)).toBe(true);
    const long = planner.add({ tokens: tokensOf(13, 2) });
    expect([pages.canFit(long), pages.canFit(chat)]).toEqual([false, true]);
    const step = planner.plan();
    if (typeof step === 'string') throw new Error(step);
    expect([...step.sequences]).toEqual([chat]);
    planner.commit([1]);
    planner.finish(chat);
    expect(planner.plan()).toBe('full');
    saved.release();
    expect(typeof planner.plan()).toBe('object');
  });

  test('of a sequence in host memory, the host pages', () => {
    const manager = managerOf({ nHostPages: 3 });
    const chat = addComputed(manager, tokensOf(8));
    expect(manager.swapOut(chat)).toHaveLength(2);
    const saved = manager.save({ sequence: chat });
    expect(saved).toMatchObject({ hostPages: [0, 1], nPages: 2, nComputed: 8 });
    expect(manager.nFreePages).toBe(16);
  });

  test('refuses what it does not know', () => {
    const manager = managerOf();
    const chat = addComputed(manager, tokensOf(10));
    manager.append(chat, [1]);
    manager.reserve(chat);
    expect([
      refusal(() => manager.save({} as never)),
      refusal(() => manager.save(chat as never)),
      refusal(() => manager.save({ sequence: chat })),
      refusal(() => manager.save({ sequence: 7 })),
      refusal(() => manager.save({ sequence: chat, salt: 1 } as never)),
      refusal(() => manager.save({ tokens: [NaN] })),
      refusal(() => manager.save({ tokens: [1], salt: 0.5 })),
    ]).toMatchInlineSnapshot(`
      [
        "argument: PageManager.save: pass one of sequence and tokens.",
        "argument: PageManager.save: the arguments must be one object, not 0.",
        "argument: PageManager.save: sequence 0 has 1 tokens in flight. Commit them first.",
        "argument: PageManager.save: there is no sequence 7. Pass the id of one that was started.",
        "argument: PageManager.save: salt goes with tokens. A sequence has its own.",
        "argument: PageManager.save: tokens[0] must be a whole number of 32 bits, not NaN.",
        "argument: PageManager.save: salt must be a whole number of 32 bits, not 0.5.",
      ]
    `);
  });
});

describe('restoring', () => {
  test('says which pages to write, from which saved ones, and counts them as taken until commit', () => {
    const manager = managerOf();
    addComputed(manager, tokensOf(5));
    const restored = manager.restore(state());
    if (restored === 'full') throw new Error('full');
    const { sequence, writes } = restored;
    expect(manager.sequence(sequence)).toMatchObject({ nComputed: 4, nInFlight: 5, nPages: 3 });
    expect(writes.map(([saved]) => saved)).toEqual([1, 2]);
    expect(writes.map(([, page]) => page)).toEqual(pagesOf(manager, sequence).slice(1));
    const long = manager.add(tokensOf(4 * 14, 3));
    expect(manager.canFit(long)).toBe(false);
    manager.commit(sequence);
    expect(manager.canFit(long)).toBe(true);
    expect(manager.sequence(sequence)).toMatchObject({ nComputed: 9, nInFlight: 0, isResting: true });
  });

  test('given up, it leaves no trace', () => {
    for (const window of [-1, 4]) {
      const manager = managerOf({ window });
      const before = JSON.stringify(manager.snapshot());
      const restored = manager.restore(state({ firstColumn: window < 0 ? 0 : 1 }));
      if (restored === 'full') throw new Error('full');
      expect(manager.snapshot().published).toHaveLength(0);
      manager.release(restored.sequence);
      expect(JSON.stringify(manager.snapshot())).toBe(before);
    }
  });

  test('refuses what no sequence can have been', () => {
    const manager = managerOf({ window: 4 });
    const before = JSON.stringify(manager.snapshot());
    const restore = (change: object) => refusal(() => manager.restore(state(change)));
    expect([
      restore({ tokens: [0.5] }),
      restore({ nComputed: 11 }),
      restore({ nOnceComputed: 8 }),
      restore({ nOnceComputed: 11 }),
      restore({ firstColumn: -1 }),
      restore({ firstColumn: 2 }),
      restore({ salt: 'x' }),
      restore({ isPrivate: undefined, nTokens: 3 }),
      refusal(() => manager.restore(undefined as never)),
      refusal(() => manager.restore([] as never)),
    ]).toMatchInlineSnapshot(`
      [
        "argument: PageManager.restore: tokens[0] must be a whole number of 32 bits, not 0.5.",
        "argument: PageManager.restore: nComputed must be a whole number from 0 to 10, not 11.",
        "argument: PageManager.restore: nComputed must be a whole number from 0 to 8, not 9.",
        "argument: PageManager.restore: nOnceComputed must be a whole number from 0 to 10, not 11.",
        "argument: PageManager.restore: firstColumn must be a whole number ≥ 0, not -1.",
        "argument: PageManager.restore: the first page is that of column 2, but what follows 9 tokens sees column 1. Save with the window of this manager.",
        "argument: PageManager.restore: salt must be a whole number of 32 bits, not "x".",
        "argument: PageManager.restore: there is no argument nTokens. There are tokens, salt, isPrivate, nComputed, nOnceComputed, firstColumn, nKeptColumns.",
        "argument: PageManager.restore: the arguments must be one object, not undefined.",
        "argument: PageManager.restore: the arguments must be one object, not [].",
      ]
    `);
    expect(JSON.stringify(manager.snapshot())).toBe(before);
  });
});
