import { expect, test } from 'vitest';
import { drawPages, drawPagesSvg } from '../../src/paging/drawPages.js';
import { PageManager } from '../../src/paging/pageManager.js';
import { addComputed, computeAll, tokensOf } from './pagingFixtures.js';

/** A manager with two sequences that share a page, one that has ended, and a pin. */
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

test('a drawing in text shows which page is whose', () => {
  expect(drawPages(busyManager().snapshot(), { columns: 8 })).toMatchInlineSnapshot(`
    "     0 #aab--!.
         8 ....
    a: sequence 0, 11 tokens   b: sequence 1, 6 tokens"
  `);
});

test('a drawing of nothing, or without columns, is refused', () => {
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

test('a drawing in SVG has a square for each page, with its owner', () => {
  const svg = drawPagesSvg(busyManager().snapshot(), { columns: 4 });
  expect(svg.match(/<rect /g)).toHaveLength(12);
  expect(svg).toContain('viewBox="0 0 48 36"');
  expect(svg).toContain('<title>page 0: shared</title>');
  expect(svg).toContain('<title>page 1: sequence 0</title>');
});
