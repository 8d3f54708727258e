import { openModel } from '../../demo/engine/model/openModel.js';
import { Engine } from '../../demo/engine/serving/engine.js';
import type { EngineOptions } from '../../demo/engine/serving/engineOptions.js';
import { assert, assertEqual, type GpuCase, type GpuTest } from '../platforms/gpuCase.js';
import { goldenModel } from './inlinedModels.js';
import { MemoryFiles } from './memoryFiles.js';
import { refusal, rejection } from './refusals.js';

async function newEngine(t: GpuTest, options: Partial<EngineOptions> = {}): Promise<Engine> {
  const { filesOfGolden } = await goldenModel('llama3');
  const model = await openModel(filesOfGolden);
  const shape = { weights: 'f32', kvType: 'f32', context: 128, maxTokens: 64 } as const;
  return Engine.create(await t.device('full'), { model, ...shape, ...options });
}

/** What an engine saves of a prompt that it has computed. */
async function savedBy(engine: Engine, tokens: readonly number[]): Promise<Uint8Array<ArrayBuffer>> {
  await engine.generate({ tokens, maxNewTokens: 1, stopIds: [] }).done();
  return bytesOf(engine.save(tokens));
}

async function bytesOf(stream: ReadableStream<Uint8Array<ArrayBuffer>>): Promise<Uint8Array<ArrayBuffer>> {
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

const DESTROYED = 'The engine was destroyed.';
const NAIVE = 'Naive attention has no pages that could be saved or restored.';

export const cases: GpuCase[] = [
  {
    name: 'a conversation that was saved goes on in another engine, and only what is new is computed',
    run: async (t) => {
      const { ids, greedy } = await goldenModel('llama3');
      const first = await newEngine(t);
      const answer = await first.generate({ tokens: ids, maxNewTokens: greedy.length, stopIds: [] }).done();
      assertEqual(answer, greedy, 'the answer');
      const said = [...ids, ...answer];
      const next = [...said, 3, 1, 4, 1, 5];
      // While another answer is on its way, whose steps go on.
      const other = first.generate({ tokens: ids.slice(9, 30), maxNewTokens: 30, stopIds: [] });
      const file = await bytesOf(first.save(said));
      assertEqual((await other.done()).length, 30, 'tokens of the other answer');
      assertEqual(first.usage().nUsed, 0, 'pages in use once all is saved');
      const undisturbed = await first.generate({ tokens: next, maxNewTokens: 12, stopIds: [] }).done();
      await first.destroy();

      const second = await newEngine(t);
      const beside = second.generate({ tokens: ids.slice(9, 30), maxNewTokens: 30, stopIds: [] });
      assertEqual(
        await second.restore(new Blob([file])),
        80,
        'tokens that are found: five whole pages of 94',
      );
      assertEqual(await beside.done(), await other.done(), 'tokens of what was on its way');
      assertEqual(second.usage().nUsed, 0, 'pages in use');
      const before = second.stats.nPrefill;
      const again = await second.generate({ tokens: next, maxNewTokens: 12, stopIds: [] }).done();
      assertEqual(again, undisturbed, 'the next answer');
      assertEqual(second.stats.nPrefill - before, next.length - 80, 'tokens that were computed');
      await second.destroy();
    },
  },
  {
    name: 'what was saved otherwise, or is damaged, is refused, and changes nothing',
    run: async (t) => {
      const { filesOfGolden, ids } = await goldenModel('llama3');
      const engine = await newEngine(t);
      const file = await savedBy(engine, ids);
      const damaged = file.slice();
      damaged[damaged.length - 1000]! ^= 1;
      const isDamaged = await rejection(engine.restore(new Blob([damaged])));
      assert(isDamaged.includes('damaged'), isDamaged);
      const isCut = await rejection(engine.restore(new Blob([file.subarray(0, file.length - 5)])));
      assert(isCut.startsWith('PagedKvCache.readSaved: source'), isCut);
      await engine.destroy();

      const fingerprint = /^PagedKvCache\.readSaved: .*fingerprint/;
      const others: Partial<EngineOptions>[] = [{ weights: 'f16' }, { context: 96 }];
      // Of the same name and config, with one weight that differs.
      const weights = (await filesOfGolden.read(
        'model.safetensors',
        0,
        (await filesOfGolden.size('model.safetensors'))!,
      )) as Uint8Array<ArrayBuffer>;
      weights[weights.length - 2]! ^= 1;
      const changed = new MemoryFiles({
        'config.json': (await filesOfGolden.text('config.json'))!,
        'model.safetensors': weights,
      });
      const model = await openModel(changed);
      others.push({ model: { ...model, name: filesOfGolden.name } });
      for (const options of t.platform === 'node' ? others : others.slice(-1)) {
        const other = await newEngine(t, options);
        const message = await rejection(other.restore(new Blob([file])));
        assert(fingerprint.test(message), message);
        assertEqual(other.usage().nCached, 0, 'pages that can be found');
        await other.destroy();
      }
    },
  },
  {
    name: 'what is not there, or has no room, is 0 tokens; an engine that has ended says so',
    run: async (t) => {
      const { ids } = await goldenModel('llama3');
      const engine = await newEngine(t, { nPages: 6 });
      assertEqual(await engine.restore(new Blob([await bytesOf(engine.save(ids))])), 0, 'never computed');
      const file = await savedBy(engine, ids);
      assertEqual(await engine.restore(new Blob([file])), 64, 'what is there already');
      // A stream that nobody reads holds four pages.
      const held = engine.save(ids);
      await engine.logits([1]);
      assertEqual(engine.usage().nUsed, 4, 'pages that are held');
      await held.cancel();
      await engine.logits([1]);
      assertEqual(engine.usage().nUsed, 0, 'pages that are held after all');
      const others = ids.map((id) => (id + 1) % 256);
      const taken = engine.generate({ tokens: others, maxNewTokens: 20, stopIds: [] });
      await taken[Symbol.asyncIterator]().next();
      assertEqual(await engine.restore(new Blob([file])), 0, 'beside an answer that takes five of six pages');
      assertEqual((await taken.done()).length, 20, 'tokens of that answer');

      const saving = rejection(engine.save(ids).getReader().read());
      const restoring = rejection(engine.restore(new Blob([file])));
      const ended = engine.destroy();
      assertEqual(await saving, DESTROYED, 'a save on its way');
      assertEqual(await restoring, DESTROYED, 'a restore on its way');
      await ended;
      assertEqual(
        refusal(() => engine.save(ids)),
        DESTROYED,
        'to save',
      );
      assertEqual(await rejection(engine.restore(new Blob([file]))), DESTROYED, 'to restore');
    },
  },
  {
    name: 'naive attention says that it cannot',
    run: async (t) => {
      const { ids } = await goldenModel('llama3');
      const naive = await newEngine(t, { attention: 'naive' });
      assertEqual(
        refusal(() => naive.save(ids)),
        NAIVE,
        'to save',
      );
      assertEqual(await rejection(naive.restore(new Blob([]))), NAIVE, 'to restore');
      await naive.destroy();
    },
  },
];
