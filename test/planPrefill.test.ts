import { describe, expect, test } from 'vitest';
import type { AttentionProblem, HostLengths, Masks } from '../src/kernels/attentionProblem.js';
import { tileRows, type PrefillTile } from '../src/kernels/attnPrefill.js';
import { planPrefill } from '../src/plan/planPrefill.js';
import { workItems } from '../src/plan/workItems.js';
import { fakeTensor } from './support/fakeDevice.js';
import { traitsOf } from './support/traits.js';

/** 32 rows by 32 keys. */
const TILE: PrefillTile = {
  teams: 8,
  lanes: 8,
  rows: 4,
  cols: 2,
  headQuads: 16,
  chunkQuads: 16,
  valueKeys: 32,
  qResident: true,
  subgroups: false,
  broadcast: false,
  f16Tiles: false,
  rolled: false,
};

function problemOf(
  lengths: HostLengths,
  masks: Partial<Masks> = {},
  [nHeads, nKvHeads] = [1, 1],
): AttentionProblem {
  const total = (counts: Int32Array) => counts.reduce((sum, count) => sum + count, 0);
  const rows = (tokens: number, heads: number) => ({
    tensor: fakeTensor('f32', [tokens, heads, 64]),
    sequence: 0,
    page: 0,
    token: 64 * heads,
    head: 64,
  });
  return {
    batch: lengths.qLen.length,
    nHeads,
    nKvHeads,
    headDim: 64,
    headDimV: 64,
    q: rows(total(lengths.qLen), nHeads),
    k: rows(total(lengths.kLen), nKvHeads),
    v: rows(total(lengths.kLen), nKvHeads),
    out: rows(total(lengths.qLen), nHeads),
    lse: null,
    pages: null,
    masks: { left: -1, right: -1, attentionChunk: 0, ...masks },
    softmaxScale: 0.125,
    softcap: 0,
    slopes: null,
    sinks: null,
  };
}

function lengthsOf(pairs: readonly (readonly [q: number, k: number])[]): HostLengths {
  const starts = (index: 0 | 1) => {
    let start = 0;
    return Int32Array.from(pairs, (pair) => (start += pair[index]) - pair[index]);
  };
  return {
    qStart: starts(0),
    kStart: starts(1),
    qLen: Int32Array.from(pairs, ([q]) => q),
    kLen: Int32Array.from(pairs, ([, k]) => k),
  };
}

const items = (
  pairs: readonly (readonly [number, number])[],
  masks?: Partial<Masks>,
  heads?: [number, number],
) => {
  const lengths = lengthsOf(pairs);
  const work = workItems(problemOf(lengths, masks, heads), lengths, TILE);
  return Array.from(work.keyTiles, (cost, i) => [work.items[2 * i], work.items[2 * i + 1], cost]);
};

describe('work items are (sequence, row tile, tiles of keys)', () => {
  test('heaviest first, equals in order', () => {
    expect(
      items([
        [64, 64],
        [1, 200],
        [0, 50],
      ]),
    ).toEqual([
      [1, 0, 7],
      [0, 0, 2],
      [0, 1, 2],
    ]);
  });

  test('causal order spares the tiles above the diagonal', () => {
    expect(items([[96, 96]], { right: 0 })).toEqual([
      [0, 2, 3],
      [0, 1, 2],
      [0, 0, 1],
    ]);
  });

  test('windows and chunks spare tiles on both sides', () => {
    expect(items([[32, 320]], { left: 40, right: 0 })).toEqual([[0, 0, 3]]);
    expect(items([[32, 320]], { right: 0, attentionChunk: 64 })).toEqual([[0, 0, 2]]);
  });

  test('the heads of a group are rows', () => {
    expect(items([[20, 32]], {}, [4, 1])).toEqual([
      [0, 0, 1],
      [0, 1, 1],
      [0, 2, 1],
    ]);
  });

  test('rows that see no key are items all the same, since they must be written', () => {
    expect(items([[40, 0]])).toEqual([
      [0, 0, 0],
      [0, 1, 0],
    ]);
  });
});

describe('planPrefill', () => {
  const traits = traitsOf({ deviceClass: 'software', maxWorkgroupBytes: 32768 });

  test('a small batch is one dispatch, with a workgroup for each item and kv head', () => {
    const lengths = lengthsOf([
      [33, 40],
      [5, 5],
    ]);
    const [dispatch, ...more] = planPrefill(problemOf(lengths, {}, [2, 2]), lengths, traits);
    expect(more).toEqual([]);
    expect(dispatch!.grid).toEqual([6, 1, 1]);
  });

  test('much work is cut into dispatches that cover every item once', () => {
    const lengths = lengthsOf([[6000, 6000]]);
    const dispatches = planPrefill(problemOf(lengths, { right: 0 }, [2, 2]), lengths, traits);
    expect(dispatches.length).toBeGreaterThan(2);
    const ranges = dispatches.map(({ params }) => [params['first_item']!, params['n_items']!]);
    ranges.forEach(([first], i) => expect(first).toBe(i === 0 ? 0 : ranges[i - 1]![1]));
    expect(ranges.at(-1)![1]).toBe(Math.ceil(6000 / tileRows(TILE)));
  });

  test('more workgroups than a dimension holds fold into two', () => {
    const lengths = lengthsOf([[4000, 1]]);
    const [dispatch] = planPrefill(problemOf(lengths), lengths, {
      ...traits,
      maxWorkgroupsPerDimension: 100,
    });
    const [x, y] = dispatch!.grid;
    expect(x).toBeLessThanOrEqual(100);
    expect(x * y).toBeGreaterThanOrEqual(125);
  });

  test('nothing to write is no dispatch', () => {
    const lengths = lengthsOf([[0, 5]]);
    expect(planPrefill(problemOf(lengths), lengths, traits)).toEqual([]);
  });

  test('slopes on the GPU are gathered first', () => {
    const lengths = lengthsOf([[3, 3]]);
    const slopes = { values: fakeTensor('f32', [1]), perSequence: false };
    const plan = planPrefill({ ...problemOf(lengths), slopes }, lengths, traits);
    expect(plan.map(({ kernel }) => kernel.name)).toEqual(['gather_tables', 'attn_prefill']);
  });
});
