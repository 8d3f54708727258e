import { describe, expect, test } from 'vitest';
import { fitKvCache, kvBytesPerToken, kvCacheBytes, type CacheRoom } from '../../src/sizing/kvCache.js';
import type { CacheShape } from '../../src/sizing/modelShape.js';
import { parameterCounts, weightBytes } from '../../src/sizing/weights.js';
import { Random } from '../../tools/random.js';
import { refusal } from '../check/refusal.js';
import { GIB, gpt, GEMMA_2B, LLAMA_3_8B, LLAMA_7B, MIB, OPT_175B, TIB } from './models.js';

describe('the KV cache', () => {
  test.each([
    { name: 'LLaMA-7B', model: LLAMA_7B, dtype: 'f16', bytes: 512 * 1024, why: 'MHA' },
    { name: 'LLaMA-7B', model: LLAMA_7B, dtype: 'f32', bytes: 1024 * 1024, why: 'MHA' },
    {
      name: 'OPT-13B',
      model: gpt(40, 5120, 40, [50272, 2050]),
      dtype: 'f16',
      bytes: 800 * 1024,
      why: 'MHA, as the vLLM paper has it',
    },
    { name: 'Llama-3-8B', model: LLAMA_3_8B, dtype: 'f16', bytes: 131_072, why: 'GQA' },
    { name: 'Llama-3-8B', model: LLAMA_3_8B, dtype: 'bf16', bytes: 131_072, why: 'GQA' },
    { name: 'Gemma-2B', model: GEMMA_2B, dtype: 'bf16', bytes: 18_432, why: 'MQA' },
  ] as const)('of $name takes $bytes bytes a token in $dtype: $why', ({ model, dtype, bytes }) => {
    expect(kvBytesPerToken({ ...model, dtype })).toBe(bytes);
  });

  test('keys and values of different head sizes', () => {
    const cache = { nLayers: 3, nKvHeads: 2, headDim: 192, headDimV: 128, dtype: 'f16' } as const;
    expect(kvBytesPerToken(cache)).toBe(3 * 2 * (192 + 128) * 2);
  });

  test('values that are a part of keys take nothing', () => {
    const mla = {
      nLayers: 61,
      nKvHeads: 1,
      headDim: 576,
      headDimV: 512,
      valuesInKeys: true,
      dtype: 'f16',
    } as const;
    expect(kvBytesPerToken(mla)).toBe(70_272);
    expect(fitKvCache(mla, { budgetBytes: GIB, pageSize: 64 })).toMatchObject({
      nPages: Math.floor(GIB / (64 * 70_272)),
      nBuffers: 61,
      valueBufferBytes: 0,
    });
    expect(refusal(() => kvBytesPerToken({ ...mla, headDim: 128 }))).toMatchInlineSnapshot(
      `"argument: kvBytesPerToken: values of 512 elements cannot be a part of keys of 128. Pass a smaller headDimV, or leave valuesInKeys out."`,
    );
  });

  test('of OPT-175B with 512 sequences of 512 + 32 tokens takes 1.2 TiB, 3.8 times its weights', () => {
    const bytes = kvCacheBytes(
      { ...OPT_175B, dtype: 'f16' },
      { nSequences: 512, tokensPerSequence: 512 + 32 },
    );
    expect(bytes).toBe(1_314_259_992_576);
    expect((bytes / TIB).toFixed(1)).toBe('1.2');
    const { attention, feedForward } = parameterCounts(OPT_175B);
    expect((bytes / weightBytes(attention + feedForward, 'f16')).toFixed(1)).toBe('3.8');
  });

  test.each([
    { tokensPerSequence: 100, pageSize: 1, tokens: 100 },
    { tokensPerSequence: 100, pageSize: 16, tokens: 112 },
    { tokensPerSequence: 112, pageSize: 16, tokens: 112 },
    { tokensPerSequence: 1, pageSize: 256, tokens: 256 },
    { tokensPerSequence: 0, pageSize: 256, tokens: 0 },
  ])('$tokensPerSequence tokens in pages of $pageSize take $tokens', ({ tokens, ...load }) => {
    const cache = { ...LLAMA_3_8B, dtype: 'f16' } as const;
    expect(kvCacheBytes(cache, load)).toBe(131_072 * tokens);
    expect(kvCacheBytes(cache, { ...load, nSequences: 4 })).toBe(4 * 131_072 * tokens);
  });

  test('refuses arguments that are wrong, by their names', () => {
    const cache: CacheShape = { ...LLAMA_3_8B, dtype: 'f16' };
    expect([
      refusal(() => kvBytesPerToken({ ...cache, nKvHeads: 0 })),
      refusal(() => kvBytesPerToken({ ...LLAMA_3_8B } as unknown as CacheShape)),
      refusal(() => kvBytesPerToken({ ...cache, dtype: 'i32' as 'f16' })),
      refusal(() => kvCacheBytes(cache, { tokensPerSequence: -1 })),
      refusal(() => kvCacheBytes(cache, { tokensPerSequence: 1, pageSize: 0 })),
      refusal(() => kvCacheBytes(cache, { tokensPerSequence: 1, pagesize: 16 } as never)),
      refusal(() => kvCacheBytes(cache, 8192 as unknown as { tokensPerSequence: number })),
    ]).toMatchInlineSnapshot(`
      [
        "argument: kvBytesPerToken: nKvHeads must be a whole number ≥ 1, not 0.",
        "argument: kvBytesPerToken: dtype must be 'f32', 'f16', 'bf16', 'i8', 'i4' or 'e4m3', not undefined.",
        "argument: kvBytesPerToken: dtype must be 'f32', 'f16', 'bf16', 'i8', 'i4' or 'e4m3', not "i32".",
        "argument: kvCacheBytes: tokensPerSequence must be a whole number ≥ 0, not -1.",
        "argument: kvCacheBytes: pageSize must be a whole number ≥ 1, not 0.",
        "argument: kvCacheBytes: there is no argument load.pagesize. There are nSequences, tokensPerSequence, pageSize.",
        "argument: kvCacheBytes: load must be an object, not 8192.",
      ]
    `);
  });
});

