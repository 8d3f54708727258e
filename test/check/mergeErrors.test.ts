import { describe, expect, test } from 'vitest';
import { createRuntime, mergeStates, type MergeStatesArgs } from '../../src/index.js';
import { fakeDevice, fakeTensor } from '../runtime/fakeDevice.js';
import { refusal } from './refusal.js';

// Errors must be thrown before the device is used: this one fails if it is.
const runtime = createRuntime(fakeDevice());

describe('mergeStates', () => {
  const state = () => ({ out: fakeTensor('f16', [3, 4, 64]), lse: fakeTensor('f32', [4, 3]) });
  const parts = [state(), state()];
  const message = (change: object) =>
    refusal(() => mergeStates(runtime, { parts, ...change } as MergeStatesArgs));

  test('arguments', () => {
    expect([
      message({ parts: undefined }),
      message({ parts: [] }),
      message({ parts: parts[0] }),
      message({ sinks: [0] }),
      message({ parts: [null, parts[1]] }),
      message({ parts: [parts[0], {}] }),
      message({ parts: [parts[0], { out: parts[1]!.out }] }),
      message({ parts: [parts[0]!.out, parts[1]!.out] }),
      refusal(() => mergeStates(runtime, undefined as unknown as MergeStatesArgs)),
    ]).toMatchInlineSnapshot(`
      [
        "argument: mergeStates: parts must be an array of { out, lse }, at least one, not undefined.",
        "argument: mergeStates: parts must be an array of { out, lse }, at least one, not [].",
        "argument: mergeStates: parts must be an array of { out, lse }, at least one, not a plain object.",
        "argument: mergeStates: there is no argument sinks. There are parts, out, lse, pass.",
        "argument: mergeStates: parts[0] must be { out, lse }, not null.",
        "argument: mergeStates: parts[1].out must be a tensor, { buffer, dtype, shape }, not undefined.",
        "argument: mergeStates: parts[1].lse must be a tensor, { buffer, dtype, shape }, not undefined.",
        "argument: mergeStates: parts[0].out must be a tensor, { buffer, dtype, shape }, not undefined.",
        "argument: mergeStates: the arguments must be one object, not undefined.",
      ]
    `);
  });

  test('a pass that is not a pass encoder', () => {
    expect(message({ pass: {} })).toMatchInlineSnapshot(
      `"argument: mergeStates: pass must be a GPUComputePassEncoder, not a plain object."`,
    );
  });

  test('types, shapes, buffers and limits', () => {
    const big = () => ({ out: fakeTensor('f16', [2 ** 17, 4, 128]), lse: fakeTensor('f32', [4, 2 ** 17]) });
    expect([
      message({ parts: [{ ...parts[0], out: fakeTensor('i32', [3, 4, 64]) }] }),
      message({ parts: [{ ...parts[0], lse: fakeTensor('f16', [4, 3]) }] }),
      message({ parts: [{ ...parts[0], out: fakeTensor('f16', [3, 256]) }] }),
      message({ parts: [{ ...parts[0], lse: fakeTensor('f32', [3, 4]) }] }),
      message({ parts: [parts[0], { ...state(), out: fakeTensor('f16', [2, 4, 64]) }] }),
      message({
        parts: [parts[0], { out: fakeTensor('f16', [1, 3, 4, 64]), lse: fakeTensor('f32', [1, 4, 3]) }],
      }),
      message({ out: fakeTensor('f32', [3, 4, 64]) }),
      message({ lse: fakeTensor('f32', [3, 4]) }),
      message({ out: parts[0]!.out }),
      message({ lse: parts[1]!.lse }),
      message({ parts: [big(), big(), big()], ...big() }),
    ]).toMatchInlineSnapshot(`
      [
        "dtype: mergeStates: parts[0].out must be f32, f16 or bf16, not i32.",
        "dtype: mergeStates: parts[0].lse must be f32, not f16.",
        "shape: mergeStates: parts[0].out must have the shape [B, Sq, Hq, Dv], not [3, 256].",
        "shape: mergeStates: parts[0].lse is [3, 4], which says Hq = 3, but parts[0].out says Hq = 4; parts[0].lse must be [Hq, totalQ].",
        "shape: mergeStates: parts[1].out is [2, 4, 64], which says totalQ = 2, but parts[0].out says totalQ = 3; parts[1].out must be [totalQ, Hq, Dv].",
        "shape: mergeStates: parts[1].out must have the shape [totalQ, Hq, Dv], not [1, 3, 4, 64].",
        "dtype: mergeStates: out must be f16, not f32.",
        "shape: mergeStates: lse must be [Hq, totalQ] = [4, 3], not [3, 4].",
        "buffer: mergeStates: out is in the same buffer as parts[0].out. WebGPU cannot read and write a buffer in one dispatch: give out a buffer of its own.",
        "buffer: mergeStates: lse is in the same buffer as parts[1].lse. WebGPU cannot read and write a buffer in one dispatch: give lse a buffer of its own.",
        "limit: mergeStates: merging 3 parts needs 268435456 bytes in f32; this device binds at most 134217728. Merge fewer tokens at a time.",
      ]
    `);
  });
});
