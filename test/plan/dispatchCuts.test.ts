import { describe, expect, test } from 'vitest';
import { UNKNOWN_PACE, type Pace } from '../../src/core/pace.js';
import { attentionWork, type WorkList } from '../../src/plan/attentionWork.js';
import { cutsOf } from '../../src/plan/dispatchCuts.js';
import { planCachedAttention } from '../../src/plan/planAppend.js';
import { batchOf, type BatchOptions } from './batch.js';
import { traitsOf } from './traits.js';
import { randomBatches, type Sequences } from './work.js';

const GPU = traitsOf({});
const CAUSAL = { heads: [32, 8], headDim: 128, dtype: 'f16', masks: { right: 0 } } as const;
const PROMPT: Sequences = [[16_384, 16_384]];

function listsOf(sequences: Sequences, options: BatchOptions, traits = GPU) {
  const { problem, lengths } = batchOf(sequences, options);
  return { problem, lists: attentionWork(problem, lengths, traits).lists };
}

/** Cuts of the only list. */
function cuts(sequences: Sequences, options: BatchOptions, pace: Pace, traits = GPU) {
  const { problem, lists } = listsOf(sequences, options, traits);
  return cutsOf(lists[0]!, problem, traits, pace);
}

const paceOf = (macsPerSecond: number): Pace => ({ macsPerSecond, bytesPerSecond: 0 });

describe('long work is cut', () => {
  test('into parts of equal work, instead of full ones and a small rest', () => {
    const loads = cuts(PROMPT, CAUSAL, UNKNOWN_PACE).map(({ load }) => load.macs);
    expect(loads.length).toBeGreaterThan(10);
    expect(Math.max(...loads)).toBeLessThan(1.2 * Math.min(...loads));
    // 50 ms of the slowest GPUs.
    expect(Math.max(...loads)).toBeLessThan(1.05 * 2e10);
  });

  test('less where the device has proven to be fast, and no more where it has not', () => {
    const counts = [0, 1e11, 4e11, 8e11, 3.2e12, 1e14].map(
      (rate) => cuts(PROMPT, CAUSAL, paceOf(rate)).length,
    );
    expect(counts).toEqual(counts.toSorted((a, b) => b - a));
    expect(counts[1]).toBe(counts[0]);
    expect(counts.at(-1)).toBe(1);
  });

  test('so that every part fills a device whose pace is known', () => {
    for (const rate of [4e12, 8e12]) {
      const parts = cuts(PROMPT, CAUSAL, paceOf(rate));
      const workgroups = parts.map(({ range: [first, end] }) => (end - first) * 8);
      expect(Math.min(...workgroups)).toBeGreaterThanOrEqual(512);
    }
  });

  test('but never so that a part takes long, however few workgroups it has', () => {
    // 64 workgroups, each of which takes a hundredth of a second.
    const parts = cuts([[256, 65_536]], { ...CAUSAL, numSplits: 1 }, paceOf(4e11));
    for (const { load } of parts) expect(load.macs).toBeLessThanOrEqual(1.1 * 0.2 * 4e11);
  });

  test('as a tuning says, also where that is slower than was assumed', () => {
    const tuned = (macsPerSecond: number) => {
      const tuning = {
        rates: { macsPerSecond, bytesPerSecond: 1e11 },
        chunks: { workgroups: 16, minKeys: 256 },
        prefill: [],
        decode: [],
      };
      return cuts(PROMPT, CAUSAL, paceOf(1e13), traitsOf({ tuning: tuning as never })).length;
    };
    expect(tuned(1e11)).toBeGreaterThan(cuts(PROMPT, CAUSAL, UNKNOWN_PACE).length);
    expect(tuned(1e14)).toBe(1);
  });

  test('by bytes where few rows read many keys', () => {
    const sequences: Sequences = Array.from({ length: 64 }, () => [1, 16_384] as const);
    const options = { heads: [8, 8], headDim: 128, dtype: 'f16' } as const;
    const slow = cuts(sequences, options, UNKNOWN_PACE);
    expect(slow.length).toBeGreaterThan(3);
    for (const { load } of slow) expect(load.bytes).toBeLessThan(1.1 * 1e9);
    expect(cuts(sequences, options, { macsPerSecond: 0, bytesPerSecond: 2 ** 40 })).toHaveLength(1);
  });
});

test('cuts cover every item once, in order, at any pace and of any lists', () => {
  for (const { sequences, options } of randomBatches(60)) {
    const { problem, lists } = listsOf(sequences, options);
    for (const list of lists) {
      for (const pace of [UNKNOWN_PACE, paceOf(1e6), paceOf(1e13)]) {
        const ranges = cutsOf(list, problem, GPU, pace).map(({ range }) => range);
        ranges.forEach(([first, end], i) => {
          expect(first).toBe(i === 0 ? 0 : ranges[i - 1]![1]);
          expect(end > first || list.items.length === 0).toBe(true);
        });
        expect(ranges.at(-1)![1]).toBe(list.items.length);
      }
    }
  }
});

test('one item of much work among small ones is a part of its own', () => {
  const { problem, lists } = listsOf([[64, 64]], CAUSAL);
  const list: Pick<WorkList, 'tile' | 'isDecode' | 'keyTiles' | 'tileArea'> = {
    ...lists[0]!,
    keyTiles: Uint32Array.of(100_000, 1, 1, 1, 1, 1, 1, 1),
  };
  expect(cutsOf(list, problem, GPU, UNKNOWN_PACE).map(({ range }) => range)).toEqual([
    [0, 1],
    [1, 8],
  ]);
});

test('the pace changes nothing but which items a dispatch takes', () => {
  const { problem, lengths } = batchOf(PROMPT, CAUSAL);
  const [slow, fast] = [0, 1e14].map((rate) =>
    planCachedAttention(problem, lengths, GPU, { pace: paceOf(rate) }),
  );
  expect(fast!.length).toBeLessThan(slow!.length);
  const [all] = fast!;
  for (const dispatch of slow!) {
    expect(dispatch.spec).toEqual(all!.spec);
    expect(dispatch.bindings).toEqual(all!.bindings);
    const { first_item: _first, end_item: _end, ...params } = dispatch.params;
    expect(all!.params).toMatchObject(params);
  }
});
