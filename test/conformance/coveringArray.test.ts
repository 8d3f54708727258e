import { describe, expect, test } from 'vitest';
import { conformanceSuites, SELECTIONS } from './cases.js';
import { coveringArray, type Axes } from './coveringArray.js';
import { draw, select, type ConformanceSuite } from './selection.js';
import { Random } from '../../tools/random.js';

const AXES = {
  a: [0, 1, 2, 3],
  b: ['x', 'y', 'z'],
  c: [false, true],
  d: [1, 2],
} as const;

const together = (rows: readonly object[], pair: object): boolean =>
  rows.some((row) => Object.entries(pair).every(([axis, value]) => row[axis as keyof typeof row] === value));

/** Every two values of different axes. */
function pairsOf(axes: Axes): Record<string, unknown>[] {
  return Object.keys(axes).flatMap((one, i, names) =>
    names
      .slice(i + 1)
      .flatMap((other) => axes[one]!.flatMap((a) => axes[other]!.map((b) => ({ [one]: a, [other]: b })))),
  );
}

test('every pair of values is in a row, and rows are few', () => {
  const { rows, left } = coveringArray({ axes: AXES, strength: 2, random: new Random(1) });
  expect(left).toEqual([]);
  expect(pairsOf(AXES).filter((pair) => !together(rows, pair))).toEqual([]);
  // Twelve pairs of the two longest axes need as many rows; all 48 combinations would hold them too.
  expect(rows.length).toBeLessThan(16);
});

test('what is not allowed is in no row, and all else is', () => {
  const allows = ({ a, c }: { a?: number; c?: boolean }): boolean => !(a === 2 && c === true);
  const { rows } = coveringArray({ axes: AXES, strength: 2, allows, random: new Random(1) });
  const missing = pairsOf(AXES).filter((pair) => !together(rows, pair));
  expect(missing).toEqual([{ a: 2, c: true }]);
});

test('a pair that no whole row allows is told', () => {
  // With d = 1 c must be false, with d = 2 it must be true: then a = 2 and c = true, alone allowed, have no d.
  const allows = ({ a, d }: { a?: number; d?: number }): boolean => !(a === 2 && d !== undefined);
  const { left } = coveringArray({
    axes: { a: [1, 2], d: [1, 2], c: [false, true] },
    strength: 2,
    allows,
    random: new Random(1),
  });
  expect(left).toEqual([
    { a: 2, c: false },
    { a: 2, c: true },
  ]);
});

/** Suites whose pairs `npm test` compares, most of the time of which is that of compiling. */
const COMPARED = new Set(['varlen', 'kvCache', 'merge']);

/** Times as many kernels as the pairs of two axes need at least. */
const MOST_KERNELS = 1.6;

describe.each(Object.entries(conformanceSuites))('cells of %s', (name, suite: ConformanceSuite) => {
  const options = SELECTIONS.pairs;
  const { maxCost } = options;
  const chosen = select(suite, options);
  const cells = chosen.flatMap((kernel) => kernel.cells);

  test('hold every value', () => {
    for (const [axis, values] of Object.entries(suite.axes))
      for (const value of values)
        expect(together(cells, { [axis]: value }), `${axis} ${String(value)}`).toBe(true);
  });

  test('hold every pair of values that a cell can afford', () => {
    const missing = pairsOf(suite.axes).filter(
      (pair) => suite.allows(pair) && suite.cost(pair) <= maxCost && !together(cells, pair),
    );
    expect(missing).toEqual([]);
  });

  if (COMPARED.has(name))
    test('need few kernels', () => {
      const [most = 1, second = 1] = Object.values(suite.kernelAxes)
        .map((values) => values!.length)
        .toSorted((a, b) => b - a);
      expect(chosen.length).toBeLessThanOrEqual(MOST_KERNELS * most * second);
    });

  test('are the same each time', () => {
    expect(select(suite, options)).toEqual(chosen);
    expect(draw(suite, { nCells: 3, maxCost, seed: 7 })).toEqual(
      draw(suite, { nCells: 3, maxCost, seed: 7 }),
    );
  });
});
