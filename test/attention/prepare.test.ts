import { describe, expect, test } from 'vitest';
import {
  attn,
  attnVariants,
  attnWeights,
  createBlockMask,
  createRuntime,
  prepareModel,
} from '../../src/index.js';
import { attnVarlen } from '../../src/attention/attnVarlen.js';
import { attnWithKvCache } from '../../src/attention/attnWithKvCache.js';
import type { PrepareProgress } from '../../src/runtime/runtimeOptions.js';
import type { Runtime } from '../../src/runtime/runtime.js';
import { declarationOf } from '../../src/wgsl/module.js';
import { BROKEN_KERNEL } from '../runtime/brokenKernel.js';
import { fakeTensor } from '../runtime/fakeDevice.js';
import { rejection } from '../check/refusal.js';

import { compilingDevice, MODEL } from './compilingDevice.js';

const SMALL = { headDim: 32, dtype: 'f32', group: 2, newDType: 'f32' } as const;

function smallVariants(runtime: Runtime) {
  return attnVariants(runtime, SMALL);
}

describe('prepare', () => {
  test('compiles one variant a turn of the event loop, and none before it returns', async () => {
    const { device, modules, turns, onTheSpot, counting } = compilingDevice();
    const runtime = createRuntime(device);
    const variants = smallVariants(runtime);
    const prepared = runtime.prepare([...variants, ...variants]);
    expect(modules).toEqual([]);
    await counting(prepared);
    expect(modules.length).toBe(variants.length);
    expect(new Set(modules).size).toBe(modules.length);
    expect(new Set(turns).size).toBe(turns.length);
    expect(onTheSpot).toEqual([]);
    await runtime.prepare(variants);
    expect(modules.length).toBe(variants.length);
  });

  test('reports how many are ready, including those compiled before', async () => {
    const { device } = compilingDevice();
    const runtime = createRuntime(device);
    const variants = smallVariants(runtime).slice(0, 4);
    await runtime.prepare(variants.slice(0, 2));
    const seen: PrepareProgress[] = [];
    await runtime.prepare(variants, { onProgress: (progress) => seen.push(progress) });
    expect(seen).toEqual([1, 2, 3, 4].map((done) => ({ done, total: 4 })));
  });

  test('a call that cannot wait compiles its kernel itself, and only that', async () => {
    const { device, modules, onTheSpot } = compilingDevice();
    const runtime = createRuntime(device);
    const variants = smallVariants(runtime);
    const prepared = runtime.prepare(variants);
    const q = fakeTensor('f32', [30, 2, 32]);
    const k = fakeTensor('f32', [30, 1, 32]);
    attnVarlen(runtime, { q, k, v: fakeTensor('f32', k.shape), cuSeqlensQ: [0, 30], cuSeqlensK: [0, 30] });
    expect(onTheSpot).toEqual(modules);
    expect(onTheSpot.length).toBe(1);
    await prepared;
    expect(modules.length).toBe(variants.length);
  });

  test('two at once compile nothing twice', async () => {
    const { device, modules } = compilingDevice();
    const runtime = createRuntime(device);
    const variants = smallVariants(runtime);
    await Promise.all([runtime.prepare(variants), runtime.prepare(variants.toReversed())]);
    expect(modules.length).toBe(variants.length);
  });

  test('a signal stops it before the next kernel', async () => {
    const { device, modules } = compilingDevice();
    const runtime = createRuntime(device);
    const stop = new AbortController();
    const onProgress = ({ done }: PrepareProgress): void => {
      if (done === 2) stop.abort();
    };
    const prepared = runtime.prepare(smallVariants(runtime), { signal: stop.signal, onProgress });
    expect(await prepared.catch((reason: unknown) => reason)).toBe(stop.signal.reason);
    const n = modules.length;
    expect(n).toBeLessThan(5);
    await new Promise((resolve) => setTimeout(resolve, 20));
    expect(modules.length).toBe(n);
    await expect(runtime.prepare([], { signal: stop.signal })).rejects.toBe(stop.signal.reason);
    await runtime.prepare(smallVariants(runtime));
  });

  test.each([
    {
      how: 'the runtime is destroyed',
      end: (runtime: Runtime) => runtime.destroy(),
      reason: 'it was destroyed',
    },
    {
      how: 'the device is lost',
      end: (_: Runtime, { lose }: ReturnType<typeof compilingDevice>) => lose('a test'),
      reason: 'the device was lost (unknown): a test',
    },
  ])('rejects when $how midway, and compiles no more', async ({ end, reason }) => {
    const compiling = compilingDevice();
    const { device, modules } = compiling;
    const runtime = createRuntime(device);
    const onProgress = ({ done }: PrepareProgress): void => {
      if (done === 2) end(runtime, compiling);
    };
    for (const prepared of [
      runtime.prepare(smallVariants(runtime), { onProgress, warmUp: true }),
      prepareModel(runtime, { ...MODEL, maxTokens: 4 }),
    ]) {
      expect(await rejection(prepared)).toMatch(
        new RegExp(`^device: (prepare|prepareModel): .* since ${reason.replaceAll(/[()]/g, '\\$&')}\\.$`),
      );
    }
    const n = modules.length;
    await new Promise((resolve) => setTimeout(resolve, 20));
    expect(modules.length).toBe(n);
  });

  test('a kernel that is refused does not keep the others from being compiled', async () => {
    const { device, modules } = compilingDevice();
    const refusing = Object.assign(Object.create(device) as GPUDevice, {
      createComputePipelineAsync: (descriptor: GPUComputePipelineDescriptor) =>
        descriptor.label!.startsWith('broken')
          ? Promise.reject(new Error('no such number'))
          : device.createComputePipelineAsync(descriptor),
    });
    const runtime = createRuntime(refusing);
    const variants = [{ kernel: BROKEN_KERNEL, spec: {} }, ...smallVariants(runtime)];
    let done = 0;
    expect(await rejection(runtime.prepare(variants, { onProgress: () => done++ }))).toBe(
      'compile: The device refused the pipeline of broken{}: no such number',
    );
    expect(done).toBe(variants.length - 1);
    expect(modules.length).toBe(variants.length);
  });

  test('warm-up runs each kernel once, on nothing that is not its own', async () => {
    const { device, touched, violations, live } = compilingDevice();
    const runtime = createRuntime(device);
    const variants = smallVariants(runtime);
    await runtime.prepare(variants, { warmUp: true });
    expect(touched.dispatches).toBe(variants.length);
    expect(violations).toEqual([]);
    runtime.destroy();
    expect(live.size).toBe(0);
  });

  test('an error of onProgress rejects the promise', async () => {
    const runtime = createRuntime(compilingDevice().device);
    const onProgress = (): never => {
      throw new RangeError('mine');
    };
    await expect(runtime.prepare(smallVariants(runtime), { onProgress })).rejects.toThrow('mine');
  });

  test('refuses options that it does not have', async () => {
    const runtime = createRuntime(compilingDevice().device);
    const wrong = (options: unknown) => rejection(runtime.prepare([], options as never));
    expect([
      await wrong(null),
      await wrong({ progress: () => {} }),
      await wrong({ onProgress: true }),
      await wrong({ signal: new AbortController() }),
      await wrong({ warmUp: 1 }),
    ]).toMatchInlineSnapshot(`
      [
        "argument: prepare: the arguments must be one object, not null.",
        "argument: prepare: there is no argument progress. There are onProgress, signal, warmUp.",
        "argument: prepare: onProgress must be a function, not true.",
        "argument: prepare: signal must be an AbortSignal, not a AbortController.",
        "argument: prepare: warmUp must be true or false, not 1.",
      ]
    `);
  });
});

