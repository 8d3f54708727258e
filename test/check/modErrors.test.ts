import { expect, test } from 'vitest';
import {
  attn,
  attnVariants,
  attnVarlen,
  attnWeights,
  attnWithKvCache,
  createRuntime,
  planAttnVarlen,
} from '../../src/index.js';
import { kernelVariant } from '../../src/standalone/kernelVariant.js';
import { fakeDevice, fakeTensor } from '../runtime/fakeDevice.js';
import { refusal } from './refusal.js';

// Errors must be thrown before the device is used: this one fails if it is.
const runtime = createRuntime(fakeDevice());

const SCORE = 'fn score_mod(score: f32, b: u32, h: u32, q: i32, k: i32) -> f32 { return score; }';
const MASK = 'fn mask_mod(b: u32, h: u32, q: i32, k: i32) -> bool { return true; }';

const dense = {
  q: fakeTensor('f32', [2, 3, 4, 16]),
  k: fakeTensor('f32', [2, 70, 2, 16]),
  v: fakeTensor('f32', [2, 70, 2, 16]),
};
const ragged = {
  q: fakeTensor('f32', [8, 4, 16]),
  k: fakeTensor('f32', [90, 2, 16]),
  v: fakeTensor('f32', [90, 2, 16]),
  cuSeqlensQ: [0, 3, 8],
  cuSeqlensK: [0, 20, 90],
};

const ofScore = (change: object) =>
  refusal(() => attn(runtime, { ...dense, scoreMod: { name: 'bias', code: SCORE, ...change } }));

test('what a mod is', () => {
  expect([
    refusal(() => attn(runtime, { ...dense, scoreMod: SCORE as never })),
    refusal(() => attn(runtime, { ...dense, scoreMod: null as never })),
    ofScore({ name: '' }),
    ofScore({ name: 'a\nb' }),
    ofScore({ code: 7 }),
    ofScore({ fn: SCORE }),
    ofScore({ code: MASK }),
    ofScore({ code: SCORE.replace('q: i32', 'q: u32') }),
    ofScore({ code: `${SCORE}\nvar<private> x: f32;` }),
    refusal(() => attnVarlen(runtime, { ...ragged, maskMod: { name: 'documents', code: SCORE } })),
  ]).toMatchInlineSnapshot(`
    [
      "argument: attn: scoreMod must be an object, not "fn score_mod(score: f32, b: u32, h: u32, q: i32, k: i32) -> …".",
      "argument: attn: scoreMod must be an object, not null.",
      "argument: attn: scoreMod.name must be one line of up to 100 letters, not "".",
      "argument: attn: scoreMod.name must be one line of up to 100 letters, not "a
    b".",
      "argument: attn: scoreMod.code must be WGSL as a string, not 7.",
      "argument: attn: there is no argument scoreMod.fn. There are name, code, params, tensors.",
      "argument: attn: the code of scoreMod "bias" cannot be used: it must declare fn score_mod(score: f32, b: u32, h: u32, q: i32, k: i32) -> f32.",
      "argument: attn: the code of scoreMod "bias" cannot be used: line 1 has fn score_mod(score: f32, b: u32, h: u32, q: u32, k: i32) -> f32, but it must be fn score_mod(score: f32, b: u32, h: u32, q: i32, k: i32) -> f32.",
      "argument: attn: the code of scoreMod "bias" cannot be used: line 2 has var outside of functions, where there can be fn, struct, const and alias.",
      "argument: attnVarlen: the code of maskMod "documents" cannot be used: it must declare fn mask_mod(b: u32, h: u32, q: i32, k: i32) -> bool.",
    ]
  `);
});

