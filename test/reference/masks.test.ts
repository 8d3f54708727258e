import { describe, expect, test } from 'vitest';
import { NO_MASKS } from '../../src/problem/attentionProblem.js';
import { firstKeysEnd, visibleBand } from '../../src/problem/band.js';
import { attnVarlenReference, attnWithKvCacheReference } from '../../src/reference/attention.js';
import { seenKeys, visibleKeys } from '../../src/reference/masks.js';
import { randomPaged, rowsOf, tensor, unitMatrix } from './hostTensors.js';
import { expectNear } from './near.js';
import { Random } from '../../tools/random.js';
import { attnByHand, picture, seen } from './byHand.js';

const { exp, log } = Math;

describe('masks', () => {
  test.each([
    { options: { causal: true }, want: ['xxx.', 'xxxx'], why: 'aligned bottom right' },
    { options: { causal: true }, want: ['..', '..', 'x.', 'xx'], why: 'more queries than keys' },
    { options: { windowSize: [1, 1] }, want: ['xx..', 'xxx.', '.xxx', '..xx'], why: 'both ends included' },
    { options: { windowSize: [1, 1] }, want: ['..xxx', '...xx'], why: 'a window, aligned' },
    { options: { windowSize: [1, 0] }, want: ['..', '..', 'x.', 'xx'], why: 'a window before the keys' },
    { options: { windowSize: [0, -1] }, want: ['xxx', '.xx', '..x'], why: 'no end on the right' },
    { options: { windowSize: [-1, 1] }, want: ['xx.', 'xxx', 'xxx'], why: 'no end on the left' },
    {
      options: { windowSize: [1, 2], causal: true },
      want: ['x..', 'xx.', '.xx'],
      why: 'causal closes the right',
    },
    { options: { attentionChunk: 2 }, want: ['xx...', 'xx...', '..xx.', '..xx.', '....x'], why: 'chunks' },
    {
      options: { attentionChunk: 3, causal: true },
      want: ['xxx..', '...x.', '...xx'],
      why: 'counted by position',
    },
    {
      options: { attentionChunk: 2 },
      want: ['..', '..', 'xx', 'xx'],
      why: '−2 and −1 are a chunk of their own',
    },
    {
      options: { attentionChunk: 2, windowSize: [2, 0] },
      want: ['x..', 'xx.', '..x'],
      why: 'a chunk cuts a window',
    },
  ] as const)('$options, $why: $want', ({ options, want }) => {
    expect(seen(want.length, want[0].length, options)).toEqual(want);
  });

  test.each([
    { leftpad: 0, want: ['xx....', 'xx....', '..xx..', '..xx..', '....xx', '....xx'] },
    { leftpad: 1, want: ['......', '.xx...', '.xx...', '...xx.', '...xx.', '.....x'] },
    { leftpad: 3, want: ['......', '......', '......', '...xx.', '...xx.', '.....x'] },
  ])('chunks are of real tokens: behind $leftpad slots of padding $want', ({ leftpad, want }) => {
    const { out } = attnWithKvCacheReference({
      q: tensor([1, 6, 1, 1], Array<number>(6).fill(0)),
      kCache: tensor([1, 6, 1, 1], Array<number>(6).fill(0)),
      vCache: unitMatrix([1, 6, 1, 6]),
      cacheSeqlens: [6],
      cacheLeftpad: [leftpad],
      attentionChunk: 2,
    });
    expect(picture(rowsOf(out))).toEqual(want);
  });

  test('the interval of keys is that of the rules applied key by key, for the reference and for kernels', () => {
    for (const nKeys of [0, 1, 5])
      for (const leftpad of [0, 2])
        for (const causal of [false, true])
          for (const left of [-1, 0, 2])
            for (const right of [-1, 0, 1, 3])
              for (const chunk of [0, 1, 3])
                for (let p = -4; p < nKeys + 3; p++) {
                  const options = { causal, windowSize: [left, right], attentionChunk: chunk } as const;
                  const { begin, end } = visibleKeys(p, nKeys, leftpad, options);
                  const range = { firstKey: leftpad, kLen: nKeys };
                  const masks = { ...NO_MASKS, left, right: causal ? 0 : right, attentionChunk: chunk };
                  const [first, last] = visibleBand(p, range, masks);
                  const chunkOf = (position: number) => Math.floor((position - leftpad) / chunk);
                  for (let j = 0; j < nKeys; j++) {
                    const visible =
                      j >= leftpad &&
                      (!causal || j <= p) &&
                      (left < 0 || p - left <= j) &&
                      (right < 0 || j <= p + right) &&
                      (chunk === 0 || chunkOf(p) === chunkOf(j));
                    if (visible !== (begin <= j && j < end) || visible !== (first <= j && j <= last))
                      expect.fail(
                        `query at ${p}, key ${j} of ${nKeys}, leftpad ${leftpad}, ${JSON.stringify(options)}`,
                      );
                  }
                }
  });

  test('first keys are seen whatever windows and chunks say, for the reference and for kernels', () => {
    for (const nKeys of [0, 1, 7])
      for (const leftpad of [0, 2])
        for (const causal of [false, true])
          for (const left of [-1, 0, 2])
            for (const right of [-1, 1])
              for (const chunk of [0, 3])
                for (const firstKeys of [0, 1, 3, 20])
                  for (let p = -3; p < nKeys + 3; p++) {
                    const windowSize = [left, right] as const;
                    const options = { causal, windowSize, attentionChunk: chunk, firstKeys } as const;
                    const ranges = seenKeys(p, nKeys, leftpad, options);
                    const { begin, end } = visibleKeys(p, nKeys, leftpad, options);
                    const range = { firstKey: leftpad, kLen: nKeys };
                    const masks = { ...NO_MASKS, left, right: causal ? 0 : right, attentionChunk: chunk };
                    const [first, last] = visibleBand(p, range, masks);
                    const endOfFirst = firstKeysEnd(p, range, { ...masks, firstKeys, causal });
                    for (let j = 0; j < nKeys; j++) {
                      const isFirst = j >= leftpad && j < leftpad + firstKeys && (!causal || j <= p);
                      const visible = (begin <= j && j < end) || isFirst;
                      const inReference = ranges.filter((r) => r.begin <= j && j < r.end).length;
                      const inKernels = (first <= j && j <= last) || (leftpad <= j && j < endOfFirst);
                      if (inReference !== (visible ? 1 : 0) || inKernels !== visible)
                        expect.fail(
                          `query at ${p}, key ${j} of ${nKeys}, leftpad ${leftpad}, ${JSON.stringify(options)}`,
                        );
                    }
                  }
  });

  test('a row that sees no key is zero, with lse −∞', () => {
    const { out, lse } = attnByHand({ q: [1, 1, 1], k: [0], v: [5], causal: true });
    expect([...out.data]).toEqual([0, 0, 5]);
    expect([...lse.data]).toEqual([-Infinity, -Infinity, 0]);
  });

  test('a sink of −∞ changes nothing, with keys and without', () => {
    const { out, lse } = attnByHand({ q: [1, 1], k: [0], v: [6], causal: true, sinks: [-Infinity] });
    expect([...out.data]).toEqual([0, 6]);
    expect([...lse.data]).toEqual([-Infinity, 0]);
  });

  test('a row that sees a sink but no key is zero, with the sink as its lse', () => {
    const { out, lse } = attnByHand({ q: [1, 1], k: [0], v: [6], causal: true, sinks: [log(2)] });
    expectNear(out.data, [0, 6 / (2 + 1)]);
    expectNear(lse.data, [log(2), log(2 + 1)]);
  });
});

