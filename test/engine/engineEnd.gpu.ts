import { openModel } from '../../demo/engine/model/openModel.js';
import { Engine } from '../../demo/engine/serving/engine.js';
import { settingsOf, type EngineOptions } from '../../demo/engine/serving/engineOptions.js';
import { checkMemory } from '../../demo/engine/serving/memory.js';
import { assert, assertEqual, type GpuCase, type GpuTest } from '../platforms/gpuCase.js';
import { goldenModel, shippedModel } from './inlinedModels.js';
import { takeMemory, withoutMemoryFor, withOwnBuffers } from './ownBuffers.js';
import { refusal, rejection } from './refusals.js';

const DESTROYED = 'The engine was destroyed.';

async function optionsOf(): Promise<EngineOptions & { readonly ids: readonly number[] }> {
  const { files, ids } = await goldenModel('llama3');
  return { model: await openModel(files), context: 128, maxTokens: 32, ids };
}

/** Elsewhere than in Node, where kernels compile slowly, those of naive attention will do. */
function attentionOn({ platform }: GpuTest): 'paged' | 'naive' {
  return platform === 'node' ? 'paged' : 'naive';
}

/** A device of the case's own, and what it reports that nothing has caught. */
async function loggedDevice(t: GpuTest): Promise<{ readonly device: GPUDevice; readonly errors: string[] }> {
  const device = await t.ownDevice('full');
  const errors: string[] = [];
  device.addEventListener('uncapturederror', ({ error }) => errors.push(error.message));
  return { device, errors };
}