test('parameters', () => {
  expect([
    ofScore({ params: 3 }),
    ofScore({ params: [1, 2, 3, 4, 5, 6, 7, 8, 9] }),
    ofScore({ params: [1, Infinity] }),
    ofScore({ params: [1e39] }),
    ofScore({ params: fakeTensor('f32', [2]) }),
  ]).toMatchInlineSnapshot(`
    [
      "argument: attn: scoreMod.params must be up to 8 numbers, not 3.",
      "argument: attn: scoreMod.params must be up to 8 numbers, not [1, 2, 3, 4, 5, 6, 7, 8, 9].",
      "argument: attn: scoreMod.params[1] must be a finite number, not Infinity.",
      "argument: attn: scoreMod.params[0] must be a finite number, not 1e+39.",
      "argument: attn: scoreMod.params must be up to 8 numbers, not a plain object.",
    ]
  `);
});

test('tensors', () => {
  const table = fakeTensor('f32', [64]);
  expect([
    ofScore({ tensors: [table] }),
    ofScore({ tensors: { 'a b': table } }),
    ofScore({ tensors: { _: table } }),
    ofScore({ tensors: { table: [1, 2, 3] } }),
    ofScore({ tensors: { table: fakeTensor('f16', [64]) } }),
    ofScore({ tensors: { table: fakeTensor('i8', [64]) } }),
    ofScore({ tensors: { table: fakeTensor('f32', [64], { offset: 3 }) } }),
    ofScore({ tensors: { table: fakeTensor('f32', [4, 4], { strides: [8, 1] }) } }),
    ofScore({ tensors: { table: { ...table, shape: [100] } } }),
    ofScore({ tensors: { score_mod: table } }),
    ofScore({ tensors: { a: table, b: table, c: table } }),
    refusal(() =>
      attn(runtime, {
        ...dense,
        scoreMod: { name: 'bias', code: SCORE, tensors: { a: table, b: table } },
        maskMod: { name: 'documents', code: MASK, tensors: { a: table } },
      }),
    ),
  ]).toMatchInlineSnapshot(`
    [
      "argument: attn: scoreMod.tensors must be an object, not [a plain object].",
      "argument: attn: scoreMod.tensors.a b must have a name as variables of WGSL have, with which the code reads it.",
      "argument: attn: scoreMod.tensors._ must have a name as variables of WGSL have, with which the code reads it.",
      "argument: attn: scoreMod.tensors.table must be a tensor of f32, i32 or u32, not [1, 2, 3].",
      "dtype: attn: scoreMod.tensors.table is f16, but mods read f32, i32 and u32. Pass pairs of halves as u32, and read them by unpack2x16float or shifts.",
      "dtype: attn: scoreMod.tensors.table must be f32, i32 or u32, not i8.",
      "shape: attn: the offset of scoreMod.tensors.table must be a multiple of 64, not 3: the code reads it from its first element on, and bindings begin at multiples of 256 bytes.",
      "shape: attn: scoreMod.tensors.table must be contiguous, since the code reads it as one array.",
      "buffer: attn: scoreMod.tensors.table ends at byte 400 of a buffer of 256 bytes. Check its shape, strides and offset.",
      "argument: attn: the code of scoreMod "bias" cannot be used: it declares score_mod, which is given to it.",
      "argument: attn: mods read up to 2 tensors in all, not 3. Join some of them into one.",
      "argument: attn: mods read up to 2 tensors in all, not 3. Join some of them into one.",
    ]
  `);
});

