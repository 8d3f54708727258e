import { PagedKvCache } from '../../src/cache/pagedKvCache.js';
import { attnVariants, attnVarlen, createRuntime, planAttnVarlen } from '../../src/index.js';
import type { GpuCase } from '../platforms/gpuCase.js';
import { refusal, rejection } from '../check/refusal.js';
import { TwoChats } from './twoChats.js';
import { draw, place } from '../attention/varlenCase.js';
import { assertFine, assertRefused, CACHE, SMALL } from './faultCase.js';

export const cases: GpuCase[] = [
  {
    name: 'all that is pending on a device that is destroyed rejects with the reason',
    run: async (t) => {
      const device = await t.ownDevice();
      const runtime = createRuntime(device, { profile: device.features.has('timestamp-query') });
      const cache = await PagedKvCache.create(runtime, CACHE);
      const { args } = place(device, SMALL, draw(SMALL));
      for (let i = 0; i < 10; i++) attnVarlen(runtime, args);
      const pending = Object.entries({
        done: runtime.done(),
        'PagedKvCache.readPages': cache.readPages([0, 5]),
        prepare: runtime.prepare(attnVariants(runtime, { headDim: 32, dtype: 'f16' })),
        'PagedKvCache.create': PagedKvCache.create(runtime, CACHE),
        ...(device.features.has('timestamp-query') && { takeProfile: runtime.takeProfile() }),
      }).map(([caller, promise]) => ({ caller, sentence: rejection(promise as Promise<unknown>) }));
      device.destroy();
      for (const { caller, sentence } of pending)
        assertRefused(await sentence, 'device', `${caller}: `, 'lost (destroyed)');
      assertRefused(
        refusal(() => attnVarlen(runtime, args)),
        'device',
        'attnVarlen: ',
        'lost (destroyed)',
      );
      for (const call of [
        () => runtime.done(),
        () => runtime.prepare([]),
        () => cache.readPages([0]),
        () => PagedKvCache.create(runtime, CACHE),
      ])
        assertRefused(await rejection(call()), 'device', 'lost (destroyed)');
      for (const call of [
        () => runtime.createTensor([1], 'f32'),
        () => planAttnVarlen(runtime, args),
        () => cache.copyPages([[0, 1]]),
        () => cache.writePages([], []),
        () => cache.layer(0),
      ])
        assertRefused(refusal(call), 'device', 'lost (destroyed)');
      runtime.destroy();
      cache.destroy();
    },
  },
  {
    name: 'a device is destroyed while a pass is being recorded, with a call and with a plan',
    run: async (t) => {
      const device = await t.ownDevice();
      const runtime = createRuntime(device);
      const { args } = place(device, SMALL, draw(SMALL));
      const out = runtime.createTensor(args.q.shape, 'f32');
      const plan = planAttnVarlen(runtime, args);
      const encoder = device.createCommandEncoder();
      const pass = encoder.beginComputePass();
      attnVarlen(runtime, { ...args, out, pass });
      plan.record({ out, pass });
      device.destroy();
      // The loss is not reported yet, so work until then is lost without an error.
      attnVarlen(runtime, { ...args, out, pass });
      plan.record({ out, pass });
      pass.end();
      device.queue.submit([encoder.finish()]);
      assertRefused(await rejection(runtime.done()), 'device', 'lost (destroyed)');
      assertRefused(
        refusal(() => plan.record({ out })),
        'device',
        'planAttnVarlen.record: ',
        'lost (destroyed)',
      );
      assertRefused(
        refusal(() => plan.update({ causal: true })),
        'device',
        'planAttnVarlen.update: ',
        'lost (destroyed)',
      );
      plan.destroy();
      runtime.destroy();
    },
  },
  {
    name: 'all that is pending on a runtime that is destroyed rejects',
    run: async (t) => {
      const device = await t.ownDevice();
      const runtime = createRuntime(device);
      const { args } = place(device, SMALL, draw(SMALL));
      attnVarlen(runtime, args);
      const pending = rejection(runtime.done());
      runtime.destroy();
      assertRefused(await pending, 'device', 'done: ', 'since it was destroyed.');
      await assertFine(createRuntime(device));
      device.destroy();
    },
  },
  {
    name: 'after a loss, block tables and swapped-out pages go on with a new device, bit for bit',
    run: async (t) => {
      const chats = new TwoChats();
      const device = await t.ownDevice();
      await chats.begin(device);
      device.destroy();
      const next = await t.ownDevice();
      await chats.goOn(next);
      next.destroy();
    },
  },
];
