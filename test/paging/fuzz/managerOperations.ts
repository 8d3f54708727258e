import * as fc from 'fast-check';
import type { PagingOptions } from './pagingModel.js';

/** An operation on a page manager. Sequences and pins are picked by number, modulo how many there are. */
export type ManagerOperation =
  | {
      readonly type: 'add';
      readonly tokens: readonly number[];
      readonly salt: number;
      readonly isPrivate: boolean;
    }
  | { readonly type: 'unpin'; readonly pick: number }
  /** Read what a save holds, and let it go. */
  | { readonly type: 'finishSave'; readonly pick: number }
  /** Restore one of what was saved. */
  | { readonly type: 'restore'; readonly pick: number }
  | { readonly type: 'resize'; readonly n: number }
  | { readonly type: 'reset'; readonly keepSwapped: boolean }
  | SequenceOperation;

/** An operation on one sequence of a page manager. */
export type SequenceOperation =
  | { readonly type: 'append'; readonly pick: number; readonly tokens: readonly number[] }
  | {
      readonly type: 'reserve' | 'commit' | 'compute' | 'fork' | 'truncate';
      readonly pick: number;
      readonly n: number;
    }
  | {
      readonly type: 'release' | 'evict' | 'swapOut' | 'swapIn' | 'pin' | 'save' | 'saveFound' | 'misuse';
      readonly pick: number;
    };

// Few pages, few different tokens and short prompts, so that pages are shared, run out and are reused all the time.
export const pagingOptions: fc.Arbitrary<PagingOptions> = fc.record({
  nPages: fc.integer({ min: 1, max: 14 }),
  pageSize: fc.integer({ min: 1, max: 4 }),
  nHostPages: fc.integer({ min: 0, max: 6 }),
  window: fc.oneof({ weight: 2, arbitrary: fc.constant(-1) }, fc.integer({ min: 0, max: 9 })),
  firstKeys: fc.oneof({ weight: 2, arbitrary: fc.constant(0) }, fc.integer({ min: 1, max: 6 })),
  isCaching: fc.oneof({ weight: 9, arbitrary: fc.constant(true) }, fc.constant(false)),
});

export const pick = fc.nat(11);
export const token = fc.nat(1);
export const rarely = fc.oneof({ weight: 9, arbitrary: fc.constant(false) }, fc.constant(true));

export const managerOperation: fc.Arbitrary<ManagerOperation> = fc.oneof(
  {
    weight: 4,
    arbitrary: fc.record({
      type: fc.constant('add' as const),
      tokens: fc.array(token, { maxLength: 20, size: 'max' }),
      salt: fc.nat(1),
      isPrivate: rarely,
    }),
  },
  {
    weight: 4,
    arbitrary: fc.record({
      type: fc.constant('append' as const),
      pick,
      tokens: fc.array(token, { maxLength: 4 }),
    }),
  },
  numbered('reserve', 4),
  numbered('commit', 4),
  numbered('compute', 12),
  numbered('fork', 3),
  numbered('truncate', 3),
  picking('release', 3),
  picking('evict', 1),
  picking('swapOut', 3),
  picking('swapIn', 4),
  picking('pin', 1),
  picking('unpin', 1),
  picking('save', 2),
  picking('saveFound', 1),
  picking('finishSave', 3),
  picking('restore', 3),
  { weight: 1, arbitrary: fc.record({ type: fc.constant('resize' as const), n: fc.nat(20) }) },
  { weight: 1, arbitrary: fc.record({ type: fc.constant('misuse' as const), pick }) },
  // A reset now and then: most of what is interesting takes a while to come about.
  {
    weight: 1,
    arbitrary: fc
      .tuple(rarely, fc.boolean())
      .map(([isReset, keepSwapped]) =>
        isReset ? { type: 'reset' as const, keepSwapped } : { type: 'unpin' as const, pick: 0 },
      ),
  },
);

function numbered<T extends 'reserve' | 'commit' | 'compute' | 'fork' | 'truncate'>(type: T, weight: number) {
  return { weight, arbitrary: fc.record({ type: fc.constant(type), pick, n: fc.nat(12) }) };
}

function picking<T extends Exclude<ManagerOperation, { n: number } | { tokens: unknown }>['type']>(
  type: T,
  weight: number,
) {
  return { weight, arbitrary: fc.record({ type: fc.constant(type), pick }) };
}
