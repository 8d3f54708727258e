import { openModel } from '../../demo/engine/model/openModel.js';
import { Engine } from '../../demo/engine/serving/engine.js';
import type { EngineOptions } from '../../demo/engine/serving/engineOptions.js';
import type { AttentionPattern } from '../../demo/engine/serving/patternReading.js';
import { fromHalves, rotaryTables } from '../../src/index.js';
import { assert, assertEqual, type GpuCase, type GpuTest } from '../platforms/gpuCase.js';
import { goldenModel, type GoldenModel } from './inlinedModels.js';
import { tensorsOfFile } from './memoryFiles.js';
import { rejection } from './refusals.js';

interface TestOptions extends Partial<EngineOptions> {
  readonly golden: GoldenModel;
}

async function withEngine(
  t: GpuTest,
  { golden, ...options }: TestOptions,
  use: (engine: Engine) => Promise<void>,
): Promise<void> {
  const model = await openModel(golden.filesOfGolden);
  const precise = { weights: 'f32', kvType: 'f32', context: 128 } as const;
  const engine = await Engine.create(await t.device('full'), { model, ...precise, ...options });
  try {
    await use(engine);
    assertEqual(engine.usage().nUsed, 0, 'pages in use after all');
  } finally {
    await engine.destroy();
  }
}

/** What layer 0 of a Llama looks at, by its definition, in f64: [tokens, nHeads, tokens]. */
async function layer0Of({ filesOfGolden: files, ids }: GoldenModel): Promise<Float64Array> {
  const { config } = await openModel(files);
  const { nHeads, nKvHeads, headDim, rmsNormEpsilon, softmaxScale } = config;
  const file = 'model.safetensors';
  const tensors = tensorsOfFile(await files.read(file, 0, (await files.size(file))!));
  const numbers = (name: string): Float32Array =>
    fromHalves('f16', new Uint16Array(tensors[`model.${name}`]!.bytes.buffer));
  const embedding = numbers('embed_tokens.weight');
  const gain = numbers('layers.0.input_layernorm.weight');
  const size = gain.length;
  const inputs = ids.map((id) => {
    const x = embedding.subarray(id * size, (id + 1) * size);
    const meanSquare = x.reduce((sum, one) => sum + one * one, 0) / size;
    return Float64Array.from(x, (one, i) => (one / Math.sqrt(meanSquare + rmsNormEpsilon)) * gain[i]!);
  });
  const tables = rotaryTables({ ...config.rotary.global, maxPositions: ids.length });
  const half = headDim / 2;
  /** [tokens][heads][headDim] */
  const rotatedHeads = (name: string, n: number): number[][][] => {
    const matrix = numbers(name);
    return inputs.map((x, position) =>
      [...Array(n).keys()].map((head) => {
        const y = [...Array(headDim).keys()].map((i) =>
          x.reduce((sum, one, j) => sum + one * matrix[(head * headDim + i) * size + j]!, 0),
        );
        return y.map((one, i) => {
          const at = position * half + (i % half);
          const [cos, sin] = [tables.rotaryCos[at]!, tables.rotarySin[at]!];
          return one * cos + (i < half ? -y[i + half]! : y[i - half]!) * sin;
        });
      }),
    );
  };
  const queries = rotatedHeads('layers.0.self_attn.q_proj.weight', nHeads);
  const keys = rotatedHeads('layers.0.self_attn.k_proj.weight', nKvHeads);
  const nTokens = ids.length;
  const weights = new Float64Array(nTokens * nHeads * nTokens);
  queries.forEach((heads, row) =>
    heads.forEach((q, head) => {
      const seen = keys.slice(0, row + 1).map((ofToken) => {
        const k = ofToken[Math.floor((head * nKvHeads) / nHeads)]!;
        return Math.exp(softmaxScale * q.reduce((sum, one, i) => sum + one * k[i]!, 0));
      });
      const total = seen.reduce((sum, one) => sum + one, 0);
      weights.set(
        seen.map((one) => one / total),
        (row * nHeads + head) * nTokens,
      );
    }),
  );
  return weights;
}

/** Each row is a distribution over the keys that it sees: those at most `reach` before it, and itself. */
function checkRows({ weights, firstRow, nRows, nHeads }: AttentionPattern, nTokens: number, reach: number) {
  assertEqual(weights.length, nRows * nHeads * nTokens, 'weights');
  for (let at = 0; at < nRows * nHeads; at++) {
    const position = firstRow + Math.floor(at / nHeads);
    const row = weights.subarray(at * nTokens, (at + 1) * nTokens);
    const seen = row.subarray(Math.max(0, position - reach), position + 1);
    const sum = seen.reduce((all, one) => all + one, 0);
    assert(Math.abs(sum - 1) < 1e-5, `weights at position ${position} sum up to ${sum}`);
    const nSeen = row.filter((one) => one > 0).length;
    assertEqual(nSeen, seen.length, `keys that position ${position} sees`);
  }
}

