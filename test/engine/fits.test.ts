import { describe, expect, test } from 'vitest';
import { modelConfig } from '../../demo/engine/model/config.js';
import { checkFits, type Room } from '../../demo/engine/model/fits.js';
import published from '../golden/configs.json' with { type: 'json' };

const llama2 = modelConfig(published.llama2); // 6.7 billion weights, 512 KiB of f16 cache a token
const qwen25 = modelConfig(published.qwen25);
const UNLIMITED = { maxBufferSize: 2 ** 40, maxStorageBufferBindingSize: 2 ** 40 };
const ROOM = {
  weights: 'f16',
  kvType: 'f16',
  budgetBytes: 24e9,
  stepBytes: 0,
  limits: UNLIMITED,
  context: 4096,
  nSequences: 1,
  pageSize: 16,
} as const;

/** What is given, with pages for all sequences at their full length if their number is not. */
function roomOf(change: Partial<Room> = {}): Room {
  const room = { ...ROOM, ...change };
  return { nPages: room.nSequences * Math.ceil(room.context / room.pageSize), ...room };
}

test('a model that fits is told in bytes', () => {
  expect(checkFits('llama', llama2, roomOf({ stepBytes: 1e9 }))).toEqual({
    weightBytes: 2 * 6_738_415_616,
    cacheBytes: 4096 * 2 ** 19,
    stepBytes: 1e9,
  });
  // Tied, with biases of q, k and v.
  expect(checkFits('qwen', qwen25, roomOf({ weights: 'f32' })).weightBytes).toBe(4 * 494_032_768);
  expect(checkFits('qwen', qwen25, roomOf({ weights: 'i4' })).weightBytes).toBe((494_032_768 * 4.5) / 8);
  expect(checkFits('llama', llama2, roomOf({ nSequences: 3 })).cacheBytes).toBe(3 * 4096 * 2 ** 19);
  // Pages that are counted otherwise, and a sequence that does not fill its last one.
  expect(checkFits('llama', llama2, roomOf({ nPages: 10 })).cacheBytes).toBe(160 * 2 ** 19);
  expect(checkFits('llama', llama2, roomOf({ context: 1001 })).cacheBytes).toBe(1008 * 2 ** 19);
});

describe('one that does not is refused before it is loaded, with what helps', () => {
  const GB = 1e9;
  test.each([
    { why: 'two formats are small enough', change: { budgetBytes: 10 * GB } },
    { why: 'one is', change: { budgetBytes: 6 * GB } },
    { why: 'none is', change: { budgetBytes: 3 * GB } },
    { why: 'there is no smaller one', change: { budgetBytes: 3 * GB, weights: 'i4' } },
    { why: 'f16 in place of f32', change: { budgetBytes: 14 * GB, weights: 'f32' } },
    { why: 'a step takes all', change: { budgetBytes: 3 * GB, stepBytes: 4 * GB } },
    { why: 'a shorter context, or smaller weights', change: { budgetBytes: 15 * GB } },
    { why: 'a shorter context alone', change: { budgetBytes: 5 * GB, weights: 'i4' } },
    { why: 'several sequences', change: { budgetBytes: 16 * GB, nSequences: 4 } },
    { why: 'not even a page', change: { budgetBytes: 13.48 * GB } },
    { why: 'not even a page, at the smallest', change: { budgetBytes: 3.795 * GB, weights: 'i4' } },
    { why: 'a buffer is too small', change: { limits: { ...UNLIMITED, maxBufferSize: 2 ** 24 } } },
    {
      why: 'a buffer is too small for several sequences',
      change: { limits: { ...UNLIMITED, maxBufferSize: 2 ** 24 }, nSequences: 2 },
    },
    {
      why: 'a binding is too small for a page',
      change: { limits: { ...UNLIMITED, maxStorageBufferBindingSize: 2 ** 16 } },
    },
    { why: 'pages whose number is given', change: { budgetBytes: 15 * GB, nPages: 4000 } },
  ] as const)('$why', ({ change }) => {
    expect(() => checkFits('llama', llama2, roomOf(change))).toThrowErrorMatchingSnapshot();
  });

  test.each([8, 10, 15, 20])('and what is proposed fits: %d GB', (gigabytes) => {
    const room = { budgetBytes: gigabytes * GB, nSequences: 2 };
    const message = ((): string => {
      try {
        checkFits('llama', llama2, roomOf(room));
        return '--context 4096';
      } catch (error) {
        return (error as Error).message;
      }
    })();
    const formats = { int8: 'i8', int4: 'i4' } as const;
    const option = /--weights (int8|int4)/.exec(message)?.[1] as keyof typeof formats | undefined;
    const context = /--context (\d+)/.exec(message)?.[1];
    expect([option, context]).not.toEqual([undefined, undefined]);
    if (context) checkFits('llama', llama2, roomOf({ ...room, context: Number(context) }));
    // Beside smaller weights the context may still have to be shorter.
    else
      expect(() => checkFits('llama', llama2, roomOf({ ...room, weights: formats[option!] }))).not.toThrow(
        /weights, more/,
      );
  });
});
