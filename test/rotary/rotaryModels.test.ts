import { describe, expect, test } from 'vitest';
import { roundTo } from '../../src/core/dtype.js';
import { attnWithKvCache, createRuntime, rotaryTables, type Tensor } from '../../src/index.js';
import { fakeTensor } from '../runtime/fakeDevice.js';
import { readLlama } from '../model/modelFiles.js';
import { strictDevice } from '../runtime/strictDevice.js';
import { tinyLlamaReference } from '../model/tinyLlamaReference.js';

test('tables can be spread into the arguments of attnWithKvCache', () => {
  const { device, violations, touched } = strictDevice();
  const shape = [1, 2, 1, 8];
  const [q, k, v] = [0, 1, 2].map(() => fakeTensor('f32', shape)) as [Tensor, Tensor, Tensor];
  const [kCache, vCache] = [0, 1].map(() => fakeTensor('f32', [1, 16, 1, 8])) as [Tensor, Tensor];
  for (const partialRotaryFactor of [1, 0.5, 0.4])
    attnWithKvCache(createRuntime(device), {
      q,
      k,
      v,
      kCache,
      vCache,
      cacheSeqlens: [14],
      causal: true,
      ...rotaryTables({ headDim: 8, maxPositions: 16, partialRotaryFactor }),
    });
  expect(violations).toEqual([]);
  expect(touched.submits).toBe(3);
});

const MODELS = [
  ['llama_mha', 'test/golden/models/llama_mha'],
  ['llama3', 'examples/mini-llama/model'],
] as const;

describe.each(MODELS)('with the tables, %s generates what it does in PyTorch', (_name, folder) => {
  const N_TOKENS = 70;
  const { weights, ids, logits } = readLlama(folder, N_TOKENS);
  const { vocabSize, headDim } = weights.shape;

  test('with the angles of PyTorch, which the model keeps in f16', () => {
    const nPairs = headDim / 2;
    // At position 1 each pair has turned once.
    const perPosition = Array.from({ length: nPairs }, (_, t) =>
      roundTo('f16', Math.atan2(weights.rotarySin[nPairs + t]!, weights.rotaryCos[nPairs + t]!)),
    );
    const table = (of: (angle: number) => number): Float32Array<ArrayBuffer> =>
      Float32Array.from({ length: N_TOKENS * nPairs }, (_, i) =>
        of(Math.floor(i / nPairs) * perPosition[i % nPairs]!),
      );
    const rounded = { ...weights, rotaryCos: table(Math.cos), rotarySin: table(Math.sin) };
    const ours = tinyLlamaReference(rounded, ids).logits;
    expect(farthest(ours, logits)).toBeLessThan(1e-5);
  });

  test('with exact angles, it generates the same tokens', () => {
    const ours = tinyLlamaReference(weights, ids).logits;
    expect(farthest(ours, logits)).toBeLessThan(0.02);
    const tokens = (of: Float32Array | Float64Array): number[] =>
      Array.from(ids, (_, row) => {
        const some = of.subarray(row * vocabSize, (row + 1) * vocabSize);
        return some.indexOf(Math.max(...some));
      });
    expect(tokens(ours)).toEqual(tokens(logits));
  });
});

function farthest(a: Float64Array, b: Float32Array): number {
  return Math.max(...a.map((x, i) => Math.abs(x - b[i]!)));
}
