import { describe, expect, test } from 'vitest';
import { attnWeights, createRuntime, type AttnWeightsArgs } from '../../src/index.js';
import { fakeBuffer, fakeDevice, fakeTensor } from '../runtime/fakeDevice.js';
import { acceptedKvCache, acceptedVarlen } from './acceptedCalls.js';
import { refusal } from './refusal.js';

// Errors must be thrown before the device is used: this one fails if it is.
const runtime = createRuntime(fakeDevice());

describe('attnWeights', () => {
  const lse = fakeTensor('f32', [4, 8]);
  const varlen = { ...acceptedVarlen(), lse, rows: [2, 7] };
  const cached = { ...acceptedKvCache(), lse: fakeTensor('f32', [2, 4, 2]), rows: [3] };
  const dense = {
    q: fakeTensor('f16', [2, 3, 4, 64]),
    k: fakeTensor('f16', [2, 5, 2, 64]),
    lse: fakeTensor('f32', [2, 4, 3]),
    rows: [5],
  };
  const message = (change: object, from: object = varlen) =>
    refusal(() => attnWeights(runtime, { ...from, ...change } as AttnWeightsArgs));

  test('arguments of a batch end to end', () => {
    expect([
      message({ windowsize: [3, 3] }),
      message({ out: fakeTensor('f16', [8, 4, 64]) }),
      message({ q: undefined }),
      message({ k: undefined }),
      message({ lse: undefined }),
      message({ cuSeqlensK: undefined }),
      message({ cacheBatchIdx: [1, 0] }),
      message({ softcap: -1 }),
      message({ pass: {} }),
      message({ cuSeqlensK: fakeTensor('i32', [3]) }),
      refusal(() => attnWeights(runtime, undefined as unknown as AttnWeightsArgs)),
      refusal(() => attnWeights(undefined as never, varlen)),
    ]).toMatchInlineSnapshot(`
      [
        "argument: attnWeights: there is no argument windowsize. There are q, k, kScale, blockMask, kvRotation, cuSeqlensQ, cuSeqlensK, sequsedK, maxSeqlenQ, maxSeqlenK, blockTable, rows, lse, weights, pass, softmaxScale, causal, windowSize, softcap, alibiSlopes, attentionChunk, firstKeys, mask, bias, positions, treeMask, scoreMod, maskMod.",
        "argument: attnWeights: there is no argument out. There are q, k, kScale, blockMask, kvRotation, cuSeqlensQ, cuSeqlensK, sequsedK, maxSeqlenQ, maxSeqlenK, blockTable, rows, lse, weights, pass, softmaxScale, causal, windowSize, softcap, alibiSlopes, attentionChunk, firstKeys, mask, bias, positions, treeMask, scoreMod, maskMod.",
        "argument: attnWeights: q must be a tensor, { buffer, dtype, shape }, not undefined.",
        "argument: attnWeights: k must be a tensor, { buffer, dtype, shape }, not undefined.",
        "argument: attnWeights: lse is missing. Pass returnLse: true to the attention call, and its lse here.",
        "argument: attnWeights: cuSeqlensK is missing.",
        "argument: attnWeights: rows of blockTable are in the order of the sequences: leave cacheBatchIdx out.",
        "argument: attnWeights: softcap must be a finite number ≥ 0, not -1.",
        "argument: attnWeights: pass must be a GPUComputePassEncoder, not a plain object.",
        "argument: attnWeights: cuSeqlensK is on the GPU, so maxSeqlenK is needed.",
        "argument: attnWeights: the arguments must be one object, not undefined.",
        "argument: attnWeights: runtime must be what createRuntime gives, not undefined.",
      ]
    `);
  });

  test('rows', () => {
    expect([
      message({ rows: undefined }),
      message({ rows: 3 }),
      message({ rows: fakeTensor('i32', [2]) }),
      message({ rows: [0, 1.5] }),
      message({ rows: [0, 8] }),
      message({ rows: [-1] }),
      message({ rows: ['0'] }),
      message({ rows: [3, 5], cuSeqlensQ: [0, 3, 5] }),
      message({ rows: [0], cuSeqlensQ: [0], cuSeqlensK: [0] }),
      message({ rows: [0], cuSeqlensQ: fakeTensor('i32', [1]), cuSeqlensK: [0], maxSeqlenQ: 9 }),
      message({ rows: [6] }, dense),
      message({ rows: [4] }, cached),
      message({ rows: { length: 2 ** 22 + 1 } }),
      message({ rows: new Uint32Array(2 ** 22 + 1) }),
    ]).toMatchInlineSnapshot(`
      [
        "argument: attnWeights: rows must be an array of row numbers, not undefined.",
        "argument: attnWeights: rows must be an array of row numbers, not 3.",
        "argument: attnWeights: rows must be an array of row numbers, not a plain object.",
        "argument: attnWeights: rows[1] must be a row of q, 0 to 7, not 1.5.",
        "argument: attnWeights: rows[1] must be a row of q, 0 to 7, not 8.",
        "argument: attnWeights: rows[0] must be a row of q, 0 to 7, not -1.",
        "argument: attnWeights: rows[0] must be a row of q, 0 to 7, not "0".",
        "length: attnWeights: rows[1] is 5, but cuSeqlensQ ends at 5: the rows from there on are of no sequence.",
        "length: attnWeights: rows[0] is 0, but cuSeqlensQ ends at 0: the rows from there on are of no sequence.",
        "length: attnWeights: rows[0] is 0, but cuSeqlensQ ends at 0: the rows from there on are of no sequence.",
        "argument: attnWeights: rows[0] must be a row of q, 0 to 5, not 6.",
        "argument: attnWeights: rows[0] must be a row of q, 0 to 3, not 4.",
        "argument: attnWeights: rows must be an array of row numbers, not a plain object.",
        "limit: attnWeights: rows has 4194305 entries, but a call takes at most 4194304. Make several calls.",
      ]
    `);
  });

  test('arguments of a dense batch and of a cache', () => {
    const newK = fakeTensor('f16', [2, 1, 2, 64]);
    expect([
      message({ q: fakeTensor('f16', [6, 4, 64]) }, dense),
      message({ cacheSeqlens: 3 }, dense),
      message({ q: dense.q }),
      message({ k: dense.k }),
      message({ blockTable: [0, 1] }),
      message({ cacheSeqlens: undefined }, cached),
      message({ k: fakeTensor('f16', [2, 2, 64]) }, cached),
      message({ k: fakeTensor('f16', [3, 1, 2, 64]) }, cached),
      message({ k: fakeTensor('i32', [2, 1, 2, 64]) }, cached),
      message({ cuSeqlensKNew: [0, 1, 2] }, cached),
      message({ cacheSeqlens: 8, k: newK }, cached),
      message({ rotaryCos: new Float32Array(32) }, cached),
      message({ rotaryCos: new Float32Array(32), rotarySin: new Float32Array(32) }, cached),
      message({ cacheBatchIdx: [2, 0] }, cached),
    ]).toMatchInlineSnapshot(`
      [
        "shape: attnWeights: q must have the shape [B, Sq, Hq, D], not [6, 4, 64]. For sequences end to end, pass cuSeqlensQ.",
        "argument: attnWeights: there is no argument cacheSeqlens. There are q, k, blockMask, rows, lse, weights, pass, softmaxScale, causal, windowSize, softcap, alibiSlopes, attentionChunk, firstKeys, mask, bias, positions, treeMask, scoreMod, maskMod.",
        "shape: attnWeights: q must have the shape [totalQ, Hq, D], not [2, 3, 4, 64]. For a dense batch, leave cuSeqlensQ out.",
        "shape: attnWeights: k must have the shape [totalK, Hkv, D], not [2, 5, 2, 64]. For a dense batch, leave cuSeqlensQ out; for pages, pass blockTable.",
        "shape: attnWeights: k must have the shape [P, pageSize, Hkv, D], not [12, 2, 64]. For keys end to end, leave blockTable out.",
        "argument: attnWeights: cacheSeqlens is missing. Pass how many tokens the cache holds: one number, or one for each sequence.",
        "shape: attnWeights: k must have the shape [B, Snew, Hkv, D], not [2, 2, 64].",
        "shape: attnWeights: k is [3, 1, 2, 64], but there are 2 sequences.",
        "dtype: attnWeights: k must be f32, f16 or bf16, not i32.",
        "argument: attnWeights: cuSeqlensKNew is given, but no new tokens k and v. Pass these, or leave it out: without them it may only be what cuSeqlensQ is.",
        "length: attnWeights: sequence 0 needs 9 slots but a row of kCache has 8. Pass a longer cache, or pages.",
        "argument: attnWeights: rotarySin is missing: pass rotaryCos and rotarySin together.",
        "length: attnWeights: sequence 0 reaches position 5, but rotaryCos has the positions 0 to 0. Pass a longer table.",
        "length: attnWeights: cacheBatchIdx[0] is 2, but kCache has the rows 0 to 1.",
      ]
    `);
  });

  test('types, shapes, buffers and limits', () => {
    const weights = fakeTensor('f32', [2, 4, 7]);
    const long = { ...dense, k: fakeTensor('f16', [2, 2 ** 16, 1, 8]), q: fakeTensor('f16', [2, 3, 4, 8]) };
    expect([
      message({ q: fakeTensor('i32', [8, 4, 64]) }),
      message({ k: fakeTensor('f16', [12, 3, 64]) }),
      message({ k: fakeTensor('f16', [12, 2, 32]) }),
      message({ lse: fakeTensor('f16', [4, 8]) }),
      message({ lse: fakeTensor('f32', [8, 4]) }),
      message({ lse }, dense),
      message({ weights: fakeTensor('f16', [2, 4, 7]) }),
      message({ weights: fakeTensor('f32', [2, 28]) }),
      message({ weights: fakeTensor('f32', [3, 4, 7]) }),
      message({ weights: fakeTensor('f32', [2, 4, 6]) }),
      message({ weights: { ...weights, strides: [7, 7, 1] } }),
      message({ weights: { ...weights, buffer: fakeBuffer(100) } }),
      message({ weights, lse: { ...lse, buffer: weights.buffer } }),
      message({ rows: new Int32Array(600) }, long),
      message({ blockTable: [0, 9], k: fakeTensor('f16', [6, 8, 2, 64]) }),
    ]).toMatchInlineSnapshot(`
      [
        "dtype: attnWeights: q must be f32, f16 or bf16, not i32.",
        "shape: attnWeights: q has 4 heads, which is not a multiple of the 3 key/value heads of k.",
        "shape: attnWeights: k is [12, 2, 32], which says D = 32, but q says D = 64; k must be [totalK, Hkv, D].",
        "dtype: attnWeights: lse must be f32, not f16.",
        "shape: attnWeights: lse must be [Hq, totalQ] = [4, 8], not [8, 4].",
        "shape: attnWeights: lse must have the shape [B, Hq, Sq], not [4, 8].",
        "dtype: attnWeights: weights must be f32, not f16.",
        "shape: attnWeights: weights must have the shape [rows, Hq, keys], not [2, 28].",
        "shape: attnWeights: weights must be [rows, Hq, keys] = [2, 4, 7], or with more keys, not [3, 4, 7].",
        "shape: attnWeights: weights must be [rows, Hq, keys] = [2, 4, 7], or with more keys, not [2, 4, 6].",
        "shape: attnWeights: elements of weights overlap: its strides are [7, 7, 1].",
        "buffer: attnWeights: weights ends at byte 224 of a buffer of 100 bytes. Check its shape, strides and offset.",
        "buffer: attnWeights: weights is in the same buffer as lse. WebGPU cannot read and write a buffer in one dispatch: give weights a buffer of its own.",
        "limit: attnWeights: weights of 600 rows, 4 heads and 65536 keys take 629145600 bytes, but this device binds at most 134217728. Ask for fewer rows at a time.",
        "length: attnWeights: blockTable gives sequence 1 the page 9 for keys 0 to 6, but there are pages 0 to 5. Reserve pages first.",
      ]
    `);
  });

  test('what the call of attention had besides is taken, a whole step as well', () => {
    const more = {
      v: varlen.v,
      sinks: [0, 0, 0, 0],
      numSplits: 2,
      returnLse: true,
      tokens: [1],
      cacheSeqlens: [0, 0],
    };
    // It gets as far as the device.
    expect(() => attnWeights(runtime, { ...varlen, ...more } as AttnWeightsArgs)).toThrow(
      'The device was asked for createBuffer.',
    );
  });
});
