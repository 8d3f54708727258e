import {
  attnVariants,
  createRuntime,
  fitKvCache,
  kvBytesPerToken,
  kvCacheBytes,
  prepareModel,
  rotaryTables,
  tune,
  type Runtime,
} from '../../src/index.js';
import { drawMod, MODS } from './attentionCalls.js';
import { drawSizes, DTYPES, type Args, type Maker, type PublicCall } from './callMaker.js';

export function rotaryCall({ random }: Maker): PublicCall {
  const factors = [1, 1, 2, 2];
  const rope = random.pick([
    { rope_theta: 10000, rope_type: 'default' },
    { type: 'linear', factor: 2, rope_theta: 10000 },
    {
      rope_type: 'yarn',
      factor: 4,
      original_max_position_embeddings: 64,
      rope_theta: 10000,
      truncate: false,
    },
    { rope_type: 'longrope', short_factor: factors, long_factor: factors, factor: 2, rope_theta: 10000 },
    { sliding_attention: { rope_theta: 10000 } },
  ]);
  const layerType = 'sliding_attention' in rope && { layerType: 'sliding_attention' };
  const args = random.boolean()
    ? { headDim: 8, maxPositions: 16, theta: 10000, partialRotaryFactor: 0.5, rotaryInterleaved: true }
    : {
        config: { head_dim: 8, max_position_embeddings: 64, rope_parameters: rope },
        maxPositions: 16,
        ...layerType,
      };
  return { name: 'rotaryTables', args, run: (_, given) => void rotaryTables(given as never) };
}

export function variantsCall(maker: Maker): PublicCall {
  const { random } = maker;
  const { headDim, headDimV, dtype, kvDType } = drawSizes(maker);
  const args = {
    headDim,
    ...(random.boolean() && { headDimV, kvDType }),
    dtype,
    paged: random.boolean(),
    softcap: random.boolean(),
    alibi: random.boolean(),
    ...(random.boolean() && {
      group: random.int(1, 5),
      decodeTokens: random.int(1, 4),
      weights: random.boolean(),
    }),
    ...(random.boolean() && { newDType: kvDType, rotary: random.boolean() }),
    ...(random.boolean() && { scoreMod: drawMod(random, MODS.scoreMod) }),
    ...(random.boolean() && { maskMod: drawMod(random, MODS.maskMod) }),
  };
  return {
    name: 'attnVariants',
    args,
    run: (runtime, given) => attnVariants(runtime, given as never),
  };
}

export function modelCall(maker: Maker): PublicCall {
  const { random } = maker;
  const { headDim, headDimV, dtype, kvDType } = drawSizes(maker);
  const nKvHeads = random.int(1, 4);
  const args = {
    nHeads: nKvHeads * random.int(1, 4),
    nKvHeads,
    headDim,
    headDimV,
    dtype,
    kvDType,
    paged: random.boolean(),
    maxTokens: random.int(1, 100),
    maxContext: random.int(1, 3000),
    ...(random.boolean() && { newDType: kvDType, rotary: random.boolean() }),
    ...(random.boolean() && { scoreMod: drawMod(random, MODS.scoreMod) }),
    ...(random.boolean() && { maskMod: drawMod(random, MODS.maskMod) }),
    ...(random.boolean() && { alibi: random.pick([true, 'gpu']), sinks: random.pick([false, 'gpu']) }),
    ...(random.boolean() && { windowSize: [random.int(-1, 9), -1], attentionChunk: random.int(0, 50) }),
    ...(random.boolean() && { numSplits: random.int(0, 4), lengths: random.pick(['host', 'gpu']) }),
    ...(random.boolean() && { warmUp: true }),
  };
  return { name: 'prepareModel', args, run: (runtime, given) => prepareModel(runtime, given as never) };
}