function largestDifference(actual: Float32Array, expected: ArrayLike<number>): number {
  assertEqual(actual.length, expected.length, 'numbers');
  return actual.reduce((most, one, i) => Math.max(most, Math.abs(one - expected[i]!)), 0);
}

/** How steps cut a prompt of 70 tokens, of which 64 are rows. */
const CUTS = [
  { maxTokens: 70, nSequences: 1, why: 'in one step' },
  { maxTokens: 24, nSequences: 4, why: 'in chunks beside others' },
] as const;

export const cases: GpuCase[] = [
  {
    name: 'what a layer looks at is what its weights say, and beside others the same',
    run: async (t) => {
      const golden = await goldenModel('llama3');
      const { ids } = golden;
      const expected = await layer0Of(golden);
      const deeper: AttentionPattern[] = [];
      // Elsewhere an engine compiles for some ten seconds.
      for (const { why, ...cut } of t.platform === 'node' ? CUTS : CUTS.slice(1))
        await withEngine(t, { golden, ...cut }, async (engine) => {
          const others = cut.nSequences > 1 ? [20, 33] : [];
          const answers = others.map((n) =>
            engine.generate({ tokens: ids.slice(0, n), maxNewTokens: 20, stopIds: [] }),
          );
          const all = await engine.attentionPattern(ids, { layer: 0 });
          assertEqual([all.firstRow, all.nRows, all.nHeads], [6, 64, 4], 'rows and heads');
          checkRows(all, ids.length, Infinity);
          const error = largestDifference(all.weights, expected.subarray(6 * 4 * 70));
          assert(error < 1e-5, `weights ${why} are off by ${error}`);
          const one = await engine.attentionPattern(ids.slice(0, 30), { layer: 0, head: 2 });
          assertEqual([one.firstRow, one.nRows, one.nHeads], [0, 30, 1], 'rows of one head');
          const ofHead = Array.from({ length: 30 }, (_, row) => [
            ...expected.subarray((row * 4 + 2) * 70, (row * 4 + 2) * 70 + 30),
          ]).flat();
          assert(largestDifference(one.weights, ofHead) < 1e-5, `weights of a head ${why} are wrong`);
          deeper.push(await engine.attentionPattern(ids, { layer: 1 }));
          checkRows(deeper.at(-1)!, ids.length, Infinity);
          for (const answer of answers) await answer.done();
          const again = engine.generate({ tokens: ids, maxNewTokens: 8, stopIds: [] });
          assertEqual(await again.done(), golden.greedy.slice(0, 8), 'tokens afterwards');
        });
      for (const { weights } of deeper)
        assert(largestDifference(weights, deeper[0]!.weights) < 1e-5, 'layer 1 differs by how steps cut it');
    },
  },
  {
    name: 'a layer with a window looks no further, and logits beside it stay the same',
    run: async (t) => {
      const golden = await goldenModel('gemma3');
      const { ids } = golden;
      await withEngine(t, { golden, maxTokens: 32 }, async (engine) => {
        const [sliding, full, logits] = await Promise.all([
          engine.attentionPattern(ids, { layer: 1 }),
          engine.attentionPattern(ids, { layer: 2, head: 3 }),
          engine.logits(ids),
        ]);
        checkRows(sliding, ids.length, 15);
        checkRows(full, ids.length, Infinity);
        const error = largestDifference(logits, golden.logits);
        assert(error < 1e-3, `logits are off by ${error}`);
      });
    },
  },
  {
    name: 'patterns that there are not are refused in a sentence',
    run: async (t) => {
      const golden = await goldenModel('llama3');
      await withEngine(t, { golden, attention: 'naive' }, async (engine) => {
        assertEqual(
          await rejection(engine.attentionPattern([1, 2], { layer: 0 })),
          'Naive attention keeps no lse, from which attention weights are computed. Choose paged attention.',
        );
      });
      if (t.platform !== 'node') return;
      await withEngine(t, { golden }, async (engine) => {
        const ask = (tokens: readonly number[], layer: number, head?: number): Promise<string> =>
          rejection(engine.attentionPattern(tokens, { layer, head }));
        assertEqual(await ask([1], 2), 'The model has no layer 2, only 0 to 1.');
        assertEqual(await ask([1], 0, 4), 'The model has no head 4, only 0 to 3.');
        assertEqual(await ask([], 0), 'A prompt has one token at least.');
        const long = Array.from({ length: 129 }, () => 1);
        assertEqual(await ask(long, 0), 'The prompt has 129 tokens, and the context is 128.');
      });
    },
  },
];