describe('fitKvCache', () => {
  /** What WebGPU allows on every device. */
  const defaultLimits = { maxBufferSize: 256 * MIB, maxStorageBufferBindingSize: 128 * MIB };
  const llama3: CacheShape = { ...LLAMA_3_8B, dtype: 'f16' };

  test('Llama 3 8B in 2 GiB', () => {
    const room = { budgetBytes: 2 * GIB, limits: defaultLimits, tokensPerSequence: 4096 };
    expect(fitKvCache(llama3, room)).toMatchInlineSnapshot(`
      {
        "bytes": 2147483648,
        "keyBufferBytes": 33554432,
        "limitedBy": "budgetBytes",
        "nBuffers": 64,
        "nPages": 256,
        "nSequences": 4,
        "pageSize": 64,
        "tokens": 16384,
        "valueBufferBytes": 33554432,
      }
    `);
  });

  test.each([
    {
      cache: { ...LLAMA_7B, dtype: 'f32' },
      room: { budgetBytes: 16 * GIB, limits: defaultLimits },
      tokens: 8192,
      limitedBy: 'maxStorageBufferBindingSize',
      why: '16 KiB a token and layer, 128 MiB a binding',
    },
    {
      cache: { ...LLAMA_3_8B, headDimV: 512, dtype: 'f16' },
      room: { budgetBytes: 64 * GIB, limits: defaultLimits },
      tokens: 16384,
      limitedBy: 'maxStorageBufferBindingSize',
      why: 'values are larger than keys',
    },
    {
      cache: llama3,
      room: {
        budgetBytes: 64 * GIB,
        limits: { maxBufferSize: 64 * MIB, maxStorageBufferBindingSize: 128 * MIB },
      },
      tokens: 32768,
      limitedBy: 'maxBufferSize',
      why: 'a buffer smaller than a binding',
    },
    {
      cache: llama3,
      room: { budgetBytes: 2 ** 50 },
      tokens: 2 ** 32 / 1024,
      limitedBy: 'indices',
      why: 'more elements than 32 bits count',
    },
    {
      cache: llama3,
      room: { budgetBytes: 131_072 * 64 - 0.5, pageSize: 64 },
      tokens: 0,
      limitedBy: 'budgetBytes',
      why: 'half a byte too few for a page',
    },
    {
      cache: llama3,
      room: { budgetBytes: 131_072 * 64, pageSize: 64 },
      tokens: 64,
      limitedBy: 'budgetBytes',
      why: 'a page',
    },
    { cache: llama3, room: { budgetBytes: 0 }, tokens: 0, limitedBy: 'budgetBytes', why: 'no budget' },
    {
      cache: llama3,
      room: { budgetBytes: GIB, limits: { maxBufferSize: 1000, maxStorageBufferBindingSize: 1000 } },
      tokens: 0,
      limitedBy: 'maxStorageBufferBindingSize',
      why: 'no page fits a binding',
    },
  ] as const)('$tokens tokens, limited by $limitedBy: $why', ({ cache, room, tokens, limitedBy }) => {
    expect(fitKvCache(cache, room)).toMatchObject({ tokens, limitedBy });
  });

  test.each([
    { tokensPerSequence: undefined, pageSize: 32, why: 'a usual conversation' },
    { tokensPerSequence: 1, pageSize: 16, why: 'nothing shorter than 16' },
    { tokensPerSequence: 511, pageSize: 16, why: 'half of 32 would be more than a 32nd' },
    { tokensPerSequence: 512, pageSize: 32, why: 'half of 32 is a 32nd' },
    { tokensPerSequence: 1023, pageSize: 32, why: 'half of 64 would be more' },
    { tokensPerSequence: 1024, pageSize: 64, why: 'half of 64 is a 32nd' },
    { tokensPerSequence: 131072, pageSize: 64, why: 'nothing longer than 64' },
  ])(
    'sequences of $tokensPerSequence tokens get pages of $pageSize: $why',
    ({ pageSize, tokensPerSequence }) => {
      expect(fitKvCache(llama3, { budgetBytes: GIB, tokensPerSequence }).pageSize).toBe(pageSize);
    },
  );

  test('no page that fits is no error', () => {
    const fit = fitKvCache(llama3, { budgetBytes: 1000 });
    expect(fit).toMatchObject({ nPages: 0, nSequences: 0, bytes: 0, keyBufferBytes: 0, valueBufferBytes: 0 });
  });

  test('a sequence takes whole pages', () => {
    const fit = (tokensPerSequence: number) =>
      fitKvCache(llama3, { budgetBytes: 131_072 * 100, pageSize: 10, tokensPerSequence }).nSequences;
    expect([1, 10, 11, 100, 101].map(fit)).toEqual([10, 10, 5, 1, 0]);
  });

  test('an odd number of 16-bit elements takes whole words, within the budget', () => {
    const cache = { nLayers: 1, nKvHeads: 1, headDim: 1, dtype: 'f16' } as const;
    const nPages = (budgetBytes: number) => fitKvCache(cache, { budgetBytes, pageSize: 1 }).nPages;
    expect([3, 4, 7, 8, 12, 15, 16].map(nPages)).toEqual([0, 0, 0, 2, 2, 2, 4]);
    const limits = { maxBufferSize: 6, maxStorageBufferBindingSize: 100 };
    expect(fitKvCache(cache, { budgetBytes: 1000, limits, pageSize: 1 })).toMatchObject({
      nPages: 2,
      keyBufferBytes: 4,
    });
  });

  test('keeps every limit, and one more page would exceed one', () => {
    const random = new Random(6);
    for (let round = 0; round < 500; round++) {
      const nKvHeads = random.int(1, 9);
      const cache: CacheShape = {
        nLayers: random.int(1, 40),
        nKvHeads,
        headDim: random.int(1, 257),
        headDimV: random.int(1, 257),
        dtype: random.pick(['f32', 'f16', 'bf16'] as const),
      };
      const limits = {
        maxBufferSize: random.int(1, 2 ** 28),
        maxStorageBufferBindingSize: random.int(1, 2 ** 28),
      };
      const room = {
        budgetBytes: random.uniform(0, 2 ** 34),
        limits,
        tokensPerSequence: random.int(1, 5000),
      };
      const fit = fitKvCache(cache, { ...room, ...(random.boolean() && { pageSize: random.int(1, 300) }) });

      const keeps = (nPages: number): boolean => {
        const buffer = (headDim: number): number =>
          Math.ceil((nPages * fit.pageSize * nKvHeads * headDim * (cache.dtype === 'f32' ? 4 : 2)) / 4) * 4;
        const [keys, values] = [buffer(cache.headDim), buffer(cache.headDimV!)];
        return (
          Math.max(keys, values) <= Math.min(limits.maxBufferSize, limits.maxStorageBufferBindingSize) &&
          cache.nLayers * (keys + values) <= room.budgetBytes
        );
      };
      const what = JSON.stringify({ cache, room, fit });
      expect(keeps(fit.nPages), what).toBe(true);
      expect(keeps(fit.nPages + 1), what).toBe(false);
      expect(fit.bytes, what).toBe(cache.nLayers * (fit.keyBufferBytes + fit.valueBufferBytes));
      expect(fit.tokens, what).toBe(fit.nPages * fit.pageSize);
    }
  });

  test('accepts the limits of a device', () => {
    const toRoom = (device: GPUDevice): CacheRoom => ({ budgetBytes: GIB, limits: device.limits });
    const device = { limits: defaultLimits } as unknown as GPUDevice;
    expect(fitKvCache(llama3, toRoom(device)).tokens).toBe(8192);
  });

  test('refuses arguments that are wrong, by their names', () => {
    const message = (change: object) => refusal(() => fitKvCache(llama3, { budgetBytes: GIB, ...change }));
    expect([
      message({ budgetBytes: -1 }),
      message({ budgetBytes: undefined }),
      message({ limits: null }),
      message({ limits: { maxBufferSize: GIB } }),
      message({ tokensPerSequence: 0 }),
      message({ pageSize: 2.5 }),
      message({ tokensPerSeq: 4 }),
      refusal(() => fitKvCache({ ...llama3, headDim: -128 }, { budgetBytes: GIB })),
    ]).toMatchInlineSnapshot(`
      [
        "argument: fitKvCache: budgetBytes must be a finite number ≥ 0, not -1.",
        "argument: fitKvCache: budgetBytes must be a finite number ≥ 0, not undefined.",
        "argument: fitKvCache: limits must be an object, not null.",
        "argument: fitKvCache: maxStorageBufferBindingSize must be a whole number ≥ 1, not undefined.",
        "argument: fitKvCache: tokensPerSequence must be a whole number ≥ 1, not 0.",
        "argument: fitKvCache: pageSize must be a whole number ≥ 1, not 2.5.",
        "argument: fitKvCache: there is no argument room.tokensPerSeq. There are budgetBytes, limits, tokensPerSequence, pageSize.",
        "argument: fitKvCache: headDim must be a whole number ≥ 1, not -128.",
      ]
    `);
  });
});
