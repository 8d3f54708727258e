import { describe, expect, test } from 'vitest';
import type { FloatDType } from '../../src/core/dtype.js';
import { elementCount } from '../../src/core/tensor.js';
import { mergeStatesDispatch } from '../../src/kernels/mergeStates.js';
import { mergeStatesReference } from '../../src/reference/attention.js';
import { fakeTensor } from '../runtime/fakeDevice.js';
import { Random } from '../../tools/random.js';
import { checkMerged, checkRotated } from '../reference/tolerance.js';
import { GRID } from './batchesOnHost.js';
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
    const sizes = { batch: 1, nTokens: N_TOKENS, nHeads: N_HEADS, headDim, ...GRID };
    const dispatch = mergeStatesDispatch({ ...sizes, parts: { pair: [a, b] }, ...into });
    return { a, b, into, dispatch };
  }

  // Not halves by quads: the interpreter keeps vec2u as floats.
  test.each([
    { dtype: 'f32', headDim: 8, why: 'whole quads' },
    { dtype: 'f32', headDim: 6, why: 'element by element' },
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

  test('would race for the words that rows share, if it wrote whole ones', () => {
    const { dispatch } = mergeOf('f16', 6, new HostBuffers());
    const careless = { ...dispatch, spec: { ...dispatch.spec, OUT_WIDE: true } };
    expect(interpret(careless, new HostBuffers())).toContain('out word 2: write beside write');
  });
});
