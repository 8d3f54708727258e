import { describe, expect, test } from 'vitest';
import {
  attn,
  attnVarlen,
  attnWeights,
  attnWithKvCache,
  createRuntime,
  planAttnWithKvCache,
} from '../../src/index.js';
import { fakeDevice, fakeTensor } from '../runtime/fakeDevice.js';
import { acceptedKvCache, acceptedVarlen } from './acceptedCalls.js';
import { refusal } from './refusal.js';

// Errors must be thrown before the device is used: this one fails if it is.
const runtime = createRuntime(fakeDevice());

const varlen = (change: object) => refusal(() => attnVarlen(runtime, { ...acceptedVarlen(), ...change }));
/** Two sequences of two queries. */
const cached = (change: object) =>
  refusal(() => attnWithKvCache(runtime, { ...acceptedKvCache(), ...change }));

const fresh = (nNew: number) => ({
  k: fakeTensor('f16', [2, nNew, 2, 64]),
  v: fakeTensor('f16', [2, nNew, 2, 64]),
});
const rotary = { rotaryCos: fakeTensor('f32', [8, 32]), rotarySin: fakeTensor('f32', [8, 32]) };
const three = new Int32Array(12);

describe('positions and trees of query tokens', () => {
  test('their shapes and numbers', () => {
    expect([
      varlen({ positions: [0, 1, 2] }),
      varlen({ positions: fakeTensor('i32', [2, 4]) }),
      varlen({ positions: fakeTensor('f32', [8]) }),
      varlen({ positions: [0, 1, 2, 3, 4, 5, 6, 0.5] }),
      varlen({ positions: [0, 1, 2, 3, 4, 5, 6, 2 ** 30] }),
      varlen({ positions: 3 }),
      varlen({ treeMask: [1, 2, 3] }),
      varlen({ treeMask: fakeTensor('u32', [8]) }),
      varlen({ treeMask: fakeTensor('u32', [7, 1]) }),
      varlen({ treeMask: fakeTensor('f32', [8, 1]) }),
      varlen({ treeMask: [1, 2, 3, 4, 5, 6, 7, 2 ** 32] }),
      varlen({ treeMask: [] }),
      cached({ positions: fakeTensor('i32', [4]) }),
      cached({ treeMask: fakeTensor('u32', [2, 2, 0]) }),
      refusal(() =>
        attn(runtime, {
          q: fakeTensor('f16', [1, 40, 4, 64]),
          k: fakeTensor('f16', [1, 50, 2, 64]),
          v: fakeTensor('f16', [1, 50, 2, 64]),
          treeMask: new Uint32Array(40),
        }),
      ),
    ]).toMatchInlineSnapshot(`
      [
        "shape: attnVarlen: positions must have 8 numbers, [totalQ] = [8], not 3.",
        "shape: attnVarlen: positions must have the shape [totalQ], not [2, 4].",
        "dtype: attnVarlen: positions must be i32 or u32, not f32.",
        "argument: attnVarlen: positions[7] must be a whole number of 32 bits, not 0.5.",
        "limit: attnVarlen: positions[7] must be −1073741823 to 1073741823, not 1073741824.",
        "argument: attnVarlen: positions must be a tensor or an array of numbers, not 3.",
        "shape: attnVarlen: treeMask must be [totalQ, words] = [8, 1], or with more words, since sequences have up to 5 queries, not 3 numbers.",
        "shape: attnVarlen: treeMask must have the shape [totalQ, words], not [8].",
        "shape: attnVarlen: treeMask must be [totalQ, words] = [8, 1], or with more words, since sequences have up to 5 queries, not [7, 1].",
        "dtype: attnVarlen: treeMask must be i32 or u32, not f32.",
        "argument: attnVarlen: treeMask[7] must be a whole number of 32 bits, not 4294967296.",
        "shape: attnVarlen: treeMask must be [totalQ, words] = [8, 1], or with more words, since sequences have up to 5 queries, not 0 numbers.",
        "shape: attnWithKvCache: positions must have the shape [B, Sq], not [4].",
        "shape: attnWithKvCache: treeMask must be [B, Sq, words] = [2, 2, 1], or with more words, since sequences have up to 2 queries, not [2, 2, 0].",
        "shape: attn: treeMask must be [B, Sq, words] = [1, 40, 2], or with more words, since sequences have up to 40 queries, not 40 numbers.",
      ]
    `);
  });

  test('new tokens that are no queries, and positions that are not rotated', () => {
    const ragged = {
      q: fakeTensor('f16', [4, 4, 64]),
      cuSeqlensQ: [0, 1, 4],
      k: fakeTensor('f16', [4, 2, 64]),
      v: fakeTensor('f16', [4, 2, 64]),
      cuSeqlensKNew: [0, 2, 4],
      positions: [0, 1, 2, 3],
    };
    expect([
      cached({ ...fresh(1), positions: [0, 1, 2, 3] }),
      cached({ ...fresh(1), positions: [0, 1, 2, 3], cacheSeqlens: fakeTensor('i32', [2]) }),
      cached(ragged),
      cached({ ...ragged, cacheSeqlens: fakeTensor('i32', [2]) }),
      cached({ ...fresh(2), ...rotary, positions: [0, 1, 8, 3] }),
      cached({ ...fresh(2), ...rotary, positions: [0, 1, 2, -1] }),
      cached({ ...rotary, rotarySections: [12, 10, 10], positions: three.with(11, 8) }),
    ]).toMatchInlineSnapshot(`
      [
        "length: attnWithKvCache: sequence 0 has 2 queries but 1 new tokens in k; with positions, each new token must be a query. Pass as many of both.",
        "length: attnWithKvCache: sequence 0 has 2 queries but 1 new tokens in k; with positions, each new token must be a query. Pass as many of both.",
        "length: attnWithKvCache: sequence 0 has 1 queries but 2 new tokens in k; with positions, each new token must be a query. Pass as many of both.",
        "length: attnWithKvCache: sequence 0 has 1 queries but 2 new tokens in k; with positions, each new token must be a query. Pass as many of both.",
        "length: attnWithKvCache: positions[2], of sequence 1, is 8, but rotaryCos has the positions 0 to 7. Pass a longer table, or other positions.",
        "length: attnWithKvCache: positions[3], of sequence 1, is -1, but rotaryCos has the positions 0 to 7. Pass a longer table, or other positions.",
        "length: attnWithKvCache: positions[11], of sequence 1, is 8, but rotaryCos has the positions 0 to 7. Pass a longer table, or other positions.",
      ]
    `);
  });

  test('sections', () => {
    const sections = { ...rotary, rotarySections: [12, 10, 10], positions: three };
    expect([
      cached({ ...sections, positions: undefined }),
      cached({ ...sections, rotaryCos: undefined, rotarySin: undefined }),
      cached({ ...sections, positions: [0, 1, 2, 3] }),
      cached({ ...sections, positions: fakeTensor('i32', [2, 2]) }),
      cached({ ...sections, rotarySections: [12, 10, 11] }),
      cached({ ...sections, rotarySections: [32] }),
      cached({ ...sections, rotarySections: 32 }),
      cached({ ...sections, rotarySections: [10, 2, 20], rotarySectionsInterleaved: true }),
      cached({ ...sections, rotarySectionsInterleaved: 1 }),
      cached({ ...rotary, rotarySectionsInterleaved: true }),
      varlen({ rotarySections: [12, 10, 10] }),
    ]).toMatchInlineSnapshot(`
      [
        "argument: attnWithKvCache: rotarySections needs positions: three for each query, [3, totalQ] or [3, B, Sq].",
        "argument: attnWithKvCache: rotarySections is given, but neither rotaryCos nor rotarySin.",
        "shape: attnWithKvCache: positions must have 12 numbers, [3, B, Sq] = [3, 2, 2], not 4.",
        "shape: attnWithKvCache: positions must have the shape [3, B, Sq], not [2, 2].",
        "argument: attnWithKvCache: rotarySections must be [time, height, width], whole numbers ≥ 0 whose sum is rotaryDim / 2 = 32, not [12, 10, 11].",
        "argument: attnWithKvCache: rotarySections must be [time, height, width], whole numbers ≥ 0 whose sum is rotaryDim / 2 = 32, not [32].",
        "argument: attnWithKvCache: rotarySections must be [time, height, width], whole numbers ≥ 0 whose sum is rotaryDim / 2 = 32, not 32.",
        "argument: attnWithKvCache: rotarySections [10, 2, 20] cannot be interleaved: every third of 32 pairs is not enough for height and width. Leave out rotarySectionsInterleaved.",
        "argument: attnWithKvCache: rotarySectionsInterleaved must be true or false, not 1.",
        "argument: attnWithKvCache: rotarySectionsInterleaved is given, but no rotarySections.",
        "argument: attnVarlen: there is no argument rotarySections. There are q, k, v, kScale, vScale, blockMask, kvRotation, cuSeqlensQ, cuSeqlensK, sequsedK, maxSeqlenQ, maxSeqlenK, blockTable, softmaxScale, causal, windowSize, softcap, alibiSlopes, sinks, attentionChunk, firstKeys, mask, bias, positions, treeMask, scoreMod, maskMod, numSplits, returnLse, out, lse, pass.",
      ]
    `);
  });

  test('weights, and steps of a plan', () => {
    const weights = {
      ...acceptedKvCache(),
      ...fresh(1),
      lse: fakeTensor('f32', [2, 4, 2]),
      rows: [0],
    };
    expect([
      refusal(() => attnWeights(runtime, { ...weights, positions: [0, 1, 2, 3] })),
      refusal(() => attnWeights(runtime, { ...weights, treeMask: [0, 1] })),
      refusal(() => planAttnWithKvCache(runtime, { ...acceptedKvCache(), positions: [0, 1] })),
    ]).toMatchInlineSnapshot(`
      [
        "length: attnWeights: sequence 0 has 2 queries but 1 new tokens in k; with positions, each new token must be a query. Pass as many of both.",
        "shape: attnWeights: treeMask must be [B, Sq, words] = [2, 2, 1], or with more words, since sequences have up to 2 queries, not 2 numbers.",
        "shape: planAttnWithKvCache: positions must have 4 numbers, [B, Sq] = [2, 2], not 2.",
      ]
    `);
  });
});
