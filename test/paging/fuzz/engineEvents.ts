import * as fc from 'fast-check';
import { rarely, pagingOptions, pick, token } from './managerOperations.js';
import type { FakeEngineOptions } from './pagingModel.js';

/** What users of an engine do. Sequences and pins are picked by number, modulo how many there are. */
export type EngineEvent =
  | {
      readonly type: 'add';
      readonly tokens: readonly number[];
      readonly priority: number;
      readonly salt: number;
      readonly isPrivate: boolean;
      /** Tokens to sample. */
      readonly nNew: number;
    }
  | { readonly type: 'steps'; readonly n: number }
  | { readonly type: 'resize'; readonly n: number }
  | { readonly type: 'draft'; readonly pick: number; readonly nRight: number; readonly nWrong: number }
  | { readonly type: SequenceEvent; readonly pick: number }
  /** Restored between two steps, or while one is planned and its copies are still to be made. */
  | { readonly type: 'restore'; readonly pick: number; readonly priority: number; readonly isInStep: boolean }
  | { readonly type: 'reset'; readonly keepSwapped: boolean };

/**
 * A checkpoint is a fork that rests; a sequence that rests goes on with a token of its user. Each of these may come at any
 * time, wherever the pages are.
 */
export type SequenceEvent =
  'abort' | 'fork' | 'checkpoint' | 'rest' | 'goOn' | 'goBack' | 'pin' | 'unpin' | 'save' | 'finishSave';

export const engineOptions: fc.Arbitrary<FakeEngineOptions> = pagingOptions.chain((pages) =>
  fc.record({
    nPages: fc.constant(pages.nPages),
    pageSize: fc.constant(pages.pageSize),
    nHostPages: fc.constant(pages.nHostPages),
    window: fc.constant(pages.window),
    firstKeys: fc.constant(pages.firstKeys),
    isCaching: fc.constant(pages.isCaching),
    maxTokens: fc.integer({ min: 1, max: 24 }),
    maxSequences: fc.integer({ min: 1, max: 5 }),
    prefer: fc.constantFrom('decode' as const, 'prefill' as const),
    preempt: fc.constantFrom('recompute' as const, 'swap' as const),
    watermark: fc.constantFrom(0, 0.01, 0.3),
  }),
);

export const engineEvent: fc.Arbitrary<EngineEvent> = fc.oneof(
  {
    weight: 5,
    arbitrary: fc.record({
      type: fc.constant('add' as const),
      tokens: fc.array(token, { minLength: 1, maxLength: 24, size: 'max' }),
      priority: fc.nat(1),
      salt: fc.nat(1),
      isPrivate: rarely,
      nNew: fc.nat(20),
    }),
  },
  {
    weight: 8,
    arbitrary: fc.record({ type: fc.constant('steps' as const), n: fc.integer({ min: 1, max: 6 }) }),
  },
  {
    weight: 2,
    arbitrary: fc.record({ type: fc.constant('draft' as const), pick, nRight: fc.nat(3), nWrong: fc.nat(3) }),
  },
  sequenceEvent('abort', 1),
  sequenceEvent('fork', 2),
  sequenceEvent('checkpoint', 2),
  sequenceEvent('rest', 1),
  sequenceEvent('goOn', 2),
  sequenceEvent('pin', 2),
  sequenceEvent('unpin', 2),
  sequenceEvent('goBack', 1),
  sequenceEvent('save', 2),
  sequenceEvent('finishSave', 3),
  {
    weight: 3,
    arbitrary: fc.record({
      type: fc.constant('restore' as const),
      pick,
      priority: fc.nat(1),
      isInStep: fc.boolean(),
    }),
  },
  { weight: 1, arbitrary: fc.record({ type: fc.constant('resize' as const), n: fc.nat(20) }) },
  {
    weight: 1,
    arbitrary: fc
      .tuple(rarely, fc.boolean())
      .map(([isReset, keepSwapped]) =>
        isReset ? { type: 'reset' as const, keepSwapped } : { type: 'steps' as const, n: 1 },
      ),
  },
);

function sequenceEvent(type: SequenceEvent, weight: number) {
  return { weight, arbitrary: fc.record({ type: fc.constant(type), pick }) };
}
