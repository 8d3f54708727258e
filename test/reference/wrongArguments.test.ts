import { describe, expect, test } from 'vitest';
import {
  attnReference,
  attnVarlenReference,
  attnWithKvCacheReference,
  mergeStatesReference,
} from '../../src/reference/attention.js';
import { tensor } from './hostTensors.js';
import { refusal } from '../check/refusal.js';

describe('wrong arguments', () => {
  const one = tensor([1, 1, 1, 1], [0]);
  const flat = tensor([1, 1, 1], [0]);

  test('refuses missing arguments, by their names', () => {
    expect(() =>
      attnVarlenReference({ q: flat, k: flat, v: flat, cuSeqlensQ: [0, 1] }),
    ).toThrowErrorMatchingInlineSnapshot(
      `[PageflashError: attnVarlen: pass cuSeqlensK, or sequsedK with blockTable.]`,
    );
    expect(() =>
      attnWithKvCacheReference({ q: one, kCache: one, vCache: one, cacheSeqlens: 1, rotaryCos: flat }),
    ).toThrowErrorMatchingInlineSnapshot(
      `[PageflashError: attnWithKvCache: pass rotaryCos and rotarySin together.]`,
    );
    expect(() => mergeStatesReference([])).toThrowErrorMatchingInlineSnapshot(
      `[PageflashError: mergeStates: there is no part to merge.]`,
    );
  });

  test('sums of lengths that do not begin with 0', () => {
    const five = tensor([5, 1, 1], [1, 2, 3, 4, 5]);
    const cache = tensor(
      [2, 5, 1, 1],
      Array.from({ length: 10 }, (_, i) => i),
    );
    const varlen = (change: object) =>
      refusal(() =>
        attnVarlenReference({ q: five, k: five, v: five, cuSeqlensQ: [0, 5], cuSeqlensK: [0, 5], ...change }),
      );
    const cached = (change: object) =>
      refusal(() =>
        attnWithKvCacheReference({ q: five, kCache: cache, vCache: cache, cacheSeqlens: 0, ...change }),
      );
    expect([
      varlen({ cuSeqlensQ: [2, 5] }),
      varlen({ cuSeqlensK: [2, 3] }),
      cached({ cuSeqlensQ: [2, 5] }),
      cached({ cuSeqlensQ: [0, 2, 5], k: five, v: five, cuSeqlensKNew: [2, 3] }),
    ]).toMatchInlineSnapshot(`
      [
        "length: attnVarlen: cuSeqlensQ must begin with 0, not 2: it looks like sums without the leading 0. Pass [0, 2, 5].",
        "length: attnVarlen: cuSeqlensK must begin with 0, not 2: it looks like lengths. Pass their running sums, [0, 2, 5].",
        "length: attnWithKvCache: cuSeqlensQ must begin with 0, not 2: it looks like sums without the leading 0. Pass [0, 2, 5].",
        "length: attnWithKvCache: cuSeqlensKNew must begin with 0, not 2: it looks like lengths. Pass their running sums, [0, 2, 5].",
      ]
    `);
  });

  test('rows that belong to no sequence are zero, with lse −∞', () => {
    const five = tensor([5, 1, 1], [1, 2, 3, 4, 5]);
    const { out, lse } = attnVarlenReference({
      q: five,
      k: five,
      v: five,
      cuSeqlensQ: [0, 3],
      cuSeqlensK: [0, 5],
    });
    expect([...out.data].map((x) => x === 0)).toEqual([false, false, false, true, true]);
    expect([...lse.data].map(Number.isFinite)).toEqual([true, true, true, false, false]);
  });

  test('refuses wrong shapes, by the name of the tensor', () => {
    expect(() => attnReference({ q: flat, k: one, v: one })).toThrowErrorMatchingInlineSnapshot(
      `[PageflashError: q must have 4 dimensions; its shape is [1, 1, 1].]`,
    );
    const heads = tensor([1, 1, 2, 1], [0, 0]);
    expect(() => attnReference({ q: one, k: heads, v: heads })).toThrowErrorMatchingInlineSnapshot(
      `[PageflashError: 1 query heads are not a multiple of 2 kv heads.]`,
    );
  });

  test('refuses what is no tensor, and tensors whose data do not fit their shape', () => {
    const short = { data: new Float64Array(3), shape: [1, 2, 2, 1] };
    const angles = { rotaryCos: new Float32Array(1), rotarySin: new Float32Array(1) };
    const state = attnReference({ q: one, k: one, v: one });
    expect([
      refusal(() => attnReference({ q: one, k: short, v: one })),
      refusal(() =>
        attnVarlenReference({ q: flat, k: flat, cuSeqlensQ: [0, 1], cuSeqlensK: [0, 1] } as never),
      ),
      refusal(() =>
        attnWithKvCacheReference({
          q: one,
          kCache: one,
          vCache: one,
          cacheSeqlens: 1,
          ...angles,
        } as never),
      ),
      refusal(() => mergeStatesReference({ parts: [state] } as never)),
      refusal(() => mergeStatesReference([{ ...state, lse: [0] } as never])),
    ]).toMatchInlineSnapshot(`
      [
        "shape: attnReference: k is [1, 2, 2, 1], 4 numbers, but has 3.",
        "argument: attnVarlenReference: v must be { data, shape }, numbers in a typed array, not undefined.",
        "argument: attnWithKvCacheReference: rotaryCos must be { data, shape }, numbers in a typed array, not a Float32Array.",
        "argument: mergeStatesReference: the parts must be one array, [{ out, lse }, …], not a plain object.",
        "argument: mergeStatesReference: parts[0].lse must be { data, shape }, numbers in a typed array, not [0].",
      ]
    `);
  });

  test('refuses positions beyond the rotary tables', () => {
    const args = { q: one, kCache: one, vCache: one, cacheSeqlens: 1 };
    expect(() =>
      attnWithKvCacheReference({ ...args, rotaryCos: tensor([1, 1], [1]), rotarySin: tensor([1, 1], [0]) }),
    ).toThrowErrorMatchingInlineSnapshot(
      `[PageflashError: rotaryCos has the positions 0 to 0, not position 1.]`,
    );
  });

  test('refuses to write past a row of the cache or of the block table', () => {
    const args = { q: one, kCache: one, vCache: one, k: one, v: one, cacheSeqlens: 1 };
    expect(() => attnWithKvCacheReference(args)).toThrowErrorMatchingInlineSnapshot(
      `[PageflashError: row 0 of the cache has 1 slots for 2 keys.]`,
    );
    expect(() => attnWithKvCacheReference({ ...args, blockTable: [0] })).toThrowErrorMatchingInlineSnapshot(
      `[PageflashError: row 0 of blockTable has 1 pages of 1 slots; 2 keys need 2.]`,
    );
  });
});