/** What options of variants are by default. */
const NONE = { rotary: false, softcap: false, alibi: false };

describe('attnVariants', () => {
  test.each([
    { group: 2, nTokens: [1, 2, 3, 4, 5, 8, 9, 16, 17, 30] },
    { group: 5, nTokens: [1, 2, 3, 4, 5, 30] },
    { group: 32, nTokens: [1, 2, 30] },
    { group: 2, decodeTokens: 2, nTokens: [1, 2, 30] },
    { group: undefined, nTokens: [17, 30] },
  ])('of group $group are all that so many tokens need: $nTokens', async ({ nTokens, ...few }) => {
    const { device, onTheSpot } = compilingDevice();
    const runtime = createRuntime(device);
    const variants = attnVariants(runtime, { headDim: 32, dtype: 'f32', ...few });
    await runtime.prepare(variants);
    const { group = 1 } = few;
    for (const n of nTokens) {
      for (const cacheSeqlens of [40, 4000]) {
        const cache = fakeTensor('f32', [1, 4096, 2, 32]);
        const q = fakeTensor('f32', [1, n, 2 * group, 32]);
        attnWithKvCache(runtime, { q, kCache: cache, vCache: cache, cacheSeqlens, causal: true });
      }
    }
    expect(onTheSpot).toEqual([]);
  });

  test.each([
    { group: 3, paged: true },
    { group: 1, paged: false, softcap: true, alibi: true },
    { group: 8, paged: true, rotary: true, newDType: 'f32' },
  ] as const)('with weights are those of attnWeights: $group', async (options) => {
    const { device, onTheSpot } = compilingDevice();
    const runtime = createRuntime(device);
    const { group, paged, rotary, softcap, alibi } = { ...NONE, ...options };
    await runtime.prepare(attnVariants(runtime, { headDim: 32, dtype: 'f32', weights: true, ...options }));
    const angles = new Float32Array(16 * 50);
    const given = {
      q: fakeTensor('f32', [1, 2, 2 * group, 32]),
      kCache: fakeTensor('f32', paged ? [4, 16, 2, 32] : [1, 64, 2, 32]),
      ...(paged && { blockTable: [0, 1, 2, 3] }),
      ...(rotary && { rotaryCos: angles, rotarySin: angles }),
      ...(softcap && { softcap: 20 }),
      ...(alibi && { alibiSlopes: fakeTensor('f32', [2 * group]) }),
    };
    const lse = fakeTensor('f32', [1, 2 * group, 2]);
    for (const cacheSeqlens of [[40], fakeTensor('i32', [1])])
      attnWeights(runtime, { ...given, cacheSeqlens, causal: true, lse, rows: [1, 0] });
    expect(onTheSpot).toEqual([]);
  });

  test('with blockMask and maskMod have what lists the blocks', async () => {
    const { device, onTheSpot } = compilingDevice();
    const runtime = createRuntime(device);
    const code = 'fn mask_mod(b: u32, h: u32, q: i32, k: i32) -> bool { return q >= k; }';
    const mods = {
      maskMod: { name: 'earlier', code },
      scoreMod: {
        name: 'same',
        code: 'fn score_mod(score: f32, b: u32, h: u32, q: i32, k: i32) -> f32 { return score; }',
      },
    };
    await runtime.prepare(attnVariants(runtime, { headDim: 32, dtype: 'f32', blockMask: true, ...mods }));
    const x = fakeTensor('f32', [1, 300, 2, 32]);
    const blockMask = createBlockMask(runtime, { maskMod: mods.maskMod, seqlenQ: 300, seqlenK: 300 });
    attn(runtime, { q: x, k: x, v: x, blockMask, ...mods });
    expect(onTheSpot).toEqual([]);
  });

  test('with weights need a group', () => {
    const runtime = createRuntime(compilingDevice().device);
    expect(() =>
      attnVariants(runtime, { headDim: 32, dtype: 'f32', weights: true }),
    ).toThrowErrorMatchingInlineSnapshot(
      `[PageflashError: attnVariants: weights needs group, the number of query heads per kv head.]`,
    );
  });

  test('without a group are those of many rows', () => {
    const runtime = createRuntime(compilingDevice().device);
    const kernels = attnVariants(runtime, { headDim: 32, dtype: 'f32' }).map(({ kernel }) => kernel.name);
    expect(kernels.toSorted()).toEqual([
      'attn_prefill',
      'attn_prefill',
      'gather_heads',
      'gather_lengths',
      'merge_states',
    ]);
  });

  test('set every name that their kernels ask for, and no other', () => {
    const runtime = createRuntime(compilingDevice().device);
    for (const { kernel, spec } of attnVariants(runtime, { ...SMALL, rotary: true, paged: true })) {
      const asked = new Set<string>();
      // Names of conditions and constants are in capitals, and so are the kernels' own constants.
      const declared = (name: string) => declarationOf(kernel.modules, name) !== '';
      for (const text of kernel.modules) {
        for (const [mark] of text.matchAll(/\?[^{]+\{|#\w+<\w+\{|#\w+[^;]+;|\$[A-Z]\w+/g))
          for (const name of mark.match(/\b[A-Z][A-Z\d_]+\b/g) ?? []) if (!declared(name)) asked.add(name);
      }
      expect([...asked].toSorted(), kernel.name).toEqual(Object.keys(spec).toSorted());
    }
  });
});
