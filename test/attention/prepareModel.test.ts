import * as fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { attnWithKvCache } from '../../src/attention/attnWithKvCache.js';
import { servedModel } from '../../src/attention/prepareModel.js';
import { servedSteps } from '../../src/attention/servedSteps.js';
import { Call } from '../../src/check/call.js';
import { isQuantised, type FloatDType, type KvDType, type QuantisedDType } from '../../src/core/dtype.js';
import { canTurn, scaleShape } from '../../src/core/kvFormats.js';
import {
  createRuntime,
  PageflashError,
  prepareModel,
  type PrepareModelOptions,
  type PrepareProgress,
  type Runtime,
} from '../../src/index.js';
import type { AttnWithKvCacheArgs } from '../../src/problem/attentionArgs.js';
import { Random } from '../../tools/random.js';
import { rejection } from '../check/refusal.js';
import { fakeTensor } from '../runtime/fakeDevice.js';
import { contiguousStrides } from '../../src/core/tensor.js';
import { LARGE_LIMITS, strictDevice } from '../runtime/strictDevice.js';
import { compilingDevice, MODEL } from './compilingDevice.js';

/** New tokens of a sequence, and all its keys. */
type SequenceStep = readonly [nNew: number, nKeys: number];

const floats = fc.constantFrom<FloatDType>('f32', 'f16', 'bf16');
const numbers = fc.constantFrom<boolean | 'gpu'>(false, true, 'gpu');

const models: fc.Arbitrary<PrepareModelOptions> = fc
  .record({
    nKvHeads: fc.constantFrom(1, 2, 3, 16),
    group: fc.constantFrom(1, 2, 3, 5, 8, 17),
    headDim: fc.constantFrom(8, 30, 32, 59, 64, 128, 256, 320, 512),
    headDimV: fc.option(fc.constantFrom(8, 31, 64, 256, 512), { nil: undefined }),
    inKeys: fc.constantFrom(false, false, true),
    dtype: floats,
    kvDType: fc.oneof(floats, floats, fc.constantFrom<QuantisedDType>('i8', 'i4', 'e4m3')),
    turns: fc.boolean(),
    newDType: fc.option(floats, { nil: undefined }),
    appends: fc.boolean(),
    paged: fc.boolean(),
    shares: fc.boolean(),
    rotary: fc.boolean(),
    returnLse: fc.boolean(),
    softcap: fc.boolean(),
    alibi: numbers,
    sinks: numbers,
    mask: fc.boolean(),
    bias: fc.option(floats, { nil: undefined }),
    firstKeys: fc.constantFrom(0, 0, 1, 100, 1000),
    lengths: fc.constantFrom<'host' | 'gpu'>('host', 'gpu'),
    left: fc.option(fc.integer({ min: 0, max: 2000 })),
    attentionChunk: fc.constantFrom(0, 0, 1, 100, 256, 333, 1000),
    numSplits: fc.constantFrom(0, 0, 0, 1, 2, 7),
    maxTokens: fc.integer({ min: 1, max: 600 }),
    maxContext: fc.integer({ min: 1, max: 4000 }),
  })
  .map(({ group, left, rotary, newDType, shares, inKeys, turns, ...model }) => ({
    ...model,
    kvDType: fittingType(model),
    ...(turns && mayTurn(model) && { kvRotation: 'hadamard' as const }),
    sharedPrefix: shares && model.paged,
    valuesInKeys: inKeys && !turns && (model.headDimV ?? 0) <= model.headDim,
    newDType: model.appends ? newDType : undefined,
    nHeads: group * model.nKvHeads,
    rotary: rotary && model.headDim % 2 === 0,
    windowSize: [left ?? -1, -1] as const,
  }));

type Heads = Pick<PrepareModelOptions, 'headDim' | 'headDimV' | 'kvDType'>;

/** Groups of i4 are whole. */
function fittingType({ headDim, headDimV = headDim, kvDType }: Heads): KvDType | undefined {
  return kvDType === 'i4' && (headDim % 32 || headDimV % 32) ? 'i8' : kvDType;
}

function mayTurn({ headDim, headDimV = headDim, kvDType }: Heads): boolean {
  return isQuantised(kvDType!) && canTurn(headDim) && canTurn(headDimV);
}