describe('slots that hold no key change nothing', () => {
  test('keys past sequsedK', () => {
    const { out } = attnVarlenReference({
      q: tensor([2, 1, 1], [1, 1]),
      k: tensor([4, 1, 1], [0, NaN, 0, NaN]),
      v: tensor([4, 1, 1], [2, NaN, 4, NaN]),
      cuSeqlensQ: [0, 1, 2],
      cuSeqlensK: [0, 2, 4],
      sequsedK: [1, 1],
    });
    expect([...out.data]).toEqual([2, 4]);
  });

  test('sequsedK counts from the first key of a sequence, and moves its queries', () => {
    const { out } = attnVarlenReference({
      q: tensor([2, 1, 1], [0, 0]),
      k: tensor([3, 1, 1], [0, 0, NaN]),
      v: unitMatrix([3, 1, 3]),
      cuSeqlensQ: [0, 2],
      cuSeqlensK: [0, 3],
      sequsedK: [2],
      causal: true,
    });
    expect(picture(rowsOf(out))).toEqual(['x..', 'xx.']);
  });

  test('slots before leftpad', () => {
    const { out } = attnWithKvCacheReference({
      q: tensor([1, 2, 1, 1], [0, 0]),
      kCache: tensor([1, 4, 1, 1], [NaN, 0, 0, 0]),
      vCache: unitMatrix([1, 4, 1, 4]),
      cacheSeqlens: [4],
      cacheLeftpad: [1],
      causal: true,
    });
    expect(picture(rowsOf(out))).toEqual(['.xx.', '.xxx']);
  });

  test('free pages, and unused slots of the last page', () => {
    const random = new Random(2);
    const paged = randomPaged(random, {
      lengths: [5, 0, 9],
      pageSize: 4,
      sq: 2,
      nHeads: 2,
      nKvHeads: 1,
      d: 4,
    });
    expect(paged.kCache.data.filter(Number.isNaN).length).toBeGreaterThan(0);
    const { out } = attnWithKvCacheReference({ ...paged, causal: true });
    expect(out.data.every(Number.isFinite)).toBe(true);
  });
});

