import { expect, test } from 'vitest';
import { commonPrefix } from '../../src/paging/pool/batch.js';
import { drawPages, drawPagesSvg } from '../../src/paging/drawPages.js';
import { PageManager } from '../../src/paging/pageManager.js';
import { computeAll, addComputed, tokensOf } from './computedSequences.js';

/** Two sequences with a page in common, one that ended, and a pin. */
function busyManager(): PageManager {
  const manager = new PageManager({ nPages: 12, pageSize: 4, nHostPages: 2 });
  const first = addComputed(manager, tokensOf(10));
  const second = manager.add([...tokensOf(4), 90, 91]);
  computeAll(manager, second);
  const gone = addComputed(manager, tokensOf(8, 1));
  const system = addComputed(manager, tokensOf(4, 2));
  manager.pin(system);
  manager.release(gone);
  manager.release(system);
  manager.append(first, [1]);
  return manager;
}

test('usage counts pages, waste and hits', () => {
  const { wastePercent, hitPercent, ...counts } = busyManager().usage();
  expect(counts).toEqual({
    nPages: 12,
    nUsed: 5,
    nShared: 1,
    nCached: 2,
    nHostPages: 2,
    nHostUsed: 0,
    nSequences: 2,
  });
  expect(wastePercent).toBeCloseTo((100 * 4) / 20);
  expect(hitPercent).toBeCloseTo((100 * 4) / (10 + 6 + 8 + 4));
});

test('an empty pool wastes nothing', () => {
  const usage = new PageManager({ nPages: 2, pageSize: 4 }).usage();
  expect(usage).toMatchObject({ nUsed: 0, wastePercent: 0, hitPercent: 0 });
});

test('a picture in text shows who has which page', () => {
  expect(drawPages(busyManager().snapshot(), { columns: 8 })).toMatchInlineSnapshot(`
    "     0 #aab--!.
         8 ....
    a: sequence 0, 11 tokens   b: sequence 1, 6 tokens"
  `);
});

test('a picture of nothing, or without columns, is refused', () => {
  const snapshot = busyManager().snapshot();
  expect(() => drawPages(undefined as never)).toThrowErrorMatchingInlineSnapshot(
    `[PageflashError: drawPages: snapshot must be what PageManager.snapshot gives, not undefined.]`,
  );
  expect(() => drawPages(snapshot, { columns: 0 })).toThrowErrorMatchingInlineSnapshot(
    `[PageflashError: drawPages: columns must be a whole number ≥ 1, not 0.]`,
  );
  expect(() => drawPagesSvg(snapshot, { column: 8 } as never)).toThrowErrorMatchingInlineSnapshot(
    `[PageflashError: drawPagesSvg: there is no argument column. There are columns.]`,
  );
});

test('a picture in SVG has a square for each page, with its owner', () => {
  const svg = drawPagesSvg(busyManager().snapshot(), { columns: 4 });
  expect(svg.match(/<rect /g)).toHaveLength(12);
  expect(svg).toContain('viewBox="0 0 48 36"');
  expect(svg).toContain('<title>page 0: shared</title>');
  expect(svg).toContain('<title>page 1: sequence 0</title>');
});

test('a prefix is common as far as all have the same pages, written and not behind a window', () => {
  const manager = new PageManager({ nPages: 32, pageSize: 4 });
  const prompts = [tokensOf(14), tokensOf(14), [...tokensOf(8), 90, 91, 92, 93, 94]];
  const sequences = prompts.map((prompt) => addComputed(manager, prompt));
  for (const sequence of sequences) {
    manager.append(sequence, [1]);
    manager.reserve(sequence, 1);
  }
  const commonOf = (...some: number[]) => commonPrefix(manager.batch(some.map((i) => sequences[i]!)), 4);
  expect(commonOf(0, 1)).toBe(12);
  expect(commonOf(0, 1, 2)).toBe(8);
  expect(commonOf(0)).toBe(0);
  expect(commonOf()).toBe(0);
  expect(() => commonPrefix(manager.batch(sequences), 0)).toThrowErrorMatchingInlineSnapshot(
    `[PageflashError: commonPrefix: pageSize must be a whole number ≥ 1, not 0.]`,
  );
  expect(() => commonPrefix(sequences as never, 4)).toThrowErrorMatchingInlineSnapshot(
    `[PageflashError: commonPrefix: batch must be a batch or a step, not [0, 1, 2].]`,
  );
});
