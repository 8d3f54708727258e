import { describe, expect, test } from 'vitest';
import { attentionModel } from '../../bench/onnx/attentionModels.js';
import { onnxCaseName, onnxCases } from '../../bench/onnx/onnxCases.js';
import { onnxExpectedRows, onnxNumbers } from '../../bench/onnx/onnxWorkload.js';
import { bytesField, floatField, intField } from '../../tools/onnx/protobuf.js';

describe('the wire format', () => {
  test.each([
    { bytes: intField(1, 8), expected: [0x08, 8], why: 'a small number' },
    { bytes: intField(3, 300), expected: [0x18, 0xac, 0x02], why: 'seven bits a byte, the lowest first' },
    { bytes: intField(20, 2), expected: [0xa0, 0x01, 2], why: 'a field number of two bytes' },
    { bytes: floatField(2, 0.125), expected: [0x15, 0, 0, 0, 0x3e], why: 'an f32, little endian' },
    { bytes: bytesField(4, 'ab'), expected: [0x22, 2, 0x61, 0x62], why: 'a string' },
    { bytes: bytesField(7, Uint8Array.of(8, 1)), expected: [0x3a, 2, 8, 1], why: 'a message' },
  ])('$why', ({ bytes, expected }) => {
    expect([...bytes]).toEqual(expected);
  });
});

test.each(['GroupQueryAttention', 'PagedAttention'] as const)('a model of one node: %s', (operator) => {
  const model = attentionModel({ operator, dtype: 'f16', nHeads: 8, nKvHeads: 2, headDim: 64 });
  const text = new TextDecoder('latin1').decode(model);
  for (const name of [operator, 'com.microsoft', 'query', 'output', 'num_heads', 'kv_num_heads', 'scale'])
    expect(text).toContain(name);
});

describe('cases beside onnxruntime-web', () => {
  const options = { software: true, dtype: 'bf16', quick: true, full: false } as const;

  test('its paged attention takes f16 alone, and none of it bf16', () => {
    expect(onnxCases(options).map(onnxCaseName)).toEqual([
      'GroupQueryAttention 8/2×64 f16, prompt of 512',
      'GroupQueryAttention 8/2×64 f16, 2048 keys',
      'PagedAttention 8/2×64 f16, prompt of 512',
      'PagedAttention 8/2×64 f16, 2048 keys',
    ]);
    const dtypes = onnxCases({ ...options, dtype: 'f32' }).map(({ dtype }) => dtype);
    expect(dtypes).toEqual(['f32', 'f32', 'f16', 'f16']);
  });

  test('a GPU has the heads of the models', () => {
    const heads = onnxCases({ ...options, software: false, quick: false }).map(({ nHeads }) => nHeads);
    expect(new Set(heads)).toEqual(new Set([32]));
  });

  test('the last token sees all keys, an earlier one those up to its own', () => {
    const tiny = { operator: 'GroupQueryAttention', kind: 'decode', dtype: 'f32' } as const;
    const onnxCase = { ...tiny, nHeads: 1, nKvHeads: 1, headDim: 4, nTokens: 2, nKeys: 3 };
    const numbers = onnxNumbers(onnxCase);
    const ones = { data: new Float32Array(12).fill(1), shape: [3, 1, 4] };
    // With equal keys the output is the mean of the values that are seen.
    const rows = onnxExpectedRows({ ...numbers, k: ones }, onnxCase);
    const mean = (nKeys: number): number => {
      const first = Array.from({ length: nKeys }, (_, key) => numbers.v.data[4 * key]!);
      return first.reduce((sum, value) => sum + value, 0) / nKeys;
    };
    expect(rows.map(({ firstIndex }) => firstIndex)).toEqual([0, 4]);
    expect(rows[0]!.expected[0]).toBeCloseTo(mean(2), 6);
    expect(rows[1]!.expected[0]).toBeCloseTo(mean(3), 6);
  });
});
