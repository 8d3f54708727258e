import { describe, expect, test } from 'vitest';
import {
  attnVarlen,
  attnWithKvCache,
  type createRuntime,
  planAttnVarlen,
  planAttnWithKvCache,
  type AttentionPlan,
  type AttnVarlenArgs,
  type AttnWithKvCacheArgs,
  type Batch,
  type Step,
} from '../../src/index.js';
import { fakeTensor } from '../runtime/fakeDevice.js';
import { refusal } from '../check/refusal.js';
import { BATCH, cacheArgs, notedRuntime, STEP, varlenArgs, withGetters } from './planInputs.js';

const FORMS: Readonly<Record<string, () => object>> = {
  'a batch': () => BATCH,
  'a batch that is spread': () => ({ ...BATCH }),
  'a step': () => STEP,
  'a step of a class with getters': () => withGetters(STEP),
  'an object without a prototype': () => Object.assign(Object.create(null) as object, BATCH),
};

describe('a batch or a step is passed whole', () => {
  const { cacheSeqlens, sequsedK, cuSeqlensQ, cuSeqlensKNew, blockTable, maxSeqlenQ, maxSeqlenK } = BATCH;
  const most = { maxSeqlenQ, maxSeqlenK };
  const ofCache = { cacheSeqlens, cuSeqlensQ, cuSeqlensKNew, blockTable, ...most };
  const ofVarlen = { sequsedK, cuSeqlensQ, blockTable, ...most };

  test.each(Object.keys(FORMS))('update with %s is update with its fields', (form) => {
    const writesOf = <Args extends AttnVarlenArgs | AttnWithKvCacheArgs>(
      plan: (runtime: ReturnType<typeof createRuntime>) => AttentionPlan<Args>,
      changes: object,
    ) => {
      const { runtime, writes } = notedRuntime();
      const planned = plan(runtime);
      writes.length = 0;
      planned.update(changes as never);
      return writes;
    };
    const cache = (changes: object) =>
      writesOf((runtime) => planAttnWithKvCache(runtime, cacheArgs()), changes);
    const varlen = (changes: object) => writesOf((runtime) => planAttnVarlen(runtime, varlenArgs()), changes);
    expect(cache(ofCache).length).toBeGreaterThan(0);
    expect(cache(FORMS[form]!())).toEqual(cache(ofCache));
    expect(varlen(FORMS[form]!())).toEqual(varlen(ofVarlen));
  });

  test.each(Object.keys(FORMS))('calls and new plans with %s', (form) => {
    const writesOf = (run: (runtime: ReturnType<typeof createRuntime>) => void) => {
      const { runtime, writes } = notedRuntime();
      run(runtime);
      return writes;
    };
    const whole = FORMS[form]!();
    // An instance of a class with getters has no properties of its own.
    const joined = (args: object) =>
      Object.keys(whole).length === 0 ? withGetters({ ...args, ...STEP }) : { ...args, ...whole };
    for (const call of [attnWithKvCache, planAttnWithKvCache] as const)
      expect(writesOf((runtime) => call(runtime, joined(cacheArgs()) as never))).toEqual(
        writesOf((runtime) => call(runtime, { ...cacheArgs(), ...ofCache })),
      );
    for (const call of [attnVarlen, planAttnVarlen] as const)
      expect(writesOf((runtime) => call(runtime, joined(varlenArgs()) as never))).toEqual(
        writesOf((runtime) => call(runtime, { ...varlenArgs(), ...ofVarlen })),
      );
  });

  test('overlaps are found in classes with getters too', () => {
    const { runtime } = notedRuntime();
    const args = varlenArgs();
    expect(
      refusal(() =>
        attnVarlen(runtime, withGetters({ ...args, out: { ...args.out!, buffer: args.q.buffer } })),
      ),
    ).toMatchInlineSnapshot(
      `"buffer: attnVarlen: out is in the same buffer as q. WebGPU cannot read and write a buffer in one dispatch: give out a buffer of its own."`,
    );
  });

  test('cacheBatchIdx: undefined clears one that the plan had', () => {
    const { runtime, contents } = notedRuntime();
    const plan = planAttnWithKvCache(runtime, { ...cacheArgs(), cacheBatchIdx: [1, 0] });
    const swapped = contents();
    plan.update({ cacheBatchIdx: undefined });
    expect(contents()).not.toEqual(swapped);
    plan.update({ cacheBatchIdx: [1, 0] });
    expect(contents()).toEqual(swapped);
  });

  test('other names, and objects without any, are refused', () => {
    const { runtime } = notedRuntime();
    const plan = planAttnWithKvCache(runtime, cacheArgs());
    const varlen = planAttnVarlen(runtime, varlenArgs());
    const { nSequences, slotMapping } = BATCH;
    expect([
      // @ts-expect-error An update names an argument.
      refusal(() => plan.update({})),
      // @ts-expect-error The other fields of a batch are not arguments.
      refusal(() => plan.update({ nSequences, slotMapping })),
      refusal(() => varlen.update(withGetters({ slotMapping }) as never)),
      refusal(() => plan.update({ ...BATCH, place: [5, 9, 10] } as never)),
      refusal(() => varlen.update({ cuSeqlensQ, seqUsedK: sequsedK } as never)),
      refusal(() => varlen.update({ ...BATCH, cacheBatchIdx: [1, 0] } as never)),
      refusal(() => plan.record(BATCH as never)),
    ]).toMatchInlineSnapshot(`
      [
        "argument: planAttnWithKvCache.update: the object names no argument, so nothing would change. Pass what is new, such as the lengths of the next step, or a whole batch.",
        "argument: planAttnWithKvCache.update: the object names no argument, so nothing would change. Pass what is new, such as the lengths of the next step, or a whole batch.",
        "argument: planAttnVarlen.update: the object names no argument, so nothing would change. Pass what is new, such as the lengths of the next step, or a whole batch.",
        "argument: planAttnWithKvCache.update: there is no argument place. There are q, kCache, vCache, kScale, vScale, kvRotation, k, v, sharedPrefix, cacheSeqlens, cuSeqlensQ, cuSeqlensKNew, maxSeqlenQ, maxSeqlenK, blockTable, cacheBatchIdx, cacheLeftpad, rotaryCos, rotarySin, rotaryDim, rotaryInterleaved, rotarySections, rotarySectionsInterleaved, softmaxScale, causal, windowSize, softcap, alibiSlopes, sinks, attentionChunk, firstKeys, mask, bias, positions, treeMask, scoreMod, maskMod, numSplits, returnLse, out, lse, pass.",
        "argument: planAttnVarlen.update: there is no argument seqUsedK. There are q, k, v, kScale, vScale, blockMask, kvRotation, cuSeqlensQ, cuSeqlensK, sequsedK, maxSeqlenQ, maxSeqlenK, blockTable, softmaxScale, causal, windowSize, softcap, alibiSlopes, sinks, attentionChunk, firstKeys, mask, bias, positions, treeMask, scoreMod, maskMod, numSplits, returnLse, out, lse, pass.",
        "argument: planAttnVarlen.update: rows of blockTable are in the order of the sequences: leave cacheBatchIdx out.",
        "argument: planAttnWithKvCache.record: there is no argument nSequences. There are q, k, v, kCache, vCache, kScale, vScale, bias, out, lse, kvRotation, pass. Lengths, tables and options are given to update.",
      ]
    `);
  });

  test('TypeScript takes batches and steps', () => {
    const takes = (plan: AttentionPlan<AttnWithKvCacheArgs>, batch: Batch, step: Step): void => {
      plan.update(batch);
      plan.update(step);
      plan.update({ ...batch, causal: true });
      plan.update({ cacheBatchIdx: undefined });
      const { runtime } = notedRuntime();
      attnWithKvCache(runtime, { ...cacheArgs(), ...step });
      planAttnVarlen(runtime, { ...varlenArgs(), ...batch });
      // @ts-expect-error A misspelt name.
      plan.update({ cacheSeqLens: [1] });
    };
    expect(takes).toBeTypeOf('function');
  });

  test('cuSeqlensKNew without k and v is what cuSeqlensQ is, or refused', () => {
    const { runtime, violations } = notedRuntime();
    const { k: _k, v: _v, ...args } = cacheArgs();
    const sums = fakeTensor('i32', [3]);
    const call = (change: object) => attnWithKvCache(runtime, { ...args, ...change });
    call({ cuSeqlensKNew: Float64Array.of(0, 2, 3) });
    call({ cuSeqlensQ: sums, cuSeqlensKNew: { ...sums, offset: 0, strides: [1] }, maxSeqlenQ: 2 });
    expect(violations).toEqual([]);
    const refused = [
      refusal(() => call({ cuSeqlensKNew: [0, 1, 3] })),
      refusal(() => call({ cuSeqlensKNew: [0, 3] })),
      refusal(() => call({ cuSeqlensKNew: sums })),
      refusal(() => call({ cuSeqlensQ: sums, cuSeqlensKNew: fakeTensor('i32', [3]), maxSeqlenQ: 2 })),
      refusal(() => call({ cuSeqlensQ: sums, cuSeqlensKNew: { ...sums, dtype: 'u32' }, maxSeqlenQ: 2 })),
    ];
    expect(new Set(refused).size).toBe(1);
    expect(refused[0]).toMatchInlineSnapshot(
      `"argument: attnWithKvCache: cuSeqlensKNew is given, but no new tokens k and v. Pass these, or leave it out: without them it may only be what cuSeqlensQ is."`,
    );
    expect(
      refusal(() => call({ cuSeqlensQ: sums, cuSeqlensKNew: { ...sums, shape: null }, maxSeqlenQ: 2 })),
    ).toMatchInlineSnapshot(`"shape: attnWithKvCache: cuSeqlensKNew must have the shape [B + 1], not null."`);
  });
});
