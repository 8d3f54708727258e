import { describe, expect, test } from 'vitest';
import {
  attn,
  attnVarlen,
  createRuntime,
  planAttnVarlen,
  type AttnArgs,
  type AttnVarlenArgs,
} from '../../src/index.js';
import { fakeBuffer, fakeDevice, fakeTensor } from '../runtime/fakeDevice.js';
import { acceptedVarlen } from './acceptedCalls.js';
import { refusal } from './refusal.js';

// Errors must be thrown before the device is used: this one fails if it is.
const runtime = createRuntime(fakeDevice());

describe('attnVarlen', () => {
  const good = acceptedVarlen();
  const pages = fakeTensor('f16', [6, 4, 2, 64]);
  const paged: AttnVarlenArgs = {
    ...good,
    k: pages,
    v: { ...pages, buffer: fakeBuffer(pages.buffer.size) },
    cuSeqlensK: undefined,
    sequsedK: [5, 7],
    blockTable: [0, 1, 2, 3],
  };
  const message = (change: object, from: AttnVarlenArgs = good) =>
    refusal(() => attnVarlen(runtime, { ...from, ...change }));

  test('arguments', () => {
    expect([
      message({ windowsize: [3, 3] }),
      message({ q: undefined }),
      message({ q: new Float32Array(4) }),
      message({ causal: 1 }),
      message({ softmaxScale: NaN }),
      message({ softcap: -1 }),
      message({ windowSize: [3] }),
      message({ windowSize: [-2, 0] }),
      message({ attentionChunk: 1.5 }),
      message({ numSplits: -1 }),
      message({ pass: {} }),
      message({ cuSeqlensQ: undefined }),
      message({ cuSeqlensK: undefined }),
      message({ cuSeqlensQ: [0, 1.5, 8] }),
      message({ sinks: [0, Infinity, 0, 0] }),
      message({ sequsedK: undefined }, paged),
      message({ cuSeqlensQ: fakeTensor('i32', [3]) }),
      message({ cuSeqlensK: fakeTensor('i32', [3]) }),
      message({ sequsedK: fakeTensor('i32', [2]) }, paged),
    ]).toMatchInlineSnapshot(`
      [
        "argument: attnVarlen: there is no argument windowsize. There are q, k, v, kScale, vScale, blockMask, kvRotation, cuSeqlensQ, cuSeqlensK, sequsedK, maxSeqlenQ, maxSeqlenK, blockTable, softmaxScale, causal, windowSize, softcap, alibiSlopes, sinks, attentionChunk, firstKeys, mask, bias, positions, treeMask, scoreMod, maskMod, numSplits, returnLse, out, lse, pass.",
        "argument: attnVarlen: q must be a tensor, { buffer, dtype, shape }, not undefined.",
        "argument: attnVarlen: q must be a tensor, { buffer, dtype, shape }, not a Float32Array.",
        "argument: attnVarlen: causal must be true or false, not 1.",
        "argument: attnVarlen: softmaxScale must be a finite number, not NaN.",
        "argument: attnVarlen: softcap must be a finite number ≥ 0, not -1.",
        "argument: attnVarlen: windowSize must be [left, right], whole numbers ≥ −1, not [3].",
        "argument: attnVarlen: windowSize must be [left, right], whole numbers ≥ −1, not [-2, 0].",
        "argument: attnVarlen: attentionChunk must be a whole number ≥ 0, not 1.5.",
        "argument: attnVarlen: numSplits must be a whole number ≥ 0, not -1.",
        "argument: attnVarlen: pass must be a GPUComputePassEncoder, not a plain object.",
        "argument: attnVarlen: cuSeqlensQ must be a tensor or an array of numbers, not undefined.",
        "argument: attnVarlen: cuSeqlensK is missing.",
        "argument: attnVarlen: cuSeqlensQ[1] must be a whole number of 32 bits, not 1.5.",
        "argument: attnVarlen: sinks[1] must be a finite number or -Infinity, not Infinity.",
        "argument: attnVarlen: with blockTable, pass sequsedK or cuSeqlensK to say how many keys there are.",
        "argument: attnVarlen: cuSeqlensQ is on the GPU, so maxSeqlenQ is needed.",
        "argument: attnVarlen: cuSeqlensK is on the GPU, so maxSeqlenK is needed.",
        "argument: attnVarlen: sequsedK is on the GPU, so maxSeqlenK is needed.",
      ]
    `);
    expect(refusal(() => attnVarlen(runtime, null as unknown as AttnVarlenArgs))).toMatchInlineSnapshot(
      `"argument: attnVarlen: the arguments must be one object, not null."`,
    );
  });

  test('types and shapes', () => {
    expect([
      message({ q: fakeTensor('i32', [8, 4, 64]) }),
      message({ v: fakeTensor('f32', [12, 2, 64]) }),
      message({ out: fakeTensor('f32', [8, 4, 64]) }),
      message({ lse: fakeTensor('f16', [4, 8]) }),
      message({ cuSeqlensQ: fakeTensor('f32', [3]), maxSeqlenQ: 8 }),
      message({ q: fakeTensor('f16', [8, 256]) }),
      message({ q: { ...good.q, shape: [8, 4, -64] } }),
      message({ q: { ...good.q, offset: 0.5 } }),
      message({ q: { ...good.q, strides: [256, 64] } }),
      message({ q: { ...good.q, strides: [256, 64, 2] } }),
      message({ q: fakeTensor('f16', [8, 5, 64]) }),
      message({ q: fakeTensor('f16', [8, 0, 64]) }),
      message({ q: fakeTensor('f16', [8, 4, 32]) }),
      message({ v: fakeTensor('f16', [11, 2, 64]) }),
      message({ v: fakeTensor('f16', [12, 2, 513]) }),
      message({ alibiSlopes: [1, 2, 3] }),
      message({ alibiSlopes: null }),
      message({ sinks: fakeTensor('f32', [5]) }),
      message({ cuSeqlensQ: [] }),
      message({ cuSeqlensK: [0, 12] }),
      message({ blockTable: [0, 1, 2] }, paged),
      message({ out: fakeTensor('f16', [7, 4, 64]) }),
      message({ out: fakeTensor('f16', [8, 4, 64], { strides: [64, 64, 1] }) }),
    ]).toMatchInlineSnapshot(`
      [
        "dtype: attnVarlen: q must be f32, f16 or bf16, not i32.",
        "dtype: attnVarlen: k is f16 but v is f32; they must be the same.",
        "dtype: attnVarlen: out must be f16, not f32.",
        "dtype: attnVarlen: lse must be f32, not f16.",
        "dtype: attnVarlen: cuSeqlensQ must be i32 or u32, not f32.",
        "shape: attnVarlen: q must have the shape [totalQ, Hq, D], not [8, 256].",
        "shape: attnVarlen: q must have the shape [totalQ, Hq, D], not [8, 4, -64].",
        "shape: attnVarlen: the offset of q must be a whole number ≥ 0, not 0.5.",
        "shape: attnVarlen: the strides of q must be 3 whole numbers ≥ 0, not [256, 64].",
        "shape: attnVarlen: the last stride of q must be 1, not 2.",
        "shape: attnVarlen: q has 5 heads, which is not a multiple of the 2 key/value heads of k.",
        "shape: attnVarlen: q has no heads.",
        "shape: attnVarlen: k is [12, 2, 64], which says D = 64, but q says D = 32; k must be [totalK, Hkv, D].",
        "shape: attnVarlen: v is [11, 2, 64], which says totalK = 11, but k says totalK = 12; v must be [totalK, Hkv, Dv].",
        "shape: attnVarlen: v has head size 513; it must be 1 to 512.",
        "shape: attnVarlen: alibiSlopes must have 8 numbers, [B, Hq] = [2, 4], not 3.",
        "argument: attnVarlen: alibiSlopes must be a tensor or an array of numbers, not null.",
        "shape: attnVarlen: sinks must be [Hq] = [4], not [5].",
        "shape: attnVarlen: cuSeqlensQ must have B + 1 numbers, at least one.",
        "shape: attnVarlen: cuSeqlensK must have 3 numbers, [B + 1] = [3], not 2.",
        "shape: attnVarlen: blockTable has 3 numbers, which is not a multiple of the 2 sequences.",
        "shape: attnVarlen: out must be [totalQ, Hq, Dv] = [8, 4, 64], not [7, 4, 64].",
        "shape: attnVarlen: elements of out overlap: its strides are [64, 64, 1].",
      ]
    `);
  });

  test('lengths and tables', () => {
    expect([
      message({ cuSeqlensQ: [0, 5, 3] }),
      message({ cuSeqlensQ: [-1, 5, 8] }),
      message({ cuSeqlensQ: [0, 5, 9] }),
      message({ cuSeqlensK: [0, 5, 13] }),
      message({ sequsedK: [6, 7] }),
      message({ sequsedK: [5, -1] }),
      message({ maxSeqlenQ: 4 }),
      message({ maxSeqlenK: 6 }),
      message({ sequsedK: [5, 9] }, paged),
      message({ blockTable: [0, 1, 2, 6] }, paged),
      message({ blockTable: [0, -1, 2, 3] }, paged),
    ]).toMatchInlineSnapshot(`
      [
        "length: attnVarlen: cuSeqlensQ must not decrease, but cuSeqlensQ[1] is 5 and cuSeqlensQ[2] is 3.",
        "length: attnVarlen: cuSeqlensQ must begin with 0, not -1: pass the running sums of the lengths, with a 0 before the first.",
        "length: attnVarlen: cuSeqlensQ ends at 9 but q has 8 tokens.",
        "length: attnVarlen: cuSeqlensK ends at 13 but k has 12 tokens.",
        "length: attnVarlen: sequsedK[0] must be 0 to the 5 keys of the sequence, not 6.",
        "length: attnVarlen: sequsedK[1] must be 0 to the 7 keys of the sequence, not -1.",
        "length: attnVarlen: sequence 1 has 5 queries, more than maxSeqlenQ = 4.",
        "length: attnVarlen: sequence 1 has 7 keys, more than maxSeqlenK = 6.",
        "length: attnVarlen: sequence 1 needs 3 pages for 9 keys but its row of blockTable has 2. Reserve pages first, or pass a wider table.",
        "length: attnVarlen: blockTable gives sequence 1 the page 6 for keys 4 to 6, but there are pages 0 to 5. Reserve pages first.",
        "length: attnVarlen: blockTable gives sequence 0 the page -1 for key 4, but there are pages 0 to 5. Reserve pages first.",
      ]
    `);
  });

  test('sums without the leading 0 are distinguished from lengths', () => {
    const sums = (cuSeqlensQ: readonly number[]) => message({ cuSeqlensQ });
    const manySums = Array.from({ length: 20 }, (_, b) => 1 + b);
    const many = fakeTensor('f16', [20, 4, 64]);
    expect([
      sums([3, 8]),
      sums([3, 5]),
      sums([5, 3]),
      sums([1, 3, 8]),
      sums([8]),
      sums([2, 4]),
      sums([3, 1, 1]),
      message({ cuSeqlensK: [5, 12] }),
      message({ cuSeqlensK: [5, 5, 2] }),
      message({ cuSeqlensQ: manySums, q: many }),
      message({ cuSeqlensQ: [5, 7] }, paged),
      message({ cuSeqlensK: [5, 7], sequsedK: undefined }, paged),
      message({ cuSeqlensK: [7, 5, 1], sequsedK: undefined }, paged),
      refusal(() => planAttnVarlen(runtime, { ...good, cuSeqlensQ: [3, 8] })),
    ]).toMatchInlineSnapshot(`
      [
        "length: attnVarlen: cuSeqlensQ must begin with 0, not 3: it looks like sums without the leading 0. Pass [0, 3, 8].",
        "length: attnVarlen: cuSeqlensQ must begin with 0, not 3: it looks like lengths. Pass their running sums, [0, 3, 8].",
        "length: attnVarlen: cuSeqlensQ must begin with 0, not 5: it looks like lengths. Pass their running sums, [0, 5, 8].",
        "length: attnVarlen: cuSeqlensQ must begin with 0, not 1: it looks like sums without the leading 0. Pass [0, 1, 3, 8].",
        "length: attnVarlen: cuSeqlensQ must begin with 0, not 8: it looks like sums without the leading 0. Pass [0, 8].",
        "length: attnVarlen: cuSeqlensQ must begin with 0, not 2: pass the running sums of the lengths, with a 0 before the first.",
        "length: attnVarlen: cuSeqlensQ must begin with 0, not 3: it looks like lengths. Pass their running sums, [0, 3, 4, 5].",
        "length: attnVarlen: cuSeqlensK must begin with 0, not 5: it looks like sums without the leading 0. Pass [0, 5, 12].",
        "length: attnVarlen: cuSeqlensK must begin with 0, not 5: it looks like lengths. Pass their running sums, [0, 5, 10, 12].",
        "length: attnVarlen: cuSeqlensQ must begin with 0, not 1: it looks like sums without the leading 0. Pass [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, … 21 in all].",
        "length: attnVarlen: cuSeqlensQ must begin with 0, not 5: pass the running sums of the lengths, with a 0 before the first.",
        "length: attnVarlen: cuSeqlensK must begin with 0, not 5: pass the running sums of the lengths, with a 0 before the first.",
        "length: attnVarlen: cuSeqlensK must begin with 0, not 7: it looks like lengths. Pass their running sums, [0, 7, 12, 13].",
        "length: planAttnVarlen: cuSeqlensQ must begin with 0, not 3: it looks like sums without the leading 0. Pass [0, 3, 8].",
      ]
    `);
  });

  test('other numbers of dimensions', () => {
    const dense = fakeTensor('f16', [2, 4, 2, 64]);
    expect([
      message({ q: fakeTensor('f16', [2, 4, 4, 64]) }),
      message({ k: dense }),
      message({ v: dense }),
      message({ k: good.k }, paged),
    ]).toMatchInlineSnapshot(`
      [
        "shape: attnVarlen: q must have the shape [totalQ, Hq, D], not [2, 4, 4, 64]. For a dense batch, use attn.",
        "shape: attnVarlen: k must have the shape [totalK, Hkv, D], not [2, 4, 2, 64]. For a dense batch, use attn; for pages, pass blockTable.",
        "shape: attnVarlen: v must have the shape [totalK, Hkv, Dv], not [2, 4, 2, 64]. For a dense batch, use attn; for pages, pass blockTable.",
        "shape: attnVarlen: k must have the shape [P, pageSize, Hkv, D], not [12, 2, 64]. For keys end to end, leave blockTable out.",
      ]
    `);
  });

  test('tables that are not tables', () => {
    expect([
      message({ blockTable: null }, paged),
      message({ blockTable: '0123' }, paged),
      message({ blockTable: fakeTensor('i32', [4]) }, paged),
      message({ blockTable: fakeTensor('i32', [3, 2]) }, paged),
    ]).toMatchInlineSnapshot(`
      [
        "argument: attnVarlen: blockTable must be a tensor or an array of numbers, not null.",
        "argument: attnVarlen: blockTable must be a tensor or an array of numbers, not "0123".",
        "shape: attnVarlen: blockTable must have the shape [B, maxPages], not [4].",
        "shape: attnVarlen: blockTable must be [B, maxPages] = [2, 2], not [3, 2].",
      ]
    `);
  });

  test('lengths on the host are checked even where others are on the GPU', () => {
    const cuSeqlensK = fakeTensor('i32', [3]);
    expect(message({ cuSeqlensQ: [0, 5, 9], cuSeqlensK, maxSeqlenK: 12 })).toMatchInlineSnapshot(
      `"length: attnVarlen: cuSeqlensQ ends at 9 but q has 8 tokens."`,
    );
  });

  test('buffers and limits', () => {
    const out = fakeTensor('f16', [8, 4, 64]);
    expect([
      message({ q: { ...good.q, offset: 1 } }),
      message({ q: { ...good.q, buffer: fakeBuffer(4096, 8) } }),
      message({ q: { ...good.q, buffer: {} } }),
      message({ q: { ...good.q, buffer: { ...good.q.buffer, mapState: 'mapped' } } }),
      message({ q: { ...good.q, shape: [7, 1, 63], buffer: fakeBuffer(882) } }),
      message({ q: { ...fakeTensor('f16', [2 ** 19, 4, 64]) } }),
      message({ out: { ...out, buffer: good.q.buffer } }),
    ]).toMatchInlineSnapshot(`
      [
        "buffer: attnVarlen: q ends at byte 4098 of a buffer of 4096 bytes. Check its shape, strides and offset.",
        "buffer: attnVarlen: the buffer of q must be made with GPUBufferUsage.STORAGE.",
        "buffer: attnVarlen: q.buffer must be a GPUBuffer, not a plain object.",
        "buffer: attnVarlen: the buffer of q is mapped. Unmap it first.",
        "buffer: attnVarlen: the buffer of q has 882 bytes, but kernels read whole words: give it 884.",
        "limit: attnVarlen: q spans 268435456 bytes, but this device binds at most 134217728. Ask for maxStorageBufferBindingSize, use requestDevice(), or split the tensor.",
        "buffer: attnVarlen: out is in the same buffer as q. WebGPU cannot read and write a buffer in one dispatch: give out a buffer of its own.",
      ]
    `);
    const buffer = fakeBuffer(8192);
    const lse = { ...fakeTensor('f32', [4, 8]), offset: 1000, buffer };
    expect(message({ out: { ...out, buffer }, lse })).toMatchInlineSnapshot(
      `"buffer: attnVarlen: out and lse are too close in one buffer: put them 256 bytes apart, or in two buffers."`,
    );
  });
});

