import { describe, expect, test } from 'vitest';
import {
  attnWithKvCache,
  createRuntime,
  mergeStates,
  planAttnVarlen,
  planAttnWithKvCache,
  type AttnWithKvCacheArgs,
} from '../../src/index.js';
import { fakeDevice, fakeTensor } from '../runtime/fakeDevice.js';
import { acceptedKvCache } from './acceptedCalls.js';
import { refusal } from './refusal.js';

// Errors must be thrown before the device is used: this one fails if it is.
const runtime = createRuntime(fakeDevice());

const good = acceptedKvCache();

describe('plans', () => {
  /** Without sequences, so that nothing goes to the GPU. */
  const empty: AttnWithKvCacheArgs = {
    q: fakeTensor('f16', [0, 1, 4, 64]),
    kCache: fakeTensor('f16', [2, 8, 2, 64]),
    vCache: fakeTensor('f16', [2, 8, 2, 64]),
    cacheSeqlens: [],
  };
  const out = fakeTensor('f16', [0, 1, 4, 64]);
  const plan = planAttnWithKvCache(runtime, empty);
  const recorded = (tensors: object) => refusal(() => plan.record({ out, ...tensors }));

  test('making and updating', () => {
    const pass = { dispatchWorkgroups: () => {} };
    const make = (change: object) =>
      refusal(() => planAttnWithKvCache(runtime, { ...good, ...change } as AttnWithKvCacheArgs));
    expect([
      make({ pass }),
      make({ cacheSeqlens: [5, 9] }),
      make({ layers: 3 }),
      refusal(() => planAttnVarlen(runtime, {} as Parameters<typeof planAttnVarlen>[1])),
      refusal(() => plan.update({ cacheSeqlens: [1] })),
      refusal(() => plan.update({ pass } as never)),
    ]).toMatchInlineSnapshot(`
      [
        "argument: planAttnWithKvCache: pass belongs to record, not to the plan.",
        "length: planAttnWithKvCache: sequence 1 needs 9 slots but a row of kCache has 8. Pass a longer cache, or pages.",
        "argument: planAttnWithKvCache: there is no argument layers. There are q, kCache, vCache, kScale, vScale, kvRotation, k, v, sharedPrefix, cacheSeqlens, cuSeqlensQ, cuSeqlensKNew, maxSeqlenQ, maxSeqlenK, blockTable, cacheBatchIdx, cacheLeftpad, rotaryCos, rotarySin, rotaryDim, rotaryInterleaved, rotarySections, rotarySectionsInterleaved, softmaxScale, causal, windowSize, softcap, alibiSlopes, sinks, attentionChunk, firstKeys, mask, bias, positions, treeMask, scoreMod, maskMod, numSplits, returnLse, out, lse, pass.",
        "argument: planAttnVarlen: q must be a tensor, { buffer, dtype, shape }, not undefined.",
        "shape: planAttnWithKvCache.update: cacheSeqlens must have 0 numbers, [B] = [0], not 1.",
        "argument: planAttnWithKvCache.update: pass belongs to record, not to the plan.",
      ]
    `);
  });

  test('recording', () => {
    expect([
      refusal(() => plan.record()),
      refusal(() => plan.record({ out: undefined })),
      recorded({ k: fakeTensor('f16', [2, 2, 2, 64]) }),
      recorded({ lse: fakeTensor('f32', [0, 4, 1]) }),
      recorded({ q: new Float32Array(4) }),
      recorded({ q: fakeTensor('f32', [0, 1, 4, 64]), out: fakeTensor('f32', [0, 1, 4, 64]) }),
      recorded({ q: fakeTensor('f16', [1, 1, 4, 64]) }),
      recorded({ kCache: fakeTensor('f16', [2, 9, 2, 64]), vCache: fakeTensor('f16', [2, 9, 2, 64]) }),
      recorded({ kCache: fakeTensor('f16', [2, 8, 2, 64], { strides: [2048, 256, 128, 1] }) }),
      recorded({ kCache: fakeTensor('f16', [2, 8, 2, 64], { offset: 8 }) }),
      recorded({ out: { ...out, buffer: empty.q.buffer } }),
    ]).toMatchInlineSnapshot(`
      [
        "argument: planAttnWithKvCache.record: out is missing, and the plan was made without one. Pass it to record: a plan makes no tensors.",
        "argument: planAttnWithKvCache.record: out is missing, and the plan was made without one. Pass it to record: a plan makes no tensors.",
        "argument: planAttnWithKvCache.record: the plan was made without k. Make it with k, or leave k out.",
        "argument: planAttnWithKvCache.record: the plan was made without lse. Make it with lse, or leave lse out.",
        "argument: planAttnWithKvCache.record: q must be a tensor, { buffer, dtype, shape }, not a Float32Array.",
        "dtype: planAttnWithKvCache.record: q is f32, but the plan was made for f16.",
        "shape: planAttnWithKvCache.record: the shape of q is [1, 1, 4, 64], but the plan was made for [0, 1, 4, 64]. Pass the tensors of a new step to update; within a step, give all layers the same, or make a plan for each kind.",
        "shape: planAttnWithKvCache.record: the shape of kCache is [2, 9, 2, 64], but the plan was made for [2, 8, 2, 64]. Pass the tensors of a new step to update; within a step, give all layers the same, or make a plan for each kind.",
        "shape: planAttnWithKvCache.record: the strides of kCache are [2048, 256, 128, 1], but the plan was made for [1024, 128, 64, 1]. Pass the tensors of a new step to update; within a step, give all layers the same, or make a plan for each kind.",
        "shape: planAttnWithKvCache.record: kCache begins 8 elements after a multiple of 256 bytes, but the plan was made for 0. Place all layers alike.",
        "buffer: planAttnWithKvCache.record: out is in the same buffer as q. WebGPU cannot read and write a buffer in one dispatch: give out a buffer of its own.",
      ]
    `);
  });

  test('a destroyed runtime', () => {
    const destroyed = createRuntime(fakeDevice());
    const orphan = planAttnWithKvCache(destroyed, empty);
    destroyed.destroy();
    expect([
      refusal(() => planAttnWithKvCache(destroyed, empty)),
      refusal(() => orphan.update({ causal: true })),
      refusal(() => orphan.record({ out })),
      refusal(() => mergeStates(destroyed, { parts: [] })),
      refusal(() => attnWithKvCache(destroyed, good)),
    ]).toMatchInlineSnapshot(`
      [
        "device: planAttnWithKvCache: the runtime cannot be used any more, since it was destroyed.",
        "device: planAttnWithKvCache.update: the runtime cannot be used any more, since it was destroyed.",
        "device: planAttnWithKvCache.record: the runtime cannot be used any more, since it was destroyed.",
        "device: mergeStates: the runtime cannot be used any more, since it was destroyed.",
        "device: attnWithKvCache: the runtime cannot be used any more, since it was destroyed.",
      ]
    `);
  });
});