describe('a page or row that does not exist', () => {
  const OUTSIDE = [-1, 3, 2 ** 31 - 1, -(2 ** 31), 0xffffffff];

  test.each(OUTSIDE)(
    'page %d in the middle: its keys are masked, the other keys keep their positions',
    (page) => {
      const { out, lse } = attnWithKvCacheReference({
        q: tensor([1, 2, 1, 1], [1, 1]),
        kCache: tensor([3, 2, 1, 1], [0, log(2), NaN, NaN, log(3), NaN]),
        vCache: tensor([3, 2, 1, 1], [1, 4, NaN, NaN, 7, NaN]),
        cacheSeqlens: [5],
        blockTable: [0, page, 2],
        causal: true,
      });
      expectNear(out.data, [(1 + 2 * 4) / 3, (1 + 2 * 4 + 3 * 7) / 6]);
      expectNear(lse.data, [log(3), log(6)]);
    },
  );

  test.each(OUTSIDE)('page %d: its tokens are not written, the others are', (page) => {
    const { kCache, lse } = attnWithKvCacheReference({
      q: tensor([1, 1, 1, 1], [1]),
      kCache: tensor([3, 2, 1, 1], [7, 7, 7, 7, 7, 7]),
      vCache: tensor([3, 2, 1, 1], [7, 7, 7, 7, 7, 7]),
      k: tensor([1, 3, 1, 1], [1, 2, 3]),
      v: tensor([1, 3, 1, 1], [1, 2, 3]),
      cacheSeqlens: [1],
      blockTable: [page, 1],
    });
    expect([...kCache.data]).toEqual([7, 7, 2, 3, 7, 7]);
    expectNear(lse.data, [log(exp(2) + exp(3))]);
  });

  test.each([
    { why: 'no page at all', tables: { blockTable: [0, -1] } },
    { why: 'no row of the cache', tables: { cacheBatchIdx: [0, -1] } },
    { why: 'no row of the table', tables: { blockTable: [0, 1], cacheBatchIdx: [0, 2] } },
  ])('$why: zeros, lse −∞, nothing written', ({ tables }) => {
    const { out, lse, kCache } = attnWithKvCacheReference({
      q: tensor([2, 1, 1, 1], [1, 1]),
      kCache: tensor([2, 2, 1, 1], [0, 7, 7, 7]),
      vCache: tensor([2, 2, 1, 1], [3, 7, 7, 7]),
      k: tensor([2, 1, 1, 1], [0, 9]),
      v: tensor([2, 1, 1, 1], [5, 9]),
      cacheSeqlens: [1, 0],
      ...tables,
    });
    expectNear(out.data, [4, 0]);
    expectNear(lse.data, [log(2), -Infinity]);
    expect([...kCache.data]).toEqual([0, 0, 7, 7]);
  });
});
