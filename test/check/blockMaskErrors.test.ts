import { expect, test } from 'vitest';
import {
  attn,
  attnVarlen,
  attnWeights,
  attnWithKvCache,
  createBlockMask,
  createRuntime,
  planAttnVarlen,
} from '../../src/index.js';
import { fakeDevice, fakeTensor } from '../runtime/fakeDevice.js';
import { refusal } from './refusal.js';

// Errors must be thrown before the device is used: this one fails if it is.
const runtime = createRuntime(fakeDevice());

const dense = {
  q: fakeTensor('f32', [2, 30, 4, 16]),
  k: fakeTensor('f32', [2, 70, 2, 16]),
  v: fakeTensor('f32', [2, 70, 2, 16]),
};
const ragged = {
  q: fakeTensor('f32', [60, 4, 16]),
  k: fakeTensor('f32', [140, 2, 16]),
  v: fakeTensor('f32', [140, 2, 16]),
  cuSeqlensQ: [0, 30, 60],
  cuSeqlensK: [0, 70, 140],
};
/** Two blocks of queries, five of keys. */
const onHost = { kvNumBlocks: [1, 2], kvIndices: [0, 9, 1, 4], blockSize: [16, 16] };
const onGpu = {
  kvNumBlocks: fakeTensor('i32', [1, 4, 2]),
  kvIndices: fakeTensor('i32', [1, 4, 2, 5]),
  blockSize: [16, 16],
};

test('blockMask', () => {
  const ofAttn = (change: object, given: object = onHost) =>
    refusal(() => attn(runtime, { ...dense, blockMask: { ...given, ...change } as never }));
  expect([
    refusal(() => attn(runtime, { ...dense, blockMask: [1] as never })),
    ofAttn({ kvNumBlock: [1] }),
    ofAttn({ blockSize: 16 }),
    ofAttn({ blockSize: [16, 0] }),
    ofAttn({ blockSize: [1.5, 16] }),
    ofAttn({ kvIndices: undefined }),
    ofAttn({ fullKvNumBlocks: [0, 0] }),
    ofAttn({ kvNumBlocks: [1, 2, 3] }),
    ofAttn({ kvNumBlocks: [1, 3] }),
    ofAttn({ kvNumBlocks: [-1, 2] }),
    ofAttn({ kvNumBlocks: [1, 1.5] }),
    ofAttn({ kvIndices: [0, 9, 1] }),
    ofAttn({ kvIndices: [0, 9, 1, 5] }),
    ofAttn({ kvIndices: [0, 9, -1, 4] }),
    ofAttn({ fullKvNumBlocks: [1, 0], fullKvIndices: [7, 0] }),
    ofAttn({ kvNumBlocks: fakeTensor('i32', [1, 1, 2]) }),
    ofAttn({ kvNumBlocks: fakeTensor('f32', [1, 4, 2]) }, onGpu),
    ofAttn({ kvNumBlocks: fakeTensor('i32', [4, 2]) }, onGpu),
    ofAttn({ kvNumBlocks: fakeTensor('i32', [1, 3, 2]) }, onGpu),
    ofAttn({ kvIndices: fakeTensor('i32', [3, 4, 2, 5]) }, onGpu),
    ofAttn({ kvIndices: fakeTensor('i32', [1, 4, 1, 5]) }, onGpu),
    ofAttn({ blockSize: [16, 1], kvIndices: { ...onGpu.kvIndices, strides: [40, 10, 5, 2] } }, onGpu),
  ]).toMatchInlineSnapshot(`
    [
      "argument: attn: blockMask must be an object, not [1].",
      "argument: attn: there is no argument blockMask.kvNumBlock. There are kvNumBlocks, kvIndices, fullKvNumBlocks, fullKvIndices, blockSize.",
      "argument: attn: blockMask.blockSize must be [q, k], whole numbers from 1 on, not 16.",
      "argument: attn: blockMask.blockSize must be [q, k], whole numbers from 1 on, not [16, 0].",
      "argument: attn: blockMask.blockSize must be [q, k], whole numbers from 1 on, not [1.5, 16].",
      "argument: attn: blockMask.kvIndices must be a tensor or an array of numbers, not undefined.",
      "argument: attn: blockMask has only one of fullKvNumBlocks and fullKvIndices. Pass both, or neither.",
      "shape: attn: blockMask.kvNumBlocks must have 2 numbers, one for each block of queries, or as many for each head, each sequence, or each head of each sequence, not 3.",
      "argument: attn: blockMask.kvNumBlocks[1] must be 0 to 2, the entries of a row of blockMask.kvIndices, not 3.",
      "argument: attn: blockMask.kvNumBlocks[0] must be 0 to 2, the entries of a row of blockMask.kvIndices, not -1.",
      "argument: attn: blockMask.kvNumBlocks[1] must be a whole number of 32 bits, not 1.5.",
      "shape: attn: blockMask.kvIndices must have as many entries for each of the 2 numbers of blockMask.kvNumBlocks, but it has 3 in all.",
      "argument: attn: blockMask.kvIndices[3] must be 0 to 4, a block of keys, not 5.",
      "argument: attn: blockMask.kvIndices[2] must be 0 to 4, a block of keys, not -1.",
      "argument: attn: blockMask.fullKvIndices[0] must be 0 to 4, a block of keys, not 7.",
      "argument: attn: blockMask.kvNumBlocks is on the GPU but blockMask.kvIndices is not. Pass both as tensors, or both as arrays.",
      "dtype: attn: blockMask.kvNumBlocks must be i32 or u32, not f32.",
      "shape: attn: blockMask.kvNumBlocks must have the shape [B or 1, Hq or 1, nQ], not [4, 2].",
      "shape: attn: blockMask.kvNumBlocks is [1, 3, 2]: its dimension Hq must be 4 or 1, not 3.",
      "shape: attn: blockMask.kvIndices is [3, 4, 2, 5]: its dimension B must be 2 or 1, not 3.",
      "shape: attn: blockMask.kvIndices is [1, 4, 1, 5]: its dimension nQ must be at least 2, not 1.",
      "shape: attn: the last stride of blockMask.kvIndices must be 1, not 2.",
    ]
  `);
});