export const cases: GpuCase[] = [
  {
    name: 'an engine that is destroyed while a step is on its way ends cleanly',
    run: async (t) => {
      // An error that nothing catches on this device fails the case.
      const device = await t.device('full');
      const { ids, ...options } = await optionsOf();
      const whens = [
        { nDrafts: 0, nTokens: 2 },
        { nDrafts: 3, nTokens: 2 },
        { nDrafts: 0, nTokens: 0 },
      ];
      for (const { nDrafts, nTokens } of t.platform === 'node' ? whens : whens.slice(0, 1)) {
        const engine = await Engine.create(device, { ...options, nDrafts });
        const generation = engine.generate({ tokens: ids.slice(0, 20), stopIds: [] });
        const other = engine.generate({ tokens: ids.slice(5, 40), stopIds: [] });
        const tokens = generation[Symbol.asyncIterator]();
        for (let i = 0; i < nTokens; i++) await tokens.next();
        const fork = rejection(engine.fork(generation, {}));
        const logits = rejection(engine.logits(ids));
        device.pushErrorScope('validation');
        const ended = engine.destroy();
        assertEqual(generation.end, 'cancelled', 'the end');
        assertEqual(other.end, 'cancelled', 'the end of the other');
        assertEqual((await generation.done()).length >= nTokens, true, 'tokens are kept');
        assertEqual(await fork, DESTROYED, 'a fork');
        assertEqual(await logits, DESTROYED, 'logits');
        assert(engine.destroy() === ended, 'a second call destroyed it again');
        await ended;
        await device.queue.onSubmittedWorkDone();
        assertEqual((await device.popErrorScope())?.message, undefined, 'error');
        assertEqual(
          refusal(() => engine.generate({ tokens: [1] })),
          DESTROYED,
          'a prompt',
        );
        assertEqual(await rejection(engine.logits([1])), DESTROYED, 'logits afterwards');
        assertEqual(await rejection(engine.fork(generation, {})), DESTROYED, 'a fork afterwards');
        assertEqual(engine.usage().nUsed, 0, 'pages in use');
      }
    },
  },
  {
    name: 'an engine whose device is lost says so, then and later',
    run: async (t) => {
      const { device, errors } = await loggedDevice(t);
      const { ids, ...options } = await optionsOf();
      const engine = await Engine.create(device, { ...options, attention: attentionOn(t) });
      const generation = engine.generate({ tokens: ids.slice(0, 20), stopIds: [] });
      await generation[Symbol.asyncIterator]().next();
      const logits = rejection(engine.logits(ids));
      device.destroy();
      const why = /^(The GPU is lost|A step has failed), and the engine with it: /;
      const message = await rejection(generation.done());
      assert(why.test(message), message);
      assertEqual(await logits, message, 'logits');
      assertEqual(generation.end, 'failed', 'the end');
      assertEqual(
        refusal(() => engine.generate({ tokens: [1] })),
        message,
        'a prompt',
      );
      await engine.destroy();
      assertEqual(errors, [], 'errors');
    },
  },
  {
    name: 'a step that there is no memory for ends the engine, which says why',
    run: async (t) => {
      const { device, errors } = await loggedDevice(t);
      await takeMemory(device);
      const { ids, ...options } = await optionsOf();
      const full = withoutMemoryFor(device, 'token staging');
      const engine = await Engine.create(full, { ...options, attention: attentionOn(t) });
      const generation = engine.generate({ tokens: ids.slice(0, 20), stopIds: [] });
      const message = await rejection(generation.done());
      const why =
        'A step has failed, and the engine with it: The GPU has no memory for a buffer of 16 bytes (token staging): ';
      assert(message.startsWith(why), message);
      assertEqual(
        refusal(() => engine.generate({ tokens: [1] })),
        message,
        'a prompt',
      );
      assertEqual(await rejection(engine.fork(generation, {})), message, 'a fork');
      await engine.destroy();
      assertEqual(errors, [], 'errors');
    },
  },
  {
    name: 'weights that there is no memory for are told, and what was loaded is freed',
    run: async (t) => {
      const { device, errors } = await loggedDevice(t);
      await takeMemory(device);
      const { model } = await optionsOf();
      const message = await rejection(Engine.create(withoutMemoryFor(device, 'layer 1 gateUp'), { model }));
      assert(/^The GPU has no memory for a buffer of .* \(layer 1 gateUp\): /.test(message), message);
      const stopped = AbortSignal.abort();
      const aborted = await rejection(Engine.create(device, { model, signal: stopped }));
      assert(aborted.includes('abort'), aborted);
      assertEqual(errors, [], 'errors');
    },
  },
  {
    name: 'what an engine takes of memory is what was said before',
    run: async (t) => {
      const { device } = await loggedDevice(t);
      let bytes = 0;
      const counting = withOwnBuffers(device, (descriptor) => {
        bytes += descriptor.size;
        return device.createBuffer(descriptor);
      });
      const model = await openModel(shippedModel);
      const all = [
        { nSequences: 2, context: 256, maxTokens: 64, nDrafts: 3 },
        { nSequences: 2, context: 256, maxTokens: 64, attention: 'naive', kvType: 'f32' },
      ] as const;
      for (const options of t.platform === 'node' ? all : all.slice(1)) {
        const room = { budgetBytes: 1e12, limits: device.limits };
        const fit = checkMemory(model, settingsOf({ model, ...options }), room);
        const said = fit.weightBytes + fit.cacheBytes + fit.stepBytes;
        bytes = 0;
        const engine = await Engine.create(counting, { model, ...options });
        const tokens = Array.from({ length: 100 }, (_, i) => 5 + i);
        await engine.generate({ tokens, maxNewTokens: 3, stopIds: [] }).done();
        await engine.destroy();
        assert(Math.abs(said - bytes) < 0.03 * bytes, `${said} bytes were said, ${bytes} taken`);
        const refused = await rejection(
          Engine.create(counting, { model, ...options, budgetBytes: said - 1e5 }),
        );
        assert(/^The KV cache of .* for 2 sequences of 256 tokens takes /.test(refused), refused);
      }
    },
  },
  {
    name: 'kernels that have run once before the first prompt change nothing',
    run: async (t) => {
      const device = await t.device('full');
      const { filesOfGolden, ids, greedy } = await goldenModel('gemma2');
      const model = await openModel(filesOfGolden);
      const shape = { context: 128, maxTokens: 70, weights: 'f32', kvType: 'f32', warmUp: true } as const;
      for (const attention of t.platform === 'node' ? (['naive', 'paged'] as const) : (['naive'] as const)) {
        const engine = await Engine.create(device, { ...shape, model, attention });
        assertEqual(Object.values(engine.stats), [0, 0, 0, 0, 0], 'what it has done');
        assertEqual(engine.usage().nUsed, 0, 'pages in use');
        const answer = engine.generate({ tokens: ids, maxNewTokens: 24, stopIds: [] });
        assertEqual(await answer.done(), greedy, 'tokens');
        await engine.destroy();
      }
    },
  },
];
