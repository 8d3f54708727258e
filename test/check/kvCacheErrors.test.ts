import { describe, expect, test } from 'vitest';
import { attnWithKvCache, createRuntime, type AttnWithKvCacheArgs } from '../../src/index.js';
import { fakeBuffer, fakeDevice, fakeTensor } from '../runtime/fakeDevice.js';
import { acceptedKvCache } from './acceptedCalls.js';
import { refusal } from './refusal.js';

// Errors must be thrown before the device is used: this one fails if it is.
const runtime = createRuntime(fakeDevice());

const good = acceptedKvCache();
const paged: AttnWithKvCacheArgs = {
  ...good,
  kCache: fakeTensor('f16', [6, 4, 2, 64]),
  vCache: fakeTensor('f16', [6, 4, 2, 64]),
  blockTable: [0, 1, 2, 3],
};
const ragged: AttnWithKvCacheArgs = { ...good, q: fakeTensor('f16', [4, 4, 64]), cuSeqlensQ: [0, 1, 4] };
/** Two new tokens each. */
const k = fakeTensor('f16', [2, 2, 2, 64]);
const v = fakeTensor('f16', [2, 2, 2, 64]);
const appending: AttnWithKvCacheArgs = { ...good, k, v };
const rotaryCos = fakeTensor('f32', [8, 32]);
const rotarySin = fakeTensor('f32', [8, 32]);
const rotating: AttnWithKvCacheArgs = { ...appending, rotaryCos, rotarySin };

