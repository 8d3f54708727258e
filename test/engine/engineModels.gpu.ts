import type { ModelFiles } from '../../demo/engine/files/modelFiles.js';
import { openModel } from '../../demo/engine/model/openModel.js';
import { Engine } from '../../demo/engine/serving/engine.js';
import type { EngineOptions } from '../../demo/engine/serving/engineOptions.js';
import type { FloatDType } from '../../src/index.js';
import { assert, assertEqual, type GpuCase, type GpuTest } from '../platforms/gpuCase.js';
import {
  FAMILIES,
  goldenModel,
  shippedGolden,
  shippedModel,
  type GoldenFamily,
  type GoldenModel,
} from './inlinedModels.js';
import { phi3Files, type Phi3Options } from './phi3Files.js';

interface TestOptions extends Omit<EngineOptions, 'model'> {
  readonly files: ModelFiles;
}

async function withEngine(
  t: GpuTest,
  { files, ...options }: TestOptions,
  use: (engine: Engine) => Promise<void>,
): Promise<void> {
  const model = await openModel(files);
  const engine = await Engine.create(await t.device('full'), { model, context: 128, ...options });
  try {
    await use(engine);
  } finally {
    await engine.destroy();
  }
}

/** The largest difference from the golden logits, in their standard deviations. */
function errorOf(actual: Float32Array, { logits }: GoldenModel): number {
  assertEqual(actual.length, logits.length, 'logits');
  const mean = logits.reduce((sum, x) => sum + x, 0) / logits.length;
  const deviation = Math.sqrt(logits.reduce((sum, x) => sum + (x - mean) ** 2, 0) / logits.length);
  return logits.reduce((most, x, i) => Math.max(most, Math.abs(x - actual[i]!)), 0) / deviation;
}

/** How steps cut a prompt of 70 tokens. */
const CUTS = [
  { maxTokens: 70, nDrafts: 0, nSequences: 1, why: 'in one step, one row of logits at a time' },
  { maxTokens: 16, nDrafts: 4, nSequences: 4, why: 'in chunks, with drafts' },
  { maxTokens: 1, nDrafts: 0, nSequences: 4, why: 'token by token' },
] as const;

/** All of a list in Node; elsewhere, where an engine compiles for some ten seconds, the second. */
function onPlatform<T>({ platform }: GpuTest, list: readonly T[]): readonly T[] {
  return platform === 'node' ? list : list.slice(1, 2);
}

async function hasResults(t: GpuTest, golden: GoldenModel, rotaryType: FloatDType): Promise<void> {
  const { files, ids, greedy } = golden;
  for (const { why, ...cut } of onPlatform(t, CUTS))
    await withEngine(t, { files, weights: 'f32', kvType: 'f32', rotaryType, ...cut }, async (engine) => {
      const error = errorOf(await engine.logits(ids), golden);
      assert(error < 1e-4, `logits ${why} are off by ${error} standard deviations`);
      const others = [20, 33].map((n) =>
        engine.generate({ tokens: ids.slice(0, n), maxNewTokens: 30, stopIds: [] }),
      );
      const answer = engine.generate({ tokens: ids, maxNewTokens: 24, stopIds: [] });
      assertEqual(await answer.done(), greedy, `tokens ${why}`);
      for (const other of others) await other.done();
    });
}

/** The context of these cases is of 128 positions. */
const PHI3: readonly (Phi3Options & { family: GoldenFamily; why: string })[] = [
  {
    family: 'llama_mha',
    originalPositions: 64,
    positions: 512,
    right: 'long_factor',
    why: 'a context beyond the original one',
  },
  {
    family: 'mistral_window',
    originalPositions: 128,
    positions: 1024,
    right: 'short_factor',
    why: 'fewer kv heads, a window in every layer, the original context',
  },
];

export const cases: GpuCase[] = [
  ...FAMILIES.map((family): GpuCase => ({
    name: `${family} has the logits and tokens of transformers`,
    why: 'they are of models that were converted to f16 as a whole, angles too',
    run: async (t) => hasResults(t, await goldenModel(family), 'f16'),
  })),
  ...PHI3.map(({ family, why, ...options }): GpuCase => ({
    name: `phi3 made of ${family} has its logits and tokens`,
    why,
    run: async (t) => {
      const golden = await goldenModel(family);
      await hasResults(t, { ...golden, files: await phi3Files(golden.filesOfGolden, options) }, 'f32');
    },
  })),
  {
    name: 'angles that are not rounded to f16 change logits by as much as that',
    run: async (t) => {
      const { files, ...golden } = await goldenModel('qwen2');
      await withEngine(t, { files, weights: 'f32', kvType: 'f32' }, async (engine) => {
        const error = errorOf(await engine.logits(golden.ids), { files, ...golden });
        assert(error > 1e-3 && error < 2e-2, `logits are off by ${error} standard deviations`);
      });
    },
  },
  ...(['f16', 'bf16'] as const).map((kvType): GpuCase => ({
    name: `a cache of ${kvType} costs what rounding costs`,
    run: async (t) => {
      const golden = await goldenModel('llama3');
      const files = golden.filesOfGolden;
      await withEngine(t, { files, weights: 'f16', kvType }, async (engine) => {
        const error = errorOf(await engine.logits(golden.ids), golden);
        assert(error < (kvType === 'f16' ? 2e-2 : 0.1), `logits are off by ${error} standard deviations`);
        if (kvType === 'bf16') return;
        const answer = engine.generate({ tokens: golden.ids, maxNewTokens: 24, stopIds: [] });
        assertEqual(await answer.done(), golden.greedy, 'tokens');
      });
    },
  })),
  {
    name: 'the shipped model answers as it was trained',
    run: async (t) => {
      const { cases: golden } = await shippedGolden();
      for (const kvType of onPlatform(t, ['f32', 'f16'] as const))
        await withEngine(t, { files: shippedModel, kvType, context: 256, nSequences: 6 }, async (engine) => {
          const answers = golden.map(({ ids, generated }) =>
            engine.generate({ tokens: ids, maxNewTokens: generated.length, stopIds: [] }),
          );
          for (const [i, { generated }] of golden.entries())
            assertEqual(await answers[i]!.done(), generated, `answer ${i} with a cache of ${kvType}`);
        });
    },
  },
  {
    name: 'weights of 8 and 4 bits keep the meaning of a model',
    run: async (t) => {
      const { cases: golden } = await shippedGolden();
      const formats = [
        ['i8', 20],
        ['i4', 3],
      ] as const;
      for (const [weights, nSame] of onPlatform(t, formats))
        await withEngine(t, { files: shippedModel, weights, context: 256 }, async (engine) => {
          const { ids, generated } = golden[1]!;
          const tokens = await engine.generate({ tokens: ids, maxNewTokens: 40, stopIds: [] }).done();
          const first = tokens.findIndex((token, i) => token !== generated[i]);
          assert(first < 0 || first >= nSame, `with ${weights} token ${first} differs`);
        });
    },
  },
];