/** A call with contiguous tensors, as the options say. */
function callOf(
  model: PrepareModelOptions,
  sequences: readonly SequenceStep[],
  nShared: number,
  moreKeys: number,
): AttnWithKvCacheArgs {
  const { nHeads, nKvHeads, headDim, headDimV = headDim, dtype, kvDType = dtype, newDType = dtype } = model;
  const {
    valuesInKeys,
    paged,
    appends,
    rotary,
    returnLse,
    softcap,
    alibi,
    sinks,
    lengths,
    windowSize,
    attentionChunk,
    numSplits,
  } = model;
  const { mask, bias, firstKeys } = model;
  const most = Math.max(...sequences.map(([, nKeys]) => nKeys));
  const pageSize = model.sharedPrefix ? 1 : 16;
  const width = Math.ceil(most / pageSize);
  const starts = [0];
  for (const [nNew] of sequences) starts.push(starts.at(-1)! + nNew);
  const total = starts.at(-1)!;
  const onGpu = lengths === 'gpu';
  const ints = (values: readonly number[]) => (onGpu ? fakeTensor('i32', [values.length]) : values);
  const perHead = (where: boolean | 'gpu') =>
    where === 'gpu' ? fakeTensor('f32', [nHeads]) : new Float32Array(nHeads).fill(0.5);
  const cache = paged ? [sequences.length * width, pageSize] : [sequences.length, most];
  const pageAt = (i: number) => (i % width < nShared ? i % width : i);
  const kCache = fakeTensor(kvDType, [...cache, nKvHeads, headDim]);
  const values = [...cache, nKvHeads, headDimV];
  const scales = (size: number) => {
    if (!isQuantised(kvDType)) return undefined;
    const ofTokens = scaleShape(kvDType, [...cache, nKvHeads, size]);
    return kvDType === 'e4m3' ? fakeTensor('f32', [nKvHeads]) : fakeTensor('f16', ofTokens);
  };
  const [kScale, ofValues] = [scales(headDim), scales(headDimV)];
  const vScale = valuesInKeys ? undefined : ofValues;
  const angles = rotary ? fakeTensor('f32', [most + total, headDim / 2]) : undefined;
  return {
    q: fakeTensor(dtype, [total, nHeads, headDim]),
    kCache,
    vCache: valuesInKeys
      ? { ...kCache, shape: values, strides: contiguousStrides(kCache.shape) }
      : fakeTensor(kvDType, values),
    kScale,
    vScale,
    ...(model.kvRotation && { kvRotation: model.kvRotation }),
    cuSeqlensQ: ints(starts),
    cacheSeqlens: ints(sequences.map(([nNew, nKeys]) => (appends ? nKeys - nNew : nKeys))),
    windowSize,
    attentionChunk,
    firstKeys,
    numSplits,
    returnLse,
    ...(mask && { mask: fakeTensor('u32', [1, total, Math.ceil(most / 32)]) }),
    ...(bias && { bias: fakeTensor(bias, [1, total, 4 * Math.ceil(most / 4) + moreKeys]) }),
    ...(appends && {
      k: fakeTensor(newDType, [total, nKvHeads, headDim]),
      ...(!valuesInKeys && { v: fakeTensor(newDType, [total, nKvHeads, headDimV]) }),
      cuSeqlensKNew: ints(starts),
    }),
    ...(paged && { blockTable: Array.from({ length: sequences.length * width }, (_, i) => pageAt(i)) }),
    ...(nShared > 0 && {
      sharedPrefix: { blockTable: Array.from({ length: nShared }, (_, i) => i), length: nShared },
    }),
    ...(angles && { rotaryCos: angles, rotarySin: angles }),
    ...(softcap && { softcap: 30 }),
    ...(alibi && { alibiSlopes: perHead(alibi) }),
    ...(sinks && { sinks: perHead(sinks) }),
    ...(onGpu && { maxSeqlenQ: Math.max(...sequences.map(([nNew]) => nNew)), maxSeqlenK: most }),
  };
}

/** Runs a step, unless the device cannot hold as many chunks as `numSplits` asks for. */
function serve(
  runtime: Runtime,
  model: PrepareModelOptions,
  sequences: readonly SequenceStep[],
  nShared = 0,
): void {
  // Rows of a bias are whole quads of keys, or are not.
  for (const moreKeys of model.bias ? [0, 1] : [0])
    try {
      attnWithKvCache(runtime, callOf(model, sequences, nShared, moreKeys));
    } catch (error) {
      if (!(error instanceof PageflashError && error.code === 'limit' && model.numSplits! > 1)) throw error;
    }
}

/** Names of the variants that something compiles, on a device of the class. */
async function compiled(
  deviceClass: 'gpu' | 'software',
  run: (runtime: Runtime) => unknown,
): Promise<ReadonlySet<string>> {
  // One that binds as many buffers as appending and rotating at once takes, and one that does not.
  const maxStorageBuffersPerShaderStage = 10;
  const { device } = strictDevice({ ...LARGE_LIMITS, maxStorageBuffersPerShaderStage });
  const names = new Set<string>();
  const noting = Object.assign(Object.create(device) as GPUDevice, {
    createShaderModule(descriptor: GPUShaderModuleDescriptor) {
      names.add(descriptor.label!);
      return device.createShaderModule(descriptor);
    },
  });
  const runtime = createRuntime(noting, { deviceClass });
  await run(runtime);
  runtime.destroy();
  return names;
}