export function prepareCall({ random }: Maker): PublicCall {
  const args = { headDim: random.pick([8, 32]), dtype: 'f32' as const, variants: [] as unknown[] };
  const run = async (runtime: Runtime, { headDim, dtype, variants }: Args): Promise<void> => {
    const [first] = attnVariants(runtime, { headDim, dtype } as never);
    if (Array.isArray(variants) && variants.length === 0) variants.push(first);
    await runtime.prepare(variants as never);
  };
  return { name: 'prepare', args, run };
}

export function runtimeCall({ random }: Maker): PublicCall {
  const args = {
    device: undefined as unknown,
    options: {
      tier: random.pick(['T0', 'T1', 'T2']),
      adapterInfo: {
        vendor: 'nvidia',
        architecture: 'ampere',
        device: '',
        description: 'a driver',
        subgroupMinSize: 32,
        subgroupMaxSize: 32,
        isFallbackAdapter: false,
        subgroupMatrixConfigs: [
          { componentType: 'f16', resultComponentType: random.pick(['f16', 'f32']), M: 16, N: 8, K: 16 },
        ],
      },
      deviceClass: random.pick(['gpu', 'software', undefined]),
      profile: false,
    },
  };
  const run = (runtime: Runtime, { device = runtime.device, options }: Args): unknown =>
    createRuntime(device as never, options as never).destroy();
  return { name: 'createRuntime', args, run };
}

export function tuneCall(maker: Maker): PublicCall {
  const { random } = maker;
  const { batch: _batch, kvDType, ...model } = drawSizes(maker);
  const args = {
    ...model,
    ...(random.boolean() && { kvDType, paged: random.boolean() }),
    // Measuring takes a while, on a device that does nothing too.
    budgetMs: 0,
  };
  const run = async (runtime: Runtime, given: Args): Promise<void> => {
    const tuning = await tune(runtime, given as never);
    createRuntime(runtime.device, { tuning }).destroy();
  };
  return { name: 'tune', args, run };
}

export function tuningCall({ random }: Maker): PublicCall {
  const sizes = { headDim: random.pick([8, 64]), headDimV: 64, kvDType: random.pick(DTYPES) };
  const args = {
    matrices: random.pick([
      null,
      { componentType: 'f16', resultComponentType: 'f32', M: 8, N: 8, K: 8 } as const,
    ]),
    rates: { macsPerSecond: 1e12, bytesPerSecond: 1e11 },
    chunks: { workgroups: random.int(1, 600), minKeys: random.int(1, 600) },
    merge: { stepParts: random.pick([1, 8]), partLanes: random.pick([1, 16]) },
    prefill: [{ ...sizes, dtype: 'f16', tile: { teams: 8, lanes: 8, rows: 4 } }],
    decode: [{ ...sizes, rows: 4, tile: { invocations: 64, rows: 4, keyLanes: 4 } }],
  };
  const run = async (runtime: Runtime, given: Args): Promise<void> => {
    const model = { nHeads: 1, nKvHeads: 1, headDim: 64, dtype: 'f16', budgetMs: 0 } as const;
    const { format, device } = await tune(runtime, model);
    createRuntime(runtime.device, { tuning: { format, device, ...given } as never }).destroy();
  };
  return { name: 'createRuntime with a tuning', args, run };
}

export function sizingCall({ random }: Maker): PublicCall {
  const cache = {
    nLayers: random.int(1, 40),
    nKvHeads: random.int(1, 9),
    headDim: 64,
    dtype: random.pick(DTYPES),
  };
  const limits = { maxBufferSize: 2 ** 28, maxStorageBufferBindingSize: 2 ** 27 };
  const args = {
    cache,
    room: { budgetBytes: 2 ** 30, ...(random.boolean() && { limits }), tokensPerSequence: 100, pageSize: 16 },
    load: { nSequences: 3, tokensPerSequence: 100, pageSize: 16 },
  };
  const run = (_: Runtime, given: Args): unknown => {
    fitKvCache(given['cache'] as never, given['room'] as never);
    kvBytesPerToken(given['cache'] as never);
    kvCacheBytes(given['cache'] as never, given['load'] as never);
    return undefined;
  };
  return { name: 'fitKvCache', args, run };
}
