import { openModel } from '../../demo/engine/model/openModel.js';
import { Engine } from '../../demo/engine/serving/engine.js';
import type { EngineOptions } from '../../demo/engine/serving/engineOptions.js';
import { assert, assertEqual, type GpuCase, type GpuTest } from '../platforms/gpuCase.js';
import { goldenModel } from './inlinedModels.js';

/** An engine on a tiny model, for as long as `use` takes, and the golden prompt. */
async function withEngine(
  t: GpuTest,
  options: Partial<EngineOptions>,
  use: (engine: Engine, ids: readonly number[], greedy: readonly number[]) => Promise<void>,
): Promise<void> {
  const { filesOfGolden: files, ids, greedy } = await goldenModel('llama3');
  const device = await t.device('full');
  const engine = await Engine.create(device, {
    model: await openModel(files),
    weights: 'f32',
    kvType: 'f32',
    context: 128,
    ...options,
  });
  try {
    await use(engine, ids, greedy);
    assertEqual(engine.usage().nUsed, 0, 'pages in use after all');
  } finally {
    await engine.destroy();
  }
}

const SAMPLED = { temperature: 1, topK: 40, topP: 0.95, repetitionPenalty: 1.2, seed: 7 };

export const cases: GpuCase[] = [
  {
    name: 'prompts have the same tokens alone and in a batch, with drafts and without',
    run: async (t) => {
      const alone: (readonly number[])[] = [];
      for (const nDrafts of [0, 3])
        await withEngine(t, { nDrafts, nSequences: 6, maxTokens: 64 }, async (engine, ids) => {
          const ask = (i: number) =>
            engine.generate({
              tokens: ids.slice(0, 10 * (i + 1)),
              maxNewTokens: 20,
              stopIds: [],
              sampling: i % 2 === 0 ? {} : SAMPLED,
            });
          if (nDrafts === 0) for (let i = 0; i < 6; i++) alone.push(await ask(i).done());
          const together = Array.from({ length: 6 }, (_, i) => ask(i));
          for (const [i, generation] of together.entries())
            assertEqual(await generation.done(), alone[i]!, `answer ${i} in a batch with ${nDrafts} drafts`);
        });
    },
  },
  ...(['swap', 'recompute'] as const).map((preempt): GpuCase => ({
    name: `sequences that give way to others have the same tokens: ${preempt}`,
    run: async (t) => {
      // Each of five sequences needs up to six of the twelve pages.
      await withEngine(t, { preempt, nPages: 12, nSequences: 5 }, async (engine, ids, greedy) => {
        const all = Array.from({ length: 5 }, () =>
          engine.generate({ tokens: ids, maxNewTokens: greedy.length, stopIds: [] }),
        );
        const others = Array.from({ length: 3 }, (_, i) =>
          engine.generate({ tokens: ids.slice(i + 1), maxNewTokens: 20, stopIds: [] }),
        );
        for (const generation of all) assertEqual(await generation.done(), greedy, 'tokens');
        for (const other of others) assertEqual((await other.done()).length, 20, 'tokens of others');
      });
    },
  })),
  {
    name: 'a prompt that begins like an earlier one is found in the cache',
    run: (t) =>
      withEngine(t, {}, async (engine, ids, greedy) => {
        await engine.generate({ tokens: ids, maxNewTokens: 4, stopIds: [] }).done();
        const before = engine.stats.nPrefill;
        const again = engine.generate({ tokens: ids, maxNewTokens: greedy.length, stopIds: [] });
        assertEqual(await again.done(), greedy, 'tokens');
        assertEqual(engine.stats.nPrefill - before, 6, 'tokens computed again: 64 of 70 fill pages');
      }),
  },
  {
    name: 'a fork goes on from the same tokens, and a cancelled answer leaves nothing',
    run: async (t) => {
      for (const nDrafts of [0, 4])
        await withEngine(t, { nDrafts }, async (engine, ids, greedy) => {
          const generation = engine.generate({ tokens: ids, maxNewTokens: greedy.length, stopIds: [] });
          const cancelled = engine.generate({ tokens: ids.slice(0, 40), stopIds: [] });
          let forked;
          for await (const _ of generation)
            if (generation.tokens.length >= 5 && !forked) forked = await engine.fork(generation, {});
          assertEqual(generation.tokens, greedy, 'tokens');
          assertEqual(await forked!.done(), greedy, 'tokens of the fork');
          cancelled.cancel();
          assertEqual(cancelled.end, 'cancelled', 'the end');
          // A step that was on its way is taken note of.
          await engine.logits([1]);
        });
    },
  },
  {
    name: 'an answer ends at a stop token',
    run: (t) =>
      withEngine(t, {}, async (engine, ids, greedy) => {
        const stop = greedy[7]!;
        const first = greedy.indexOf(stop);
        const generation = engine.generate({ tokens: ids, maxNewTokens: 24, stopIds: [stop] });
        assertEqual(await generation.done(), greedy.slice(0, first), 'tokens');
        assertEqual(generation.end, 'stop', 'the end');
      }),
  },
  {
    name: 'naive attention gives the same tokens',
    run: async (t) => {
      for (const family of ['llama3', 'gemma3'] as const) {
        const { filesOfGolden: files, ids, greedy } = await goldenModel(family);
        const model = await openModel(files);
        const options = { attention: 'naive', model, maxTokens: 32, nSequences: 3 } as const;
        await withEngine(t, options, async (engine) => {
          const all = [ids, ids.slice(7), ids].map((tokens) =>
            engine.generate({ tokens, maxNewTokens: 24, stopIds: [] }),
          );
          assertEqual(await all[0]!.done(), greedy, `tokens of ${family}`);
          assertEqual(await all[2]!.done(), greedy, `tokens of ${family} again`);
          assertEqual((await all[1]!.done()).length, 24, 'tokens of another prompt');
          const next = engine.generate({ tokens: ids, maxNewTokens: 24, stopIds: [] });
          assertEqual(await next.done(), greedy, `tokens of ${family} in a slot that was used`);
        });
      }
    },
  },
  {
    name: 'what cannot be done is refused in a sentence',
    run: (t) =>
      withEngine(t, { nPages: 4 }, async (engine, ids) => {
        const refusal = (act: () => unknown): string => {
          try {
            act();
          } catch (error) {
            return (error as Error).message;
          }
          return '';
        };
        const tokens = ids.slice(0, 20);
        assertEqual(
          refusal(() => engine.generate({ tokens, maxNewTokens: 200 })),
          'The prompt has 20 tokens and the context 128, so 108 can follow, not 200.',
        );
        assertEqual(
          refusal(() => engine.generate({ tokens, maxNewTokens: 60 })),
          'The prompt and its answer need 5 pages of the cache, which has 4.',
        );
        assertEqual(
          refusal(() => engine.generate({ tokens: [257], maxNewTokens: 1 })),
          'The model has no token 257, only 0 to 256.',
        );
        const wrong = refusal(() => engine.generate({ tokens, maxNewTokens: 1, sampling: { topP: 2 } }));
        assert(wrong.startsWith('topP must be'), wrong);
      }),
  },
];
