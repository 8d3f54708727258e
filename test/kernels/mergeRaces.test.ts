import { describe, expect, test } from 'vitest';
import type { FloatDType } from '../../src/core/dtype.js';
import { elementCount } from '../../src/core/tensor.js';
import { MERGE_CANDIDATES, mergeStatesDispatch } from '../../src/kernels/mergeStates.js';
import { mergeStatesReference } from '../../src/reference/attention.js';
import { fakeTensor } from '../runtime/fakeDevice.js';
import { defaultTuning } from '../../src/tuning/variations.js';
import { Random } from '../../tools/random.js';
import { checkMerged, checkRotated } from '../reference/tolerance.js';
import { traitsOf } from '../plan/traits.js';
import { HostBuffers, interpret } from './interpreter.js';

describe('merge_states', () => {
  const [N_TOKENS, N_HEADS] = [3, 2];

  function statesOf(dtype: FloatDType, headDim: number) {
    const out = fakeTensor(dtype, [N_TOKENS, N_HEADS, headDim]);
    const lse = fakeTensor('f32', [N_HEADS, N_TOKENS]);
    return {
      out: { tensor: out, sequenceStride: 0, tokenStride: N_HEADS * headDim, headStride: headDim },
      lse: { tensor: lse, sequenceStride: 0, tokenStride: 1, headStride: N_TOKENS },
      hasTotals: false,
    };
  }

  function mergeOf(dtype: FloatDType, headDim: number, buffers: HostBuffers) {
    const random = new Random(1);
    const [a, b, into] = [statesOf('f32', headDim), statesOf(dtype, headDim), statesOf(dtype, headDim)];
    for (const { out, lse } of [a, b]) {
      buffers.write(out.tensor, random.normals(elementCount(out.tensor.shape)));
      buffers.write(lse.tensor, random.normals(elementCount(lse.tensor.shape)).fill(-Infinity, 0, 2));
    }
    const sizes = { batch: 1, nTokens: N_TOKENS, nHeads: N_HEADS, headDim, traits: traitsOf({}) };
    const dispatch = mergeStatesDispatch({ ...sizes, parts: { pair: [a, b] }, ...into });
    return { a, b, into, dispatch };
  }

  test.each([
    { dtype: 'f32', headDim: 8, why: 'whole quads' },
    { dtype: 'f32', headDim: 6, why: 'element by element' },
    { dtype: 'f16', headDim: 8, why: 'halves by quads' },
    { dtype: 'f16', headDim: 6, why: 'halves' },
    { dtype: 'bf16', headDim: 5, why: 'halves whose rows share words' },
  ] as const)('writes each element once: $why', ({ dtype, headDim }) => {
    const buffers = new HostBuffers();
    const { a, b, into, dispatch } = mergeOf(dtype, headDim, buffers);
    const parts = [a, b].map(({ out, lse }) => ({
      out: { shape: out.tensor.shape, data: buffers.read(out.tensor) },
      lse: { shape: lse.tensor.shape, data: buffers.read(lse.tensor) },
    }));
    const want = mergeStatesReference(parts);
    expect(interpret(dispatch, buffers)).toEqual([]);
    checkRotated('out', { actual: buffers.read(into.out.tensor), reference: want.out.data }, dtype);
    checkMerged('lse', { actual: buffers.read(into.lse.tensor), reference: want.lse.data });
  });

  /** Parts of rows of one token, in a stack. */
  function stackOf(nParts: number, headDim: number, buffers: HostBuffers, traits = traitsOf({})) {
    const random = new Random(nParts);
    const out = fakeTensor('f32', [nParts, 1, N_HEADS, headDim]);
    const lse = fakeTensor('f32', [nParts, N_HEADS, 1]);
    const data = random.normals(elementCount(out.shape));
    // A row of which every part is empty, but the second.
    const lses = random
      .normals(elementCount(lse.shape))
      .map((x, i) => (i % 2 === 1 && i !== 3 ? -Infinity : x));
    buffers.write(out, data);
    buffers.write(lse, lses);
    const rows = { sequenceStride: 0, tokenStride: 0 };
    const stack = {
      out: { ...rows, tensor: out, headStride: headDim },
      lse: { ...rows, tensor: lse, headStride: 1 },
      hasTotals: false,
      n: nParts,
      outPart: N_HEADS * headDim,
      lsePart: N_HEADS,
    };
    const parts = Array.from({ length: nParts }, (_, i) => ({
      out: {
        shape: out.shape.slice(1),
        data: data.slice(i * N_HEADS * headDim, (i + 1) * N_HEADS * headDim),
      },
      lse: { shape: lse.shape.slice(1), data: lses.slice(i * N_HEADS, (i + 1) * N_HEADS) },
    }));
    const [mergedOut, mergedLse] = [
      fakeTensor('f32', out.shape.slice(1)),
      fakeTensor('f32', lse.shape.slice(1)),
    ];
    const dispatch = mergeStatesDispatch({
      batch: 1,
      nTokens: 1,
      nHeads: N_HEADS,
      headDim,
      traits,
      parts: { stack },
      out: { ...rows, tensor: mergedOut, headStride: headDim },
      lse: { ...rows, tensor: mergedLse, headStride: 1 },
      hasTotals: false,
    });
    return { dispatch, want: mergeStatesReference(parts), mergedOut, mergedLse };
  }

  test.each([
    { nParts: 4, headDim: 8, why: 'one lane has all' },
    { nParts: 7, headDim: 40, why: 'two lanes, and more quads than a row has' },
    { nParts: 13, headDim: 6, why: 'lanes with fewer parts than others' },
    { nParts: 64, headDim: 36, why: 'as many lanes as there can be' },
    { nParts: 150, headDim: 8, why: 'more parts than lanes have loads in flight' },
  ])('deals parts out to lanes: $why', ({ nParts, headDim }) => {
    const buffers = new HostBuffers();
    const { dispatch, want, mergedOut, mergedLse } = stackOf(nParts, headDim, buffers);
    expect(interpret(dispatch, buffers)).toEqual([]);
    checkMerged('out', { actual: buffers.read(mergedOut), reference: want.out.data });
    checkMerged('lse', { actual: buffers.read(mergedLse), reference: want.lse.data });
  });

  test.each(MERGE_CANDIDATES)('as a device may be tuned: %o', (merge) => {
    const buffers = new HostBuffers();
    const tuning = { ...defaultTuning(traitsOf({}), undefined), merge };
    const { dispatch, want, mergedOut, mergedLse } = stackOf(37, 12, buffers, traitsOf({ tuning }));
    expect(interpret(dispatch, buffers)).toEqual([]);
    checkMerged('out', { actual: buffers.read(mergedOut), reference: want.out.data });
    checkMerged('lse', { actual: buffers.read(mergedLse), reference: want.lse.data });
  });

  test('its barrier is needed', () => {
    const buffers = new HostBuffers();
    const { dispatch } = stackOf(13, 8, buffers);
    const without = (code: string) => code.replace('workgroupBarrier();', '');
    expect(interpret(dispatch, buffers, without)).not.toEqual([]);
  });

  test('would race for the words that rows share, if it wrote whole ones', () => {
    const { dispatch } = mergeOf('f16', 6, new HostBuffers());
    const careless = { ...dispatch, spec: { ...dispatch.spec, OUT_WIDE: true } };
    expect(interpret(careless, new HostBuffers())).toContain('out word 2: write beside write');
  });
});
