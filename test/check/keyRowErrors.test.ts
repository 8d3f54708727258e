import { expect, test } from 'vitest';
import { attn, attnVarlen, attnWithKvCache, createRuntime } from '../../src/index.js';
import { fakeDevice, fakeTensor } from '../runtime/fakeDevice.js';
import { refusal } from './refusal.js';

// Errors must be thrown before the device is used: this one fails if it is.
const runtime = createRuntime(fakeDevice());

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

test('mask and bias', () => {
  const ofAttn = (change: object) => refusal(() => attn(runtime, { ...dense, ...change }));
  const ofVarlen = (change: object) => refusal(() => attnVarlen(runtime, { ...ragged, ...change }));
  expect([
    ofAttn({ mask: new Uint32Array(4) }),
    ofAttn({ mask: fakeTensor('i32', [2, 4, 3, 3]) }),
    ofAttn({ mask: fakeTensor('u32', [4, 3, 3]) }),
    ofAttn({ mask: fakeTensor('u32', [2, 2, 3, 3]) }),
    ofAttn({ mask: fakeTensor('u32', [3, 4, 3, 3]) }),
    ofAttn({ mask: fakeTensor('u32', [1, 1, 1, 3]) }),
    ofAttn({ mask: fakeTensor('u32', [1, 1, 3, 2]) }),
    ofAttn({ bias: fakeTensor('u32', [1, 1, 3, 70]) }),
    ofAttn({ bias: fakeTensor('f16', [1, 1, 3, 69]) }),
    ofAttn({ bias: { ...fakeTensor('f16', [1, 1, 3, 70]), strides: [0, 0, 0, 2] } }),
    ofVarlen({ bias: fakeTensor('f32', [1, 1, 8, 70]) }),
    ofVarlen({ bias: fakeTensor('f32', [4, 7, 70]) }),
    ofVarlen({ mask: fakeTensor('u32', [4, 8, 2]) }),
    ofVarlen({
      mask: fakeTensor('u32', [4, 8, 2]),
      cuSeqlensK: fakeTensor('i32', [3]),
      maxSeqlenK: 80,
    }),
    ofVarlen({ firstKeys: -1 }),
    ofVarlen({ firstKeys: 1.5, windowSize: [3, -1] }),
  ]).toMatchInlineSnapshot(`
    [
      "argument: attn: mask must be a tensor, { buffer, dtype, shape }, not a Uint32Array.",
      "dtype: attn: mask must be u32, not i32.",
      "shape: attn: mask must have the shape [B or 1, Hq or 1, Sq, words], not [4, 3, 3].",
      "shape: attn: mask is [2, 2, 3, 3]: its dimension Hq must be 4 or 1, not 2.",
      "shape: attn: mask is [3, 4, 3, 3]: its dimension B must be 2 or 1, not 3.",
      "shape: attn: mask is [1, 1, 1, 3]: its dimension Sq must be 3, not 1.",
      "shape: attn: mask has 2 words in a row, but sequence 0 has 70 keys, which take 3. Pass a wider one.",
      "dtype: attn: bias must be f32, f16 or bf16, not u32.",
      "shape: attn: bias has 69 keys in a row, but sequence 0 has 70 keys. Pass a wider one.",
      "shape: attn: the last stride of bias must be 1, not 2.",
      "shape: attnVarlen: bias must have the shape [Hq or 1, totalQ, keys], not [1, 1, 8, 70].",
      "shape: attnVarlen: bias is [4, 7, 70]: its dimension totalQ must be 8, not 7.",
      "shape: attnVarlen: mask has 2 words in a row, but sequence 1 has 70 keys, which take 3. Pass a wider one.",
      "shape: attnVarlen: mask has 2 words in a row, but sequences may have up to 80 keys, which take 3. Pass a wider one, or a smaller maxSeqlenK.",
      "argument: attnVarlen: firstKeys must be a whole number ≥ 0, not -1.",
      "argument: attnVarlen: firstKeys must be a whole number ≥ 0, not 1.5.",
    ]
  `);
});

test('a device that binds too few buffers', () => {
  const pages = fakeTensor('f32', [20, 8, 2, 16]);
  const cached = {
    q: fakeTensor('f32', [1, 2, 4, 16]),
    kCache: pages,
    vCache: { ...pages, buffer: fakeTensor('f32', [20, 8, 2, 16]).buffer },
    cacheSeqlens: [40],
    blockTable: [0, 1, 2, 3, 4],
    mask: fakeTensor('u32', [1, 1, 2, 2]),
    bias: fakeTensor('f32', [1, 1, 2, 40]),
    out: fakeTensor('f32', [1, 2, 4, 16]),
    lse: fakeTensor('f32', [1, 4, 2]),
  };
  expect(refusal(() => attnWithKvCache(runtime, cached))).toMatchInlineSnapshot(
    `"limit: attnWithKvCache: attn_decode needs 9 storage buffers with blockTable, lse, mask, bias, but this device binds at most 8. Ask for maxStorageBuffersPerShaderStage, or use requestDevice()."`,
  );
});

test('the pages of first keys must be there', () => {
  const pages = fakeTensor('f32', [20, 8, 2, 16]);
  const cached = {
    q: fakeTensor('f32', [1, 2, 4, 16]),
    kCache: pages,
    vCache: { ...pages, buffer: fakeTensor('f32', [20, 8, 2, 16]).buffer },
    cacheSeqlens: [40],
    causal: true,
    windowSize: [7, -1] as const,
    firstKeys: 9,
  };
  const table = (blockTable: readonly number[]) =>
    refusal(() => attnWithKvCache(runtime, { ...cached, blockTable }));
  expect([table([0, -1, -1, 3, 4]), table([-1, 1, -1, 3, 4])]).toMatchInlineSnapshot(`
    [
      "length: attnWithKvCache: blockTable gives sequence 0 the page -1 for keys 8 to 15, but there are pages 0 to 19. Reserve pages first.",
      "length: attnWithKvCache: blockTable gives sequence 0 the page -1 for keys 0 to 7, but there are pages 0 to 19. Reserve pages first.",
    ]
  `);
  // That between them is not needed: what is refused is the device.
  expect(() => attnWithKvCache(runtime, { ...cached, blockTable: [0, 1, -1, 3, 4] })).not.toThrow(
    /blockTable/,
  );
});