test('an output in the buffer of a tensor', () => {
  const shared = fakeTensor('f32', [2, 3, 4, 16]);
  const scoreMod = { name: 'bias', code: SCORE, tensors: { table: shared } };
  const lse = fakeTensor('f32', [2, 4, 3]);
  const cache = { kCache: dense.k, vCache: dense.v, q: dense.q, cacheSeqlens: [70, 70] };
  const big = fakeTensor('f32', [4096]).buffer;
  expect([
    refusal(() => attn(runtime, { ...dense, scoreMod, out: shared })),
    refusal(() => attnWithKvCache(runtime, { ...cache, scoreMod, out: shared })),
    refusal(() =>
      attnWeights(runtime, {
        ...dense,
        rows: [0],
        lse,
        scoreMod: { ...scoreMod, tensors: { table: { ...shared, buffer: big } } },
        weights: { buffer: big, dtype: 'f32', shape: [1, 4, 70] },
      }),
    ),
    refusal(() => {
      const tables = { table: { ...shared, buffer: big } };
      return planAttnVarlen(runtime, {
        ...ragged,
        scoreMod: { ...scoreMod, tensors: tables },
        out: { buffer: big, dtype: 'f32', shape: [8, 4, 16] },
      });
    }),
  ]).toMatchInlineSnapshot(`
    [
      "buffer: attn: out is in the same buffer as scoreMod.tensors.table. WebGPU cannot read and write a buffer in one dispatch: give out a buffer of its own.",
      "buffer: attnWithKvCache: out is in the same buffer as scoreMod.tensors.table. WebGPU cannot read and write a buffer in one dispatch: give out a buffer of its own.",
      "buffer: attnWeights: weights is in the same buffer as scoreMod.tensors.table. WebGPU cannot read and write a buffer in one dispatch: give weights a buffer of its own.",
      "buffer: planAttnVarlen: out is in the same buffer as scoreMod.tensors.table. WebGPU cannot read and write a buffer in one dispatch: give out a buffer of its own.",
    ]
  `);
});

test('kernels to prepare', () => {
  const variants = (change: object) =>
    refusal(() =>
      attnVariants(runtime, {
        headDim: 64,
        dtype: 'f32',
        scoreMod: { name: 'bias', code: SCORE, ...change },
      }),
    );
  expect([
    variants({ tensors: { table: 'f16' } }),
    variants({ tensors: { table: 'f64' } }),
    variants({ code: MASK }),
  ]).toMatchInlineSnapshot(`
    [
      "dtype: attnVariants: scoreMod.tensors.table is f16, but mods read f32, i32 and u32. Pass pairs of halves as u32, and read them by unpack2x16float or shifts.",
      "argument: attnVariants: scoreMod.tensors.table must be a tensor of f32, i32 or u32, not "f64".",
      "argument: attnVariants: the code of scoreMod "bias" cannot be used: it must declare fn score_mod(score: f32, b: u32, h: u32, q: i32, k: i32) -> f32.",
    ]
  `);
});

test('a device that binds too few buffers', () => {
  const pages = fakeTensor('f32', [20, 8, 2, 16]);
  const cached = {
    q: fakeTensor('f32', [1, 2, 4, 16]),
    kCache: pages,
    vCache: fakeTensor('f32', [20, 8, 2, 16]),
    cacheSeqlens: [40],
    blockTable: [0, 1, 2, 3, 4],
    out: fakeTensor('f32', [1, 2, 4, 16]),
    mask: fakeTensor('u32', [1, 1, 2, 2]),
    maskMod: {
      name: 'documents',
      code: 'fn mask_mod(b: u32, h: u32, q: i32, k: i32) -> bool { return ids[q] == old_ids[k]; }',
      tensors: { ids: fakeTensor('u32', [64]), old_ids: fakeTensor('u32', [64]) },
    },
  };
  expect(refusal(() => attnWithKvCache(runtime, cached))).toMatchInlineSnapshot(
    `"limit: attnWithKvCache: attn_decode needs 9 storage buffers with blockTable, mask, maskMod.tensors.ids, maskMod.tensors.old_ids, but this device binds at most 8. Ask for maxStorageBuffersPerShaderStage, or use requestDevice()."`,
  );
});

test('kernels for other engines have no mods', () => {
  const options = {
    kernel: 'attn_decode',
    headDim: 64,
    dtype: 'f32',
    scoreMod: { name: 'a', code: SCORE },
  } as never;
  expect(refusal(() => kernelVariant(options))).toMatchInlineSnapshot(
    `"argument: kernelVariant: scoreMod is compiled into the kernels of pageflash itself. Kernels given as text have a place for a function of your own where they compute scores: change their code."`,
  );
});