test('arrays that do not say whether they are those of heads or of sequences', () => {
  const square = { ...dense, q: fakeTensor('f32', [2, 30, 2, 16]) };
  const blockMask = { kvNumBlocks: [1, 1, 1, 1], kvIndices: [0, 0, 0, 0], blockSize: [16, 16] } as const;
  expect(refusal(() => attn(runtime, { ...square, blockMask }))).toMatchInlineSnapshot(
    `"shape: attn: blockMask.kvNumBlocks has 4 numbers, which may be those of 2 heads or of 2 sequences. Pass a tensor, whose shape says which."`,
  );
});

test('calls that take no blockMask', () => {
  const blockMask = onHost as never;
  const ofVarlen = (change: object) =>
    refusal(() => attnVarlen(runtime, { ...ragged, blockMask, ...change }));
  const cache = {
    q: fakeTensor('f32', [1, 2, 4, 16]),
    kCache: fakeTensor('f32', [1, 40, 2, 16]),
    vCache: fakeTensor('f32', [1, 40, 2, 16]),
    cacheSeqlens: [40],
  };
  const lse = fakeTensor('f32', [1, 4, 2]);
  expect([
    ofVarlen({ cuSeqlensQ: [0, 29, 60] }),
    ofVarlen({ cuSeqlensK: [0, 71, 140] }),
    ofVarlen({ sequsedK: [70, 60] }),
    ofVarlen({ cuSeqlensK: fakeTensor('i32', [3]), maxSeqlenK: 70 }),
    refusal(() => planAttnVarlen(runtime, { ...ragged, cuSeqlensQ: [0, 29, 60], blockMask })),
    refusal(() => attnWithKvCache(runtime, { ...cache, blockMask } as never)),
    refusal(() => attnWeights(runtime, { ...cache, blockMask, lse, rows: [0] } as never)),
  ]).toMatchInlineSnapshot(`
    [
      "length: attnVarlen: blockMask needs sequences of one length, but sequence 0 has 29 queries and 70 keys, and sequence 1 has 31 and 70. Call once for each length, or pass mask.",
      "length: attnVarlen: blockMask needs sequences of one length, but sequence 0 has 30 queries and 71 keys, and sequence 1 has 30 and 69. Call once for each length, or pass mask.",
      "length: attnVarlen: blockMask needs sequences of one length, but sequence 0 has 30 queries and 70 keys, and sequence 1 has 30 and 60. Call once for each length, or pass mask.",
      "length: attnVarlen: blockMask needs lengths on the host: its blocks are those of sequences of one length. Pass cuSeqlensQ, cuSeqlensK and sequsedK as arrays.",
      "length: planAttnVarlen: blockMask needs sequences of one length, but sequence 0 has 29 queries and 70 keys, and sequence 1 has 31 and 70. Call once for each length, or pass mask.",
      "argument: attnWithKvCache: a cache takes no blockMask: its sequences grow, and blocks are those of one length. Pass mask or maskMod, or call attn or attnVarlen.",
      "argument: attnWeights: a cache takes no blockMask: its sequences grow, and blocks are those of one length. Pass mask or maskMod, or call attn or attnVarlen.",
    ]
  `);
});