describe('attnWithKvCache', () => {
  const message = (change: object, from: AttnWithKvCacheArgs = good) =>
    refusal(() => attnWithKvCache(runtime, { ...from, ...change }));

  test('a shared prefix', () => {
    const shared = { ...paged, cacheSeqlens: [5, 4], blockTable: [0, 1, 0, 3] };
    const wrong = (sharedPrefix: unknown, from: object = shared) =>
      message({ sharedPrefix }, from as AttnWithKvCacheArgs);
    expect([
      wrong(null),
      wrong([0]),
      wrong({ blockTable: [0] }),
      wrong({ blockTable: [0], length: 4, pageSize: 4 }),
      wrong({ blockTable: [0], length: 4.5 }),
      wrong({ blockTable: [0], length: 3 }),
      wrong({ blockTable: [0], length: 8 }),
      wrong({ blockTable: 0, length: 4 }),
      wrong({ blockTable: [0.5], length: 4 }),
      wrong({ blockTable: [6], length: 4 }),
      wrong({ blockTable: [-1], length: 4 }),
      wrong({ blockTable: fakeTensor('f32', [1]), length: 4 }),
      wrong({ blockTable: fakeTensor('i32', [1, 1]), length: 4 }),
      wrong({ blockTable: [1], length: 4 }),
      wrong({ blockTable: [0], length: 4 }, paged),
      wrong({ blockTable: [0], length: 4 }, { ...shared, cacheSeqlens: [5, 3] }),
      wrong({ blockTable: [0], length: 4 }, good),
    ]).toMatchInlineSnapshot(`
      [
        "argument: attnWithKvCache: sharedPrefix must be an object, not null.",
        "argument: attnWithKvCache: sharedPrefix must be an object, not [0].",
        "argument: attnWithKvCache: sharedPrefix.length must be a whole number ≥ 0, not undefined.",
        "argument: attnWithKvCache: there is no argument sharedPrefix.pageSize. There are blockTable, length.",
        "argument: attnWithKvCache: sharedPrefix.length must be a whole number ≥ 0, not 4.5.",
        "length: attnWithKvCache: sharedPrefix.length must be a multiple of the page size 4, not 3: pages are shared as a whole.",
        "length: attnWithKvCache: sharedPrefix.length needs 2 pages but sharedPrefix.blockTable has 1. Pass the pages of all its tokens.",
        "argument: attnWithKvCache: sharedPrefix.blockTable must be a tensor or an array of numbers, not 0.",
        "argument: attnWithKvCache: sharedPrefix.blockTable[0] must be a whole number of 32 bits, not 0.5.",
        "length: attnWithKvCache: sharedPrefix.blockTable has the page 6, but there are pages 0 to 5.",
        "length: attnWithKvCache: sharedPrefix.blockTable has the page -1, but there are pages 0 to 5.",
        "dtype: attnWithKvCache: sharedPrefix.blockTable must be i32 or u32, not f32.",
        "shape: attnWithKvCache: sharedPrefix.blockTable must have the shape [n], not [1, 1].",
        "length: attnWithKvCache: sequence 0 has page 0 where sharedPrefix has page 1. Its row of blockTable must begin with the pages of the prefix.",
        "length: attnWithKvCache: sequence 1 has 3 keys in the cache, fewer than the 4 of sharedPrefix. Leave sharedPrefix out, or pass a shorter one.",
        "length: attnWithKvCache: sequence 1 has 3 keys in the cache, fewer than the 4 of sharedPrefix. Leave sharedPrefix out, or pass a shorter one.",
        "argument: attnWithKvCache: sharedPrefix needs blockTable: only sequences in pages can share some of them.",
      ]
    `);
  });

  test('arguments', () => {
    expect([
      message({ cacheSeqLens: [5, 3] }),
      message({ q: undefined }),
      message({ kCache: new Float32Array(4) }),
      message({ vCache: undefined }),
      message({ cacheSeqlens: undefined }),
      message({ cacheSeqlens: null }),
      message({ cacheSeqlens: '5' }),
      message({ cacheSeqlens: 2.5 }),
      message({ cacheSeqlens: [5, NaN] }),
      message({ causal: 1 }),
      message({ numSplits: -1 }),
      message({ cuSeqlensQ: 4 }, ragged),
      message({ cuSeqlensKNew: [0, 1, 2] }),
      message({ maxSeqlenK: -1 }),
      message({ cuSeqlensQ: fakeTensor('i32', [3]) }, ragged),
      message({ k }),
      message({ v }),
      message({ rotaryCos }),
      message({ rotarySin }),
      message({ rotaryDim: 32 }),
      message({ rotaryInterleaved: 1 }, rotating),
      message({ rotaryDim: 33 }, rotating),
      message({ rotaryDim: 66 }, rotating),
      message({ rotaryCos: fakeTensor('f32', [8, 48]) }, rotating),
      message({ rotaryCos: null }, rotating),
      message({ rotaryCos: [0, Infinity], rotarySin: [0, 1], rotaryDim: 2 }, rotating),
    ]).toMatchInlineSnapshot(`
      [
        "argument: attnWithKvCache: there is no argument cacheSeqLens. There are q, kCache, vCache, kScale, vScale, kvRotation, k, v, sharedPrefix, cacheSeqlens, cuSeqlensQ, cuSeqlensKNew, maxSeqlenQ, maxSeqlenK, blockTable, cacheBatchIdx, cacheLeftpad, rotaryCos, rotarySin, rotaryDim, rotaryInterleaved, rotarySections, rotarySectionsInterleaved, softmaxScale, causal, windowSize, softcap, alibiSlopes, sinks, attentionChunk, firstKeys, mask, bias, positions, treeMask, scoreMod, maskMod, numSplits, returnLse, out, lse, pass.",
        "argument: attnWithKvCache: q must be a tensor, { buffer, dtype, shape }, not undefined.",
        "argument: attnWithKvCache: kCache must be a tensor, { buffer, dtype, shape }, not a Float32Array.",
        "argument: attnWithKvCache: vCache must be a tensor, { buffer, dtype, shape }, not undefined.",
        "argument: attnWithKvCache: cacheSeqlens is missing. Pass how many tokens the cache holds: one number, or one for each sequence.",
        "argument: attnWithKvCache: cacheSeqlens must be a tensor or an array of numbers, not null.",
        "argument: attnWithKvCache: cacheSeqlens must be a tensor or an array of numbers, not "5".",
        "argument: attnWithKvCache: cacheSeqlens[0] must be a whole number of 32 bits, not 2.5.",
        "argument: attnWithKvCache: cacheSeqlens[1] must be a whole number of 32 bits, not NaN.",
        "argument: attnWithKvCache: causal must be true or false, not 1.",
        "argument: attnWithKvCache: numSplits must be a whole number ≥ 0, not -1.",
        "argument: attnWithKvCache: cuSeqlensQ must be a tensor or an array of numbers, not 4.",
        "argument: attnWithKvCache: cuSeqlensKNew is given, but no new tokens k and v. Pass these, or leave it out: without them it may only be what cuSeqlensQ is.",
        "argument: attnWithKvCache: maxSeqlenK must be a whole number ≥ 0, not -1.",
        "argument: attnWithKvCache: cuSeqlensQ is on the GPU, so maxSeqlenQ is needed.",
        "argument: attnWithKvCache: v is missing: new tokens need both k and v. It may only be left out where vCache is a view of kCache.",
        "argument: attnWithKvCache: k is missing: new tokens need both k and v.",
        "argument: attnWithKvCache: rotarySin is missing: pass rotaryCos and rotarySin together.",
        "argument: attnWithKvCache: rotaryCos is missing: pass rotaryCos and rotarySin together.",
        "argument: attnWithKvCache: rotaryDim is given, but neither rotaryCos nor rotarySin.",
        "argument: attnWithKvCache: rotaryInterleaved must be true or false, not 1.",
        "argument: attnWithKvCache: rotaryDim must be an even number from 2 to the head size 64, not 33.",
        "argument: attnWithKvCache: rotaryDim must be an even number from 2 to the head size 64, not 66.",
        "argument: attnWithKvCache: rotaryDim must be an even number from 2 to the head size 64, not 96, which is what the shape of rotaryCos says.",
        "shape: attnWithKvCache: rotaryCos must be a tensor, or an array of numbers, 32 (rotaryDim / 2) for each position, not null.",
        "argument: attnWithKvCache: rotaryCos[1] must be a finite number, not Infinity.",
      ]
    `);
  });

  test('new tokens that are no tensors', () => {
    expect([message({ k: new Float32Array(4) }, appending), message({ v: [1, 2] }, appending)])
      .toMatchInlineSnapshot(`
      [
        "argument: attnWithKvCache: k must be a tensor, { buffer, dtype, shape }, not a Float32Array.",
        "argument: attnWithKvCache: v must be a tensor, { buffer, dtype, shape }, not [1, 2].",
      ]
    `);
  });

  test('types and shapes', () => {
    expect([
      message({ q: fakeTensor('f16', [2, 4, 64]) }),
      message({ q: fakeTensor('f16', [2, 2, 4, 64]) }, ragged),
      message({ kCache: fakeTensor('f16', [16, 2, 64]) }),
      message({ kCache: fakeTensor('i32', [2, 8, 2, 64]) }),
      message({ vCache: fakeTensor('f32', [2, 8, 2, 64]) }),
      message({ vCache: fakeTensor('f16', [2, 9, 2, 64]) }),
      message({ vCache: fakeTensor('f16', [6, 5, 2, 64]) }, paged),
      message({ q: fakeTensor('f16', [2, 2, 5, 64]) }),
      message({ q: fakeTensor('f16', [2, 2, 4, 32]) }),
      message({ kCache: fakeTensor('f16', [6, 0, 2, 64]), vCache: fakeTensor('f16', [6, 0, 2, 64]) }, paged),
      message({ kCache: fakeTensor('f16', [1, 8, 2, 64]), vCache: fakeTensor('f16', [1, 8, 2, 64]) }),
      message({ cacheSeqlens: [5] }),
      message({ cacheSeqlens: fakeTensor('f32', [2]) }),
      message({ cacheBatchIdx: [0] }),
      message({ cacheLeftpad: fakeTensor('i32', [3]) }),
      message({ cuSeqlensQ: [] }, ragged),
      message({ blockTable: [0, 1, 2] }, paged),
      message({ blockTable: fakeTensor('i32', [3, 2]) }, paged),
      message({ k: fakeTensor('f16', [4, 2, 64]) }, appending),
      message({ k: fakeTensor('f16', [2, 3, 2, 64]) }, appending),
      message({ k: fakeTensor('f16', [2, 2, 4, 64]), v: fakeTensor('f16', [2, 2, 4, 64]) }, appending),
      message({ v: fakeTensor('f32', [2, 2, 2, 64]) }, appending),
      message({ v: fakeTensor('f16', [2, 2, 2, 32]) }, appending),
      message({ rotarySin: fakeTensor('f32', [9, 32]) }, rotating),
      message({ rotarySin: fakeTensor('f16', [8, 32]) }, rotating),
      message({ rotarySin: new Float32Array(256) }, rotating),
      message({ rotaryCos: new Float32Array(250), rotarySin: new Float32Array(250) }, rotating),
      message({ out: fakeTensor('f16', [4, 4, 64]) }),
      message({ lse: fakeTensor('f32', [4, 4]) }),
      message({ lse: fakeTensor('f32', [2, 4, 2]) }, ragged),
    ]).toMatchInlineSnapshot(`
      [
        "shape: attnWithKvCache: q must have the shape [B, Sq, Hq, D], not [2, 4, 64]. For sequences end to end, pass cuSeqlensQ.",
        "shape: attnWithKvCache: q must have the shape [totalQ, Hq, D], not [2, 2, 4, 64]. For a dense batch, leave cuSeqlensQ out.",
        "shape: attnWithKvCache: kCache must have the shape [Bc, Sc, Hkv, D], not [16, 2, 64].",
        "dtype: attnWithKvCache: kCache must be f32, f16, bf16, i8, i4 or e4m3, not i32.",
        "dtype: attnWithKvCache: kCache is f16 but vCache is f32; they must be the same.",
        "shape: attnWithKvCache: vCache is [2, 9, 2, 64], which says Sc = 9, but kCache says Sc = 8; vCache must be [Bc, Sc, Hkv, Dv].",
        "shape: attnWithKvCache: vCache is [6, 5, 2, 64], which says pageSize = 5, but kCache says pageSize = 4; vCache must be [P, pageSize, Hkv, Dv].",
        "shape: attnWithKvCache: q has 5 heads, which is not a multiple of the 2 key/value heads of kCache.",
        "shape: attnWithKvCache: kCache is [2, 8, 2, 64], which says D = 64, but q says D = 32; kCache must be [Bc, Sc, Hkv, D].",
        "shape: attnWithKvCache: kCache has pages of 0 tokens.",
        "shape: attnWithKvCache: kCache has 1 row for 2 sequences. Pass cacheBatchIdx if they share rows.",
        "shape: attnWithKvCache: cacheSeqlens must have 2 numbers, [B] = [2], not 1.",
        "dtype: attnWithKvCache: cacheSeqlens must be i32 or u32, not f32.",
        "shape: attnWithKvCache: cacheBatchIdx must have 2 numbers, [B] = [2], not 1.",
        "shape: attnWithKvCache: cacheLeftpad must be [B] = [2], not [3].",
        "shape: attnWithKvCache: cuSeqlensQ must have B + 1 numbers, at least one.",
        "shape: attnWithKvCache: blockTable has 3 numbers, which is not a multiple of the 2 sequences.",
        "shape: attnWithKvCache: blockTable must be [B, maxPages] = [2, 2], not [3, 2].",
        "shape: attnWithKvCache: k must have the shape [B, Snew, Hkv, D], not [4, 2, 64]. If they are ragged, pass cuSeqlensKNew.",
        "shape: attnWithKvCache: v is [2, 2, 2, 64], which says Snew = 2, but k says Snew = 3; v must be [B, Snew, Hkv, Dv].",
        "shape: attnWithKvCache: k must be [B, Snew, Hkv, D] = [2, 2, 2, 64], not [2, 2, 4, 64].",
        "dtype: attnWithKvCache: k is f16 but v is f32; they must be the same.",
        "shape: attnWithKvCache: v must be [B, Snew, Hkv, Dv] = [2, 2, 2, 64], not [2, 2, 2, 32].",
        "shape: attnWithKvCache: rotarySin must be [L, rotaryDim / 2] = [8, 32], not [9, 32].",
        "dtype: attnWithKvCache: rotaryCos is f32 but rotarySin is f16; they must be the same.",
        "argument: attnWithKvCache: pass rotaryCos and rotarySin both on the GPU or both on the host.",
        "shape: attnWithKvCache: rotaryCos must be a tensor, or an array of numbers, 32 (rotaryDim / 2) for each position, not 250 numbers. Pass rotaryDim if fewer elements are rotated.",
        "shape: attnWithKvCache: out must have the shape [B, Sq, Hq, Dv], not [4, 4, 64].",
        "shape: attnWithKvCache: lse must have the shape [B, Hq, Sq], not [4, 4].",
        "shape: attnWithKvCache: lse must have the shape [Hq, totalQ], not [2, 4, 2].",
      ]
    `);
  });

  test('lengths and tables', () => {
    expect([
      message({ cacheSeqlens: [5, -1] }),
      message({ cacheSeqlens: [5, 9] }),
      message({ cacheSeqlens: [5, 7] }, appending),
      message({ cacheSeqlens: 9 }),
      message({ cacheSeqlens: [5, 9] }, paged),
      message({ cacheSeqlens: [5, 7], k, v }, paged),
      message({ maxSeqlenQ: 1 }),
      message({ maxSeqlenK: 4 }),
      message({ maxSeqlenK: 6 }, appending),
      message({ cuSeqlensQ: [0, 3, 2] }, ragged),
      message({ cuSeqlensQ: [0, 3, 5] }, ragged),
      message({
        ...appending,
        k: fakeTensor('f16', [3, 2, 64]),
        v: fakeTensor('f16', [3, 2, 64]),
        cuSeqlensKNew: [0, 1, 4],
      }),
      message({ cacheBatchIdx: [0, 2] }),
      message({ cacheBatchIdx: [0, -1] }, paged),
      message({ cacheLeftpad: [6, 0] }),
      message({ cacheLeftpad: [-1, 0] }),
      message({ blockTable: [0, 1, 6, 3] }, paged),
      message({ blockTable: [0, -1, 2, 3] }, paged),
      message({ cacheBatchIdx: [0, 0] }, appending),
      message({ blockTable: [0, 1, 1, 3], k, v }, paged),
      message(
        {
          cacheSeqlens: [6, 3],
          rotaryCos: fakeTensor('f32', [7, 32]),
          rotarySin: fakeTensor('f32', [7, 32]),
        },
        rotating,
      ),
      message({ rotaryCos: fakeTensor('f32', [0, 32]), rotarySin: fakeTensor('f32', [0, 32]) }, rotating),
      message({ cacheSeqlens: fakeTensor('i32', [2]), cacheBatchIdx: [0, 2] }),
    ]).toMatchInlineSnapshot(`
      [
        "length: attnWithKvCache: cacheSeqlens[1] must be ≥ 0, not -1.",
        "length: attnWithKvCache: sequence 1 needs 9 slots but a row of kCache has 8. Pass a longer cache, or pages.",
        "length: attnWithKvCache: sequence 1 needs 9 slots but a row of kCache has 8. Pass a longer cache, or pages.",
        "length: attnWithKvCache: sequence 0 needs 9 slots but a row of kCache has 8. Pass a longer cache, or pages.",
        "length: attnWithKvCache: sequence 1 needs 3 pages for 9 keys but its row of blockTable has 2. Reserve pages first, or pass a wider table.",
        "length: attnWithKvCache: sequence 1 needs 3 pages for 9 keys but its row of blockTable has 2. Reserve pages first, or pass a wider table.",
        "length: attnWithKvCache: sequence 0 has 2 queries, more than maxSeqlenQ = 1.",
        "length: attnWithKvCache: sequence 0 has 5 keys, more than maxSeqlenK = 4.",
        "length: attnWithKvCache: sequence 0 has 7 keys, more than maxSeqlenK = 6.",
        "length: attnWithKvCache: cuSeqlensQ must not decrease, but cuSeqlensQ[1] is 3 and cuSeqlensQ[2] is 2.",
        "length: attnWithKvCache: cuSeqlensQ ends at 5 but q has 4 tokens.",
        "length: attnWithKvCache: cuSeqlensKNew ends at 4 but k has 3 tokens.",
        "length: attnWithKvCache: cacheBatchIdx[1] is 2, but kCache has the rows 0 to 1.",
        "length: attnWithKvCache: cacheBatchIdx[1] is -1, but blockTable has the rows 0 to 1.",
        "length: attnWithKvCache: cacheLeftpad[0] must be 0 to the 5 keys of the sequence, not 6.",
        "length: attnWithKvCache: cacheLeftpad[0] must be 0 to the 5 keys of the sequence, not -1.",
        "length: attnWithKvCache: blockTable gives sequence 1 the page 6 for keys 0 to 2, but there are pages 0 to 5. Reserve pages first.",
        "length: attnWithKvCache: blockTable gives sequence 0 the page -1 for key 4, but there are pages 0 to 5. Reserve pages first.",
        "length: attnWithKvCache: sequences 0 and 1 both write new tokens to row 0 of kCache. Give each sequence its own row.",
        "length: attnWithKvCache: sequences 0 and 1 both write new tokens to page 1. Copy a shared page first.",
        "length: attnWithKvCache: sequence 0 reaches position 7, but rotaryCos has the positions 0 to 6. Pass a longer table.",
        "shape: attnWithKvCache: rotaryCos has no rows: pass one for each position.",
        "length: attnWithKvCache: cacheBatchIdx[1] is 2, but kCache has the rows 0 to 1.",
      ]
    `);
  });

  test('sums that do not begin with 0, and ragged or dense tensors without or with them', () => {
    const raggedNew = { k: fakeTensor('f16', [3, 2, 64]), v: fakeTensor('f16', [3, 2, 64]) };
    expect([
      message({ cuSeqlensQ: [1, 4] }, ragged),
      message({ cuSeqlensQ: [1, 3] }, ragged),
      message({ ...raggedNew, cuSeqlensKNew: [1, 3] }, ragged),
      message({ ...raggedNew, cuSeqlensKNew: [2, 1] }, ragged),
      message({ k, v, cuSeqlensKNew: [0, 2, 4] }, ragged),
      message(raggedNew, ragged),
      message({ k, v: raggedNew.v }, ragged),
    ]).toMatchInlineSnapshot(`
      [
        "length: attnWithKvCache: cuSeqlensQ must begin with 0, not 1: it looks like sums without the leading 0. Pass [0, 1, 4].",
        "length: attnWithKvCache: cuSeqlensQ must begin with 0, not 1: it looks like lengths. Pass their running sums, [0, 1, 4].",
        "length: attnWithKvCache: cuSeqlensKNew must begin with 0, not 1: it looks like sums without the leading 0. Pass [0, 1, 3].",
        "length: attnWithKvCache: cuSeqlensKNew must begin with 0, not 2: it looks like lengths. Pass their running sums, [0, 2, 3].",
        "shape: attnWithKvCache: k must have the shape [totalNew, Hkv, D], not [2, 2, 2, 64]. If each sequence has as many, leave cuSeqlensKNew out.",
        "shape: attnWithKvCache: k must have the shape [B, Snew, Hkv, D], not [3, 2, 64]. If they are ragged, pass cuSeqlensKNew.",
        "shape: attnWithKvCache: v must have the shape [B, Snew, Hkv, Dv], not [3, 2, 64]. If they are ragged, pass cuSeqlensKNew.",
      ]
    `);
  });

  test('pages before a chunk of attention may be anything; padding does not count', () => {
    // The query is at slot 8, the 8th token: chunks of four begin at slots 1 and 5.
    const chunked: AttnWithKvCacheArgs = {
      q: fakeTensor('f16', [1, 1, 4, 64]),
      kCache: fakeTensor('f16', [9, 1, 2, 64]),
      vCache: fakeTensor('f16', [9, 1, 2, 64]),
      cacheSeqlens: [9],
      cacheLeftpad: [1],
      attentionChunk: 4,
      causal: true,
    };
    expect(
      message({ blockTable: [-1, -1, -1, -1, -1, -1, 6, 7, 8] }, chunked),
      'the first page that is needed',
    ).toMatchInlineSnapshot(
      `"length: attnWithKvCache: blockTable gives sequence 0 the page -1 for key 5, but there are pages 0 to 8. Reserve pages first."`,
    );
  });

  test('lengths on the host are checked even where others are on the GPU', () => {
    const cuSeqlensQ = fakeTensor('i32', [3]);
    const change = { cacheSeqlens: [5, 9], q: ragged.q, cuSeqlensQ, maxSeqlenQ: 3 };
    expect([message(change), message(change, paged)]).toMatchInlineSnapshot(`
      [
        "length: attnWithKvCache: sequence 1 needs 9 slots but a row of kCache has 8. Pass a longer cache, or pages.",
        "length: attnWithKvCache: sequence 1 needs 3 pages for 9 keys but its row of blockTable has 2. Reserve pages first, or pass a wider table.",
      ]
    `);
  });

  test('buffers and limits', () => {
    const cache = good.kCache;
    const overlapping = { ...cache, strides: [0, 128, 64, 1] };
    expect([
      message({ q: { ...good.q, offset: 1 } }),
      message({ kCache: overlapping }, appending),
      message({ k: { ...k, buffer: cache.buffer } }, appending),
      message({ v: { ...v, buffer: good.vCache.buffer } }, appending),
      message({ rotaryCos: { ...rotaryCos, buffer: cache.buffer } }, rotating),
      message({ blockTable: { ...fakeTensor('i32', [2, 2]), buffer: paged.kCache.buffer }, k, v }, paged),
      message({ out: { ...good.q, buffer: good.q.buffer } }),
      message({ out: { ...good.q, buffer: cache.buffer } }),
      message({ kCache: fakeTensor('f16', [2 ** 20, 8, 2, 64]) }),
    ]).toMatchInlineSnapshot(`
      [
        "buffer: attnWithKvCache: q ends at byte 2050 of a buffer of 2048 bytes. Check its shape, strides and offset.",
        "shape: attnWithKvCache: elements of kCache overlap: its strides are [0, 128, 64, 1].",
        "buffer: attnWithKvCache: kCache is in the same buffer as k. WebGPU cannot read and write a buffer in one dispatch: give k a buffer of its own.",
        "buffer: attnWithKvCache: vCache is in the same buffer as v. WebGPU cannot read and write a buffer in one dispatch: give v a buffer of its own.",
        "buffer: attnWithKvCache: kCache is in the same buffer as rotaryCos. WebGPU cannot read and write a buffer in one dispatch: give rotaryCos a buffer of its own.",
        "buffer: attnWithKvCache: kCache is in the same buffer as blockTable. WebGPU cannot read and write a buffer in one dispatch: give blockTable a buffer of its own.",
        "buffer: attnWithKvCache: out is in the same buffer as q. WebGPU cannot read and write a buffer in one dispatch: give out a buffer of its own.",
        "buffer: attnWithKvCache: out is in the same buffer as kCache. WebGPU cannot read and write a buffer in one dispatch: give out a buffer of its own.",
        "limit: attnWithKvCache: kCache spans 2147483648 bytes, but this device binds at most 134217728. Ask for maxStorageBufferBindingSize, use requestDevice(), or split the tensor.",
      ]
    `);
  });

  test('tiles and chunks beyond the limits of the device', () => {
    const cramped = createRuntime(fakeDevice({ maxComputeWorkgroupStorageSize: 2048 }));
    const small = createRuntime(fakeDevice({ maxStorageBufferBindingSize: 2 ** 15 }));
    const wide = fakeTensor('f16', [1, 1, 128, 1]);
    const long = {
      q: wide,
      out: { ...wide, buffer: fakeBuffer(256) },
      kCache: fakeTensor('f16', [1, 8192, 1, 1]),
      vCache: fakeTensor('f16', [1, 8192, 1, 1]),
      cacheSeqlens: 8000,
    };
    expect([
      refusal(() => attnWithKvCache(cramped, { ...good, out: fakeTensor('f16', [2, 2, 4, 64]) })),
      refusal(() => attnWithKvCache(small, { ...long, numSplits: 60 })),
    ]).toMatchInlineSnapshot(`
      [
        "limit: attnWithKvCache: the smallest tile for headDim 64 needs 4624 bytes of workgroup memory; this device allows 2048. Ask for maxComputeWorkgroupStorageSize, or use requestDevice().",
        "limit: attnWithKvCache: numSplits = 60 needs 204800 bytes for the parts of the output; this device binds at most 32768. Pass fewer, or 0 to let it be chosen.",
      ]
    `);
  });
});
