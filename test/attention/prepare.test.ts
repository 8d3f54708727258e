import { describe, expect, test } from 'vitest';
import { attnVariants, createRuntime, prepareModel, type PrepareModelOptions } from '../../src/index.js';
import { attnVarlen } from '../../src/attention/attnVarlen.js';
import { attnWithKvCache } from '../../src/attention/attnWithKvCache.js';
import type { PrepareProgress } from '../../src/runtime/runtimeOptions.js';
import type { Runtime } from '../../src/runtime/runtime.js';
import { BROKEN_KERNEL } from '../runtime/brokenKernel.js';
import { fakeTensor } from '../runtime/fakeDevice.js';
import { rejection } from '../check/refusal.js';
import { strictDevice } from '../runtime/strictDevice.js';

/** A device that notes what it compiles, and in which turn of the event loop. */
function compilingDevice() {
  const strict = strictDevice();
  const { device } = strict;
  let lose: (info: GPUDeviceLostInfo) => void;
  const lost = new Promise<GPUDeviceLostInfo>((resolve) => (lose = resolve));
  const modules: string[] = [];
  const turns: number[] = [];
  const onTheSpot: string[] = [];
  let turn = 0;
  const compiling = Object.assign(Object.create(device) as GPUDevice, {
    lost,
    createShaderModule(descriptor: GPUShaderModuleDescriptor) {
      modules.push(descriptor.label!);
      turns.push(turn);
      return device.createShaderModule(descriptor);
    },
    createComputePipeline(descriptor: GPUComputePipelineDescriptor) {
      onTheSpot.push(descriptor.label!);
      return device.createComputePipeline(descriptor);
    },
  });
  return {
    ...strict,
    device: compiling,
    /** Variants, as they were linked and handed over. */
    modules,
    /** The turn of each. */
    turns,
    /** Those that a call compiled. */
    onTheSpot,
    lose: (message: string) => lose({ reason: 'unknown', message } as GPUDeviceLostInfo),
    /** Lets others have a turn now and then, and counts these. */
    async counting<T>(work: Promise<T>): Promise<T> {
      let counts = true;
      const count = (): void => {
        turn++;
        if (counts) setImmediate(count);
      };
      setImmediate(count);
      return work.finally(() => (counts = false));
    },
  };
}

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

  test('tells how many are ready, those that were before among them', async () => {
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

  test('what progress throws comes out', async () => {
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

const MODEL: PrepareModelOptions = {
  nHeads: 4,
  nKvHeads: 2,
  headDim: 32,
  dtype: 'f32',
  paged: true,
  maxTokens: 64,
  maxContext: 1024,
};

describe('prepareModel', () => {
  test('prepares in turns, with progress, and runs each once if asked to', async () => {
    const { device, modules, turns, touched, violations, counting } = compilingDevice();
    const runtime = createRuntime(device);
    const seen: PrepareProgress[] = [];
    const prepared = prepareModel(runtime, {
      ...MODEL,
      rotary: true,
      warmUp: true,
      onProgress: (progress) => seen.push(progress),
    });
    expect(modules).toEqual([]);
    await counting(prepared);
    expect(new Set(turns).size).toBe(turns.length);
    expect(seen.at(-1)).toEqual({ done: modules.length, total: modules.length });
    expect(seen.length).toBe(modules.length);
    expect(touched.dispatches).toBe(modules.length);
    expect(violations).toEqual([]);
  });

  test('takes a whole shape of a model, and its options', async () => {
    const { device, modules } = compilingDevice();
    const layers = { nLayers: 2, hiddenSize: 128, feedForwardSize: 256, vocabSize: 100 };
    await prepareModel(createRuntime(device), { ...layers, ...MODEL });
    expect(modules.map((name) => name.split('{')[0])).toEqual([
      'append_kv',
      'attn_decode',
      'attn_decode',
      'merge_states',
      'attn_decode',
      'attn_decode',
      'attn_decode',
      'attn_decode',
      'attn_prefill',
      'attn_prefill',
      'copy_pages',
    ]);
  });

  test('refuses what is no model', async () => {
    const { device, modules } = compilingDevice();
    const runtime = createRuntime(device);
    const wrong = (changes: object) => rejection(prepareModel(runtime, { ...MODEL, ...changes }));
    expect([
      await rejection(prepareModel(runtime, undefined as never)),
      await wrong({ pageSize: 16 }),
      await wrong({ nHeads: 3 }),
      await wrong({ nKvHeads: 0 }),
      await wrong({ nHeads: 2 ** 40 }),
      await wrong({ headDim: 300 }),
      await wrong({ headDimV: 300 }),
      await wrong({ dtype: 'i8' }),
      await wrong({ kvDType: null }),
      await wrong({ newDType: 'u32' }),
      await wrong({ appends: false, newDType: 'f16' }),
      await wrong({ paged: undefined }),
      await wrong({ maxTokens: undefined }),
      await wrong({ maxContext: 1.5 }),
      await wrong({ alibi: 'cpu' }),
      await wrong({ sinks: [1] }),
      await wrong({ lengths: true }),
      await wrong({ softcap: 30 }),
      await wrong({ windowSize: 128 }),
      await wrong({ attentionChunk: -1 }),
      await wrong({ numSplits: 0.5 }),
      await wrong({ warmUp: 'yes' }),
      await wrong({ numSplits: 65535, maxContext: undefined }),
    ]).toMatchInlineSnapshot(`
      [
        "argument: prepareModel: the arguments must be one object, not undefined.",
        "argument: prepareModel: there is no argument pageSize. There are nHeads, nKvHeads, headDim, headDimV, dtype, kvDType, appends, newDType, paged, maxTokens, maxContext, rotary, softcap, alibi, sinks, lengths, windowSize, attentionChunk, numSplits, onProgress, signal, warmUp.",
        "argument: prepareModel: nHeads must be a multiple of nKvHeads, but there are 3 and 2.",
        "argument: prepareModel: nKvHeads must be a whole number ≥ 1, not 0.",
        "shape: prepareModel: nHeads is 1099511627776; it must be 1 to 65536.",
        "shape: prepareModel: headDim is 300; it must be 1 to 256.",
        "shape: prepareModel: headDimV is 300; it must be 1 to 256.",
        "argument: prepareModel: dtype must be 'f32', 'f16' or 'bf16', not "i8".",
        "argument: prepareModel: kvDType must be 'f32', 'f16' or 'bf16', not null.",
        "argument: prepareModel: newDType must be 'f32', 'f16' or 'bf16', not "u32".",
        "argument: prepareModel: newDType is the type of what calls append, but appends is false. Leave one out.",
        "argument: prepareModel: paged must be true or false, not undefined.",
        "argument: prepareModel: maxTokens must be a whole number ≥ 1, not undefined.",
        "argument: prepareModel: maxContext must be a whole number ≥ 1, not 1.5.",
        "argument: prepareModel: alibi must be true, false or 'gpu', not "cpu".",
        "argument: prepareModel: sinks must be true, false or 'gpu', not [1].",
        "argument: prepareModel: lengths must be 'host' or 'gpu', not true.",
        "argument: prepareModel: softcap must be true or false, not 30.",
        "argument: prepareModel: windowSize must be [left, right], whole numbers ≥ −1, not 128.",
        "argument: prepareModel: attentionChunk must be a whole number ≥ 0, not -1.",
        "argument: prepareModel: numSplits must be a whole number ≥ 0, not 0.5.",
        "argument: prepareModel: warmUp must be true or false, not "yes".",
        "limit: prepareModel: numSplits = 65535 needs 268439040 bytes for the parts of the output; this device binds at most 134217728. Pass fewer, or 0 to let it be chosen.",
      ]
    `);
    expect(modules).toEqual([]);
  });
});

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
      for (const { directives, declarations } of kernel.modules) {
        const declared = (name: string) => kernel.modules.some((module) => name in module.declarations);
        const visit = (value: unknown): void => {
          if (Array.isArray(value)) value.forEach(visit);
          else if (typeof value === 'object' && value !== null) {
            const segment = value as Record<string, unknown>;
            for (const name of JSON.stringify(segment['if'] ?? []).match(/\w+/g) ?? []) asked.add(name);
            if (typeof segment['name'] === 'string' && !declared(segment['name'])) asked.add(segment['name']);
            for (const size of [segment['below'], segment['sizes']].flat())
              if (typeof size === 'string') asked.add(size);
            visit(segment['body']);
          }
        };
        visit([directives, Object.values(declarations)]);
      }
      expect([...asked].toSorted(), kernel.name).toEqual(Object.keys(spec).toSorted());
    }
  });
});