test('createBlockMask', () => {
  const of = (args: object) => refusal(() => createBlockMask(runtime, args as never));
  const sizes = { seqlenQ: 30, seqlenK: 70 };
  const mask = () => true;
  const code = 'fn mask_mod(b: u32, h: u32, q: i32, k: i32) -> bool { return true; }';
  expect([
    of(sizes),
    of({ ...sizes, mask, maskMod: { name: 'all', code } }),
    of({ ...sizes, mask: [true] }),
    of({ ...sizes, mask: () => 1 }),
    of({ ...sizes, maskMod: { name: 'all', code: 'fn mask_mod() -> bool { return true; }' } }),
    of({ mask, seqlenQ: 30 }),
    of({ ...sizes, mask, batch: 0 }),
    of({ ...sizes, mask, blockSize: [128] }),
    of({ ...sizes, mask, seqlenQ: 2 ** 20, seqlenK: 2 ** 20, blockSize: [16, 16] }),
    of({ mask, seqlenQ: 2 ** 15, seqlenK: 2 ** 15 }),
    of({
      maskMod: { name: 'all', code },
      seqlenQ: 2 ** 20,
      seqlenK: 2 ** 20,
      nHeads: 2,
      blockSize: [2 ** 14, 2 ** 14],
    }),
    of({ ...sizes, mask, nHead: 4 }),
  ]).toMatchInlineSnapshot(`
    [
      "argument: createBlockMask: pass mask or maskMod.",
      "argument: createBlockMask: pass mask or maskMod, not both.",
      "argument: createBlockMask: mask must be a function (b, h, q, k) => boolean, not [true].",
      "argument: createBlockMask: mask must give true or false, not 1 for q = 40 and k = 0.",
      "argument: createBlockMask: the code of maskMod "all" cannot be used: line 1 has fn mask_mod() -> bool, but it must be fn mask_mod(b: u32, h: u32, q: i32, k: i32) -> bool.",
      "argument: createBlockMask: seqlenK must be a whole number ≥ 0, not undefined.",
      "argument: createBlockMask: batch must be a whole number ≥ 1, not 0.",
      "argument: createBlockMask: blockSize must be [q, k], whole numbers from 1 on, not [128].",
      "limit: createBlockMask: lists of 65536 × 65536 blocks take 34360262656 bytes, but this device binds at most 134217728, and sequences have at most 2³⁰ tokens. Pass larger blocks, or fewer heads.",
      "limit: createBlockMask: mask would be asked about 1073741824 pairs of a query and a key, but 268435456 are the most. Pass a maskMod, which the GPU computes, or fewer heads.",
      "limit: createBlockMask: maskMod would be asked about 2199023255552 pairs of a query and a key, but 1099511627776 are the most. Pass fewer heads.",
      "argument: createBlockMask: there is no argument nHead. There are mask, maskMod, batch, nHeads, seqlenQ, seqlenK, blockSize, pass.",
    ]
  `);
});