test('a call with nothing to compute asks nothing of the device, in a pass or without', () => {
  const none = fakeTensor('f32', [0, 2, 64]);
  const out = fakeTensor('f32', [0, 2, 64]);
  const pass = { dispatchWorkgroups: () => {} } as unknown as GPUComputePassEncoder;
  const args = { q: none, k: none, v: none, out, cuSeqlensQ: [0], cuSeqlensK: [0] };
  expect(attnVarlen(runtime, args)).toEqual({ out });
  expect(attnVarlen(runtime, { ...args, pass })).toEqual({ out });
});

describe('attn', () => {
  const good: AttnArgs = {
    q: fakeTensor('f32', [2, 8, 4, 64]),
    k: fakeTensor('f32', [2, 12, 2, 64]),
    v: fakeTensor('f32', [2, 12, 2, 64]),
  };
  const message = (change: object) => refusal(() => attn(runtime, { ...good, ...change }));

  test('shapes', () => {
    expect([
      message({ q: fakeTensor('f32', [8, 4, 64]) }),
      message({ k: fakeTensor('f32', [3, 12, 2, 64]) }),
      message({ v: fakeTensor('f32', [2, 13, 2, 64]) }),
      message({ lse: fakeTensor('f32', [2, 8, 4]) }),
      message({ alibiSlopes: fakeTensor('f32', [3, 4]) }),
    ]).toMatchInlineSnapshot(`
      [
        "shape: attn: q must have the shape [B, Sq, Hq, D], not [8, 4, 64]. For sequences end to end, use attnVarlen.",
        "shape: attn: k is [3, 12, 2, 64], which says B = 3, but q says B = 2; k must be [B, Sk, Hkv, D].",
        "shape: attn: v is [2, 13, 2, 64], which says Sk = 13, but k says Sk = 12; v must be [B, Sk, Hkv, Dv].",
        "shape: attn: lse must be [B, Hq, Sq] = [2, 4, 8], not [2, 8, 4].",
        "shape: attn: alibiSlopes must be [B, Hq] = [2, 4], not [3, 4].",
      ]
    `);
  });
});