/** A step within the options. What matters is where windows and chunks begin among the tiles of keys. */
function drawStep(model: PrepareModelOptions, random: Random): SequenceStep {
  const { maxTokens, maxContext = 1, attentionChunk = 0 } = model;
  const most = Math.min(maxTokens, maxContext);
  const few = Math.min(most, random.int(1, 18));
  const nNew = random.pick([1, few, most, random.int(1, most + 1)]);
  const chunks = attentionChunk * random.int(0, Math.floor(maxContext / Math.max(1, attentionChunk)) + 1);
  const nKeys = random.pick([
    nNew,
    maxContext,
    maxContext - random.int(0, 130),
    chunks + nNew - 1,
    random.int(1, maxContext + 1),
  ]);
  return [nNew, Math.min(Math.max(nNew, nKeys), maxContext)];
}

/** ms, for a busy machine. */
const SLOW = 120_000;

test(
  'serving runs exactly the kernels that prepareModel compiled, for any model',
  { timeout: SLOW },
  async () => {
    const property = fc.asyncProperty(
      models,
      fc.constantFrom<'gpu' | 'software'>('gpu', 'software'),
      fc.integer(),
      async (model, deviceClass, seed) => {
        const prepared = await compiled(deviceClass, (runtime) => prepareModel(runtime, model));
        const expected = [...prepared].filter((name) => !name.startsWith('copy_pages'));
        const met = await compiled(deviceClass, (runtime) => {
          const random = new Random(seed);
          // Any steps, whose kernels must be prepared, then those that prepareModel planned, which run all others.
          for (let step = 0; step < 20; step++) {
            const nSequences = random.pick([1, 1, 2, 5]);
            const sequences = Array.from({ length: nSequences }, () => drawStep(model, random));
            const cached = sequences.map(([nNew, nKeys]) => (model.appends ? nKeys - nNew : nKeys));
            const nShared = model.sharedPrefix ? random.int(0, Math.min(...cached) + 1) : 0;
            serve(runtime, model, sequences, nShared);
          }
          for (const { step, batch } of servedSteps(
            servedModel(new Call('prepareModel', runtime), model),
            runtime.traits,
          )) {
            const { qLen, kLen } = step;
            const nShared = batch === 1 ? 0 : model.appends ? kLen - qLen : kLen;
            serve(
              runtime,
              model,
              Array.from({ length: batch }, () => [qLen, kLen] as const),
              nShared,
            );
          }
        });
        expect([...met].toSorted()).toEqual(expected.toSorted());
      },
    );
    await fc.assert(property, { numRuns: 60, seed: 1 });
  },
);

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

  test('refuses malformed options', async () => {
    const { device, modules } = compilingDevice();
    const runtime = createRuntime(device);
    const wrong = (changes: object) => rejection(prepareModel(runtime, { ...MODEL, ...changes }));
    expect([
      await rejection(prepareModel(runtime, undefined as never)),
      await wrong({ pageSize: 16 }),
      await wrong({ nHeads: 3 }),
      await wrong({ nKvHeads: 0 }),
      await wrong({ nHeads: 2 ** 40 }),
      await wrong({ headDim: 600 }),
      await wrong({ headDimV: 600 }),
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
        "argument: prepareModel: there is no argument pageSize. There are nHeads, nKvHeads, headDim, headDimV, valuesInKeys, dtype, kvDType, scaleDType, kvRotation, appends, newDType, paged, maxTokens, maxContext, rotary, positions, treeMask, rotarySections, returnLse, softcap, alibi, sinks, sharedPrefix, mask, bias, scoreMod, maskMod, lengths, windowSize, attentionChunk, firstKeys, numSplits, onProgress, signal, warmUp.",
        "argument: prepareModel: nHeads must be a multiple of nKvHeads, but there are 3 and 2.",
        "argument: prepareModel: nKvHeads must be a whole number ≥ 1, not 0.",
        "shape: prepareModel: nHeads is 1099511627776; it must be 1 to 65536.",
        "shape: prepareModel: headDim is 600; it must be 1 to 576.",
        "shape: prepareModel: headDimV is 600; it must be 1 to 512.",
        "argument: prepareModel: dtype must be 'f32', 'f16' or 'bf16', not "i8".",
        "argument: prepareModel: kvDType must be 'f32', 'f16', 'bf16', 'i8', 'i4' or 'e4m3', not null.",
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
        "limit: prepareModel: numSplits = 65535 needs 226494144 bytes for the parts of the output; this device binds at most 134217728. Pass fewer, or 0 to let it be chosen.",
      ]
    `);
    expect(modules).toEqual([]);
  });
});
