import { bytesPerElement, type DType, type FloatDType } from '../../src/core/dtype.js';
import { contiguousStrides, elementCount, isTensor, type Tensor } from '../../src/core/tensor.js';
import {
  attn,
  attnVariants,
  attnVarlen,
  attnWithKvCache,
  copyPages,
  createRuntime,
  fitKvCache,
  kvBytesPerToken,
  kvCacheBytes,
  mergeStates,
  PagedKvCache,
  PageflashError,
  planAttnVarlen,
  planAttnWithKvCache,
  prepareModel,
  read,
  readInts,
  rotaryTables,
  tensorFrom,
  type Runtime,
} from '../../src/index.js';
import { fakeBuffer } from '../runtime/fakeDevice.js';
import type { Random } from '../../tools/random.js';
import { withGetters } from '../attention/planInputs.js';

/** Arguments, to be spoilt: what is in them is nobody else's. */
export type Args = Record<string, unknown>;

/** A public function with arguments that it takes. */
export interface HostileCall {
  readonly name: string;
  readonly args: Args;
  /** Calls it; a result's buffers are destroyed by `free`. */
  readonly run: (runtime: Runtime, args: Args) => unknown;
}

export type MakeTensor = (dtype: DType, shape: readonly number[], rest?: Partial<Tensor>) => Tensor;

interface Maker {
  readonly random: Random;
  readonly tensor: MakeTensor;
  readonly dtypes: readonly FloatDType[];
  readonly headDims: readonly number[];
}

/** A tensor in a buffer of its own, somewhere in it, perhaps with gaps. */
export function drawTensor(random: Random): MakeTensor {
  return (dtype, shape, rest) => {
    const hasGaps = random.int(0, 4) === 0;
    const strides = hasGaps ? spread(shape, random.int(0, 5)) : contiguousStrides(shape);
    const offset = random.pick([0, 0, 0, 8, 64, 1000]);
    const isEmpty = elementCount(shape) === 0;
    const extent = isEmpty ? 0 : shape.reduce((last, n, axis) => last + (n - 1) * strides[axis]!, 1);
    const bytes = Math.ceil(((offset + extent) * bytesPerElement(dtype)) / 4) * 4 + 4 * random.int(1, 80);
    return {
      buffer: fakeBuffer(bytes, 128 | 8 | 4),
      dtype,
      shape: [...shape],
      ...(offset > 0 && { offset }),
      ...(hasGaps && { strides }),
      ...rest,
    };
  };
}

/** Strides with gaps, the last 1. */
function spread(shape: readonly number[], gap: number): number[] {
  const strides = contiguousStrides(shape);
  for (let axis = shape.length - 2; axis >= 0; axis--)
    strides[axis] = strides[axis + 1]! * Math.max(1, shape[axis + 1]!) + gap;
  return strides;
}

/** A valid call of one of the public functions. */
export function drawCall(random: Random): HostileCall {
  return random.pick(MAKERS)({ random, tensor: drawTensor(random), dtypes: DTYPES, headDims: [32, 8, 5] });
}

/** A valid call that needs few kernels and has a reference. */
export function drawPlainCall(random: Random): HostileCall {
  return random.pick([attnCall, varlenCall])({
    random,
    tensor: drawTensor(random),
    dtypes: ['f32'],
    headDims: [32],
  });
}

const DTYPES: readonly FloatDType[] = ['f32', 'f16', 'bf16'];

/** Sizes that need few kernel variants. */
function drawSizes({ random, dtypes, headDims }: Maker) {
  const nKvHeads = random.int(1, 3);
  const dtype = random.pick(dtypes);
  return {
    batch: random.pick([0, 1, 2, 3]),
    nKvHeads,
    nHeads: nKvHeads * random.pick([1, 2, 3]),
    headDim: random.pick(headDims),
    headDimV: random.pick(headDims.slice(0, 2)),
    dtype,
    kvDType: random.boolean() ? dtype : random.pick(dtypes),
  };
}

type Sizes = ReturnType<typeof drawSizes>;

interface Outputs {
  readonly out: readonly number[];
  readonly lse: readonly number[];
}

function drawOptions({ random, tensor }: Maker, sizes: Sizes, shapes: Outputs): Args {
  const { batch, nHeads, dtype } = sizes;
  const maybe = (name: string, draw: () => unknown): Args =>
    random.int(0, 5) === 0 ? { [name]: draw() } : {};
  const floats = (shape: readonly number[]): unknown =>
    random.boolean()
      ? tensor(random.pick(DTYPES), shape)
      : Array.from(random.uniforms(elementCount(shape), 0, 0.5));
  return {
    ...maybe('softmaxScale', () => random.uniform(0.01, 2)),
    ...maybe('causal', () => random.boolean()),
    ...maybe('windowSize', () => [random.int(-1, 9), random.int(-1, 9)]),
    ...maybe('softcap', () => random.uniform(0, 50)),
    ...maybe('alibiSlopes', () => floats(random.boolean() ? [nHeads] : [batch, nHeads])),
    ...maybe('sinks', () => floats([nHeads])),
    ...maybe('attentionChunk', () => random.int(0, 9)),
    ...maybe('numSplits', () => random.int(0, 4)),
    ...maybe('returnLse', () => random.boolean()),
    ...maybe('out', () => tensor(dtype, shapes.out)),
    ...maybe('lse', () => tensor('f32', shapes.lse)),
  };
}

/** Integers of a sequence each, on the host or on the GPU. */
function ints({ random, tensor }: Maker, values: readonly number[], shape = [values.length]): unknown {
  const kind = random.int(0, 4);
  if (kind === 0) return tensor(random.pick(['i32', 'u32'] as const), shape);
  return kind === 1 ? Int32Array.from(values) : [...values];
}

function lengths(random: Random, batch: number, most = 9): number[] {
  return Array.from({ length: batch }, () => random.int(0, most));
}

function sums(values: readonly number[]): number[] {
  return [0, ...values.map((_, i) => values.slice(0, i + 1).reduce((a, b) => a + b, 0))];
}

function attnCall(maker: Maker): HostileCall {
  const { random, tensor } = maker;
  const sizes = drawSizes(maker);
  const { batch, nHeads, nKvHeads, headDim, headDimV, dtype, kvDType } = sizes;
  const [sq, sk] = [random.int(0, 20), random.int(0, 20)];
  const args = {
    q: tensor(dtype, [batch, sq, nHeads, headDim]),
    k: tensor(kvDType, [batch, sk, nKvHeads, headDim]),
    v: tensor(kvDType, [batch, sk, nKvHeads, headDimV]),
    ...drawOptions(maker, sizes, { out: [batch, sq, nHeads, headDimV], lse: [batch, nHeads, sq] }),
  };
  return { name: 'attn', args, run: (runtime, given) => attn(runtime, given as never) };
}

function varlenArgs(maker: Maker): Args {
  const { random, tensor } = maker;
  const sizes = drawSizes(maker);
  const { batch, nHeads, nKvHeads, headDim, headDimV, dtype, kvDType } = sizes;
  const [qLens, kLens] = [lengths(random, batch), lengths(random, batch, 20)];
  const [totalQ, totalK] = [sums(qLens).at(-1)! + random.int(0, 3), sums(kLens).at(-1)! + random.int(0, 3)];
  const isPaged = random.boolean();
  const pageSize = random.pick([1, 3, 4]);
  const width = Math.ceil(20 / pageSize);
  const nPages = Math.max(1, width * batch);
  const rows = isPaged ? [nPages, pageSize] : [totalK];
  return {
    q: tensor(dtype, [totalQ, nHeads, headDim]),
    k: tensor(kvDType, [...rows, nKvHeads, headDim]),
    v: tensor(kvDType, [...rows, nKvHeads, headDimV]),
    cuSeqlensQ: ints(maker, sums(qLens)),
    ...((!isPaged || random.boolean()) && { cuSeqlensK: ints(maker, sums(kLens)) }),
    ...(isPaged && {
      blockTable: ints(maker, [...random.permutation(nPages)].slice(0, width * batch), [batch, width]),
    }),
    sequsedK: ints(maker, kLens),
    maxSeqlenQ: 9 + random.int(0, 3),
    maxSeqlenK: 20 + random.int(0, 3),
    ...drawOptions(maker, sizes, { out: [totalQ, nHeads, headDimV], lse: [nHeads, totalQ] }),
  };
}

function kvCacheArgs(maker: Maker): Args {
  const { random, tensor } = maker;
  const sizes = drawSizes(maker);
  const { batch, nHeads, nKvHeads, headDim, headDimV, dtype, kvDType } = sizes;
  const isRagged = random.boolean();
  const hasNew = random.boolean();
  const hasRows = random.boolean();
  const isPaged = random.boolean();
  const fresh = isRagged ? lengths(random, batch, 4) : lengths(random, batch, 1).fill(random.int(0, 4));
  const qLens = isRagged ? lengths(random, batch, 5) : lengths(random, batch, 1).fill(random.int(0, 5));
  const cached = lengths(random, batch, 16);
  const pageSize = random.pick([1, 3, 4]);
  const width = Math.ceil(20 / pageSize);
  const nPages = Math.max(1, width * batch);
  const rows = isPaged ? [nPages, pageSize] : [Math.max(1, batch + random.int(0, 2)), 20];
  const totalQ = sums(qLens).at(-1)!;
  const tokens = (lens: readonly number[]): number[] =>
    isRagged ? [sums(lens).at(-1)!] : [batch, lens[0] ?? 0];
  const hasRotary = random.int(0, 3) === 0;
  const pairs = random.pick([1, 2]);
  const newDType = random.pick(DTYPES);
  const angles = hasRotary && random.boolean();
  const angleType = random.pick(DTYPES);
  const angle = (): unknown =>
    angles ? tensor(angleType, [40, pairs]) : Array.from({ length: 40 * pairs }, () => random.uniform());
  const out = [...tokens(qLens), nHeads, headDimV];
  const cuSeqlensQ = ints(maker, sums(qLens));
  const hasSums = hasNew || random.boolean();
  const lse = isRagged ? [nHeads, totalQ] : [batch, nHeads, qLens[0] ?? 0];
  return {
    q: tensor(dtype, [...tokens(qLens), nHeads, headDim]),
    kCache: tensor(kvDType, [...rows, nKvHeads, headDim]),
    vCache: tensor(kvDType, [...rows, nKvHeads, headDimV]),
    ...(hasNew && {
      k: tensor(newDType, [...tokens(fresh), nKvHeads, headDim]),
      v: tensor(newDType, [...tokens(fresh), nKvHeads, headDimV]),
    }),
    cacheSeqlens: random.int(0, 4) === 0 ? random.int(0, 16) : ints(maker, cached),
    ...(isRagged && { cuSeqlensQ, maxSeqlenQ: 5 }),
    ...(isRagged && hasSums && { cuSeqlensKNew: hasNew ? ints(maker, sums(fresh)) : cuSeqlensQ }),
    ...(random.boolean() && { maxSeqlenK: 20 }),
    ...(isPaged && {
      blockTable: ints(maker, [...random.permutation(nPages)].slice(0, width * batch), [batch, width]),
    }),
    ...(hasRows && { cacheBatchIdx: ints(maker, [...random.permutation(batch)]) }),
    ...(random.int(0, 3) === 0 && { cacheLeftpad: ints(maker, lengths(random, batch, 1)) }),
    ...(hasRotary && {
      rotaryCos: angle(),
      rotarySin: angle(),
      rotaryDim: 2 * pairs,
      rotaryInterleaved: random.boolean(),
    }),
    ...drawOptions(maker, sizes, { out, lse }),
  };
}

/** What a step has besides arguments, which is not looked at. */
const REST_OF_STEP: Args = {
  nSequences: 2,
  nNewTokens: 3,
  tableWidth: 4,
  tokenPositions: new Int32Array(3),
  slotMapping: new Int32Array(3),
  sequences: new Int32Array(2),
  tokens: new Int32Array(3),
  sampled: new Int32Array(1),
  sampledRows: new Int32Array(1),
  swapsOut: [[0, 1]],
  copies: [],
  swapsIn: [],
};

/** Something that gives the same arguments in another way, as they are when it is called. */
function drawForm(random: Random): (args: Args) => Args {
  const form = random.pick<(args: Args) => Args>([
    (args) => args,
    (args) => args,
    (args) => ({ ...REST_OF_STEP, cacheBatchIdx: undefined, ...args }),
    withGetters,
    (args) => withGetters({ ...REST_OF_STEP, ...args }),
    (args) => Object.assign(Object.create(null) as Args, args),
  ]);
  return (args) => (typeof args === 'object' && args !== null ? form(args) : args);
}

function varlenCall(maker: Maker): HostileCall {
  const args = varlenArgs(maker);
  const form = drawForm(maker.random);
  return { name: 'attnVarlen', args, run: (runtime, given) => attnVarlen(runtime, form(given) as never) };
}

function kvCacheCall(maker: Maker): HostileCall {
  const args = kvCacheArgs(maker);
  const form = drawForm(maker.random);
  return {
    name: 'attnWithKvCache',
    args,
    run: (runtime, given) => attnWithKvCache(runtime, form(given) as never),
  };
}

interface PlanCall {
  readonly plan: Args;
  readonly changes: Args;
  readonly layer: Args;
}

/** Of all that a plan is made of, what `update` and `record` are given again. */
function planCall(maker: Maker, name: 'planAttnVarlen' | 'planAttnWithKvCache'): HostileCall {
  const [planFor, plan] =
    name === 'planAttnVarlen'
      ? [planAttnVarlen, varlenArgs(maker)]
      : [planAttnWithKvCache, kvCacheArgs(maker)];
  const { q, k, v, kCache, vCache, out, lse, cacheSeqlens, sequsedK } = plan;
  const some = (all: Args): Args =>
    Object.fromEntries(
      Object.entries(all).filter(([, value]) => value !== undefined && maker.random.boolean()),
    );
  const [nDims, tensorOut] = [(q as Tensor).shape.length, out as Tensor | undefined];
  const values = ((v ?? vCache) as Tensor).shape.at(-1)!;
  const shape = [...(q as Tensor).shape.slice(0, nDims - 1), values];
  const layerOut = tensorOut ?? {
    buffer: fakeBuffer(4 * elementCount(shape) + 4),
    dtype: (q as Tensor).dtype,
    shape,
  };
  if (plan['returnLse'] && !lse) delete plan['returnLse'];
  const args = {
    plan,
    changes: some({ cacheSeqlens, sequsedK }),
    layer: { ...some({ q, k, v, kCache, vCache, lse }), out: layerOut },
  };
  const form = drawForm(maker.random);
  const run = (runtime: Runtime, given: Args): unknown => {
    const { plan: made, changes, layer } = given as unknown as PlanCall;
    const attention = (planFor as typeof planAttnVarlen)(runtime, form(made) as never);
    try {
      if (namesNothing(changes)) mustRefuse(() => attention.update(changes as never));
      else attention.update(form(changes) as never);
      attention.record(layer as never);
      attention.record(Object.fromEntries(Object.entries(layer ?? {}).map(copyOfTensor)) as never);
    } finally {
      attention.destroy();
    }
    return undefined;
  };
  return { name, args: args as unknown as Args, run };
}

function namesNothing(args: unknown): boolean {
  return typeof args === 'object' && args !== null && Object.keys(args).length === 0;
}

function mustRefuse(call: () => void): void {
  try {
    call();
  } catch (error) {
    if (error instanceof PageflashError) return;
    throw error;
  }
  throw new Error('An update of nothing was taken.');
}

function copyOfTensor([name, value]: [string, unknown]): [string, unknown] {
  return [name, isTensor(value) ? { ...value } : value];
}

function mergeCall(maker: Maker): HostileCall {
  const { random, tensor } = maker;
  const { batch, nHeads, headDim, dtype } = drawSizes(maker);
  const isRagged = random.boolean();
  const nTokens = random.int(0, 6);
  const out = isRagged ? [nTokens, nHeads, headDim] : [batch, nTokens, nHeads, headDim];
  const lse = isRagged ? [nHeads, nTokens] : [batch, nHeads, nTokens];
  const type = random.boolean() ? dtype : undefined;
  const stack = (dtypeOf: DType, shape: readonly number[], n: number): Tensor[] => {
    const [whole, size] = [
      tensor(dtypeOf, [n, ...shape], { offset: 0, strides: undefined as never }),
      elementCount(shape),
    ];
    return Array.from({ length: n }, (_, i) => ({
      buffer: whole.buffer,
      dtype: dtypeOf,
      shape: [...shape],
      offset: i * size,
    }));
  };
  const n = random.int(1, 5);
  const stacked = random.boolean();
  const outs = stacked
    ? stack(dtype, out, n)
    : Array.from({ length: n }, () => tensor(type ?? random.pick(DTYPES), out));
  const lses = stacked ? stack('f32', lse, n) : Array.from({ length: n }, () => tensor('f32', lse));
  const args = {
    parts: outs.map((part, i) => ({ out: part, lse: lses[i]! })),
    ...(random.boolean() && { out: tensor(outs[0]!.dtype, out) }),
    ...(random.boolean() && { lse: tensor('f32', lse) }),
  };
  return { name: 'mergeStates', args, run: (runtime, given) => mergeStates(runtime, given as never) };
}

function drawPairs(random: Random, nPages: number): unknown {
  const pairs = Array.from({ length: random.int(0, 4) }, () => [
    random.int(0, nPages),
    random.int(0, nPages),
  ]);
  return random.boolean() ? pairs : Int32Array.from(pairs.flat());
}

function copyCall({ random }: Maker): HostileCall {
  const dtype = random.pick(DTYPES);
  const nPages = random.int(1, 6);
  const shape = [nPages, random.int(1, 4), random.int(1, 3), random.pick([2, 8])];
  const pageElements = elementCount(shape.slice(1));
  const pool = (): Tensor => ({
    buffer: fakeBuffer(Math.ceil((elementCount(shape) * bytesPerElement(dtype)) / 4) * 4 + 256),
    dtype,
    shape: [...shape],
    ...(random.boolean() && { strides: [pageElements, ...contiguousStrides(shape.slice(1))] }),
  });
  const args = {
    pools: random.boolean() ? pool() : Array.from({ length: random.int(0, 4) }, pool),
    pairs: drawPairs(random, nPages),
  };
  return { name: 'copyPages', args, run: (runtime, given) => copyPages(runtime, given as never) };
}

function cacheCall({ random }: Maker): HostileCall {
  const size = random.pick([{ nPages: 5 }, { tokens: 40 }, { bytes: 2 ** 16 }]);
  const args = {
    options: {
      nLayers: random.int(1, 4),
      nKvHeads: random.int(1, 3),
      headDim: random.pick([8, 32, 5]),
      ...(random.boolean() && { headDimV: 16 }),
      dtype: random.pick(DTYPES),
      pageSize: random.pick([1, 4, 16]),
      ...size,
    },
    layer: 0,
    pairs: drawPairs(random, 3),
    pages: random.boolean() ? [0, 1] : [],
    saved: [] as unknown[],
    moves: { swapsOut: random.pick([[], [[0, 1]]]), copies: drawPairs(random, 3), swapsIn: [] as unknown },
  };
  const run = async (runtime: Runtime, given: Args): Promise<void> => {
    const cache = await PagedKvCache.create(runtime, given['options'] as never);
    try {
      cache.layer(given['layer'] as never);
      cache.copyPages(given['pairs'] as never);
      const { pages, saved } = given;
      if (Array.isArray(pages) && pages.length < 9 && Array.isArray(saved) && saved.length === 0)
        saved.push(...pages.map(() => new Uint8Array(cache.pageBytes)));
      cache.writePages(pages as never, saved as never);
      await cache.movePages(given['moves'] as never);
    } finally {
      cache.destroy();
    }
  };
  return { name: 'PagedKvCache', args, run };
}

function tensorCall({ random }: Maker): HostileCall {
  const args = { shape: lengths(random, 3), dtype: random.pick(DTYPES) };
  const run = (runtime: Runtime, { shape, dtype }: Args): unknown => ({
    out: runtime.createTensor(shape as never, dtype as never),
  });
  return { name: 'createTensor', args, run };
}

function fromCall({ random }: Maker): HostileCall {
  const [dtype, data] = random.pick([
    ['f16', [0, 1.5, 2, 3, 4, 5]],
    ['bf16', Float32Array.of(0, 1, 2, 3, 4, 5)],
    ['f32', new Uint8Array(24)],
    ['i32', Int32Array.of(0, 1, 2, 3, 4, 5)],
    ['u32', [0, 1, 2, 3, 4, 5]],
  ]);
  const args = { data, options: { shape: random.pick([[6], [2, 3], [1, 6, 1]]), dtype } };
  const run = (runtime: Runtime, given: Args): unknown => ({
    out: tensorFrom(runtime, given['data'] as never, given['options'] as never),
  });
  return { name: 'tensorFrom', args, run };
}

function readCall({ random, tensor }: Maker): HostileCall {
  const dtype = random.pick(['f32', 'f16', 'bf16', 'i32', 'u32'] as const);
  const args = {
    tensor: tensor(
      dtype,
      lengths(random, random.int(0, 4)).map((size) => size + 1),
    ),
  };
  const reader = dtype === 'i32' || dtype === 'u32' ? readInts : read;
  const run = async (runtime: Runtime, given: Args): Promise<void> => {
    await reader(runtime, given['tensor'] as never);
  };
  return { name: 'read', args, run };
}

function rotaryCall({ random }: Maker): HostileCall {
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

function variantsCall(maker: Maker): HostileCall {
  const { random } = maker;
  const { headDim, headDimV, dtype, kvDType } = drawSizes(maker);
  const args = {
    headDim,
    ...(random.boolean() && { headDimV, kvDType }),
    dtype,
    paged: random.boolean(),
    softcap: random.boolean(),
    alibi: random.boolean(),
    ...(random.boolean() && { group: random.int(1, 5), decodeTokens: random.int(1, 4) }),
    ...(random.boolean() && { newDType: kvDType, rotary: random.boolean() }),
  };
  return {
    name: 'attnVariants',
    args,
    run: (runtime, given) => attnVariants(runtime, given as never),
  };
}

function modelCall(maker: Maker): HostileCall {
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
    ...(random.boolean() && { alibi: random.pick([true, 'gpu']), sinks: random.pick([false, 'gpu']) }),
    ...(random.boolean() && { windowSize: [random.int(-1, 9), -1], attentionChunk: random.int(0, 50) }),
    ...(random.boolean() && { numSplits: random.int(0, 4), lengths: random.pick(['host', 'gpu']) }),
    ...(random.boolean() && { warmUp: true }),
  };
  return { name: 'prepareModel', args, run: (runtime, given) => prepareModel(runtime, given as never) };
}

function prepareCall({ random }: Maker): HostileCall {
  const args = { headDim: random.pick([8, 32]), dtype: 'f32' as const, variants: [] as unknown[] };
  const run = async (runtime: Runtime, { headDim, dtype, variants }: Args): Promise<void> => {
    const [first] = attnVariants(runtime, { headDim, dtype } as never);
    if (Array.isArray(variants) && variants.length === 0) variants.push(first);
    await runtime.prepare(variants as never);
  };
  return { name: 'prepare', args, run };
}

function runtimeCall({ random }: Maker): HostileCall {
  const args = {
    device: undefined as unknown,
    options: {
      tier: random.pick(['T0', 'T1']),
      deviceClass: random.pick(['gpu', 'software', undefined]),
      profile: false,
    },
  };
  const run = (runtime: Runtime, { device = runtime.device, options }: Args): unknown =>
    createRuntime(device as never, options as never).destroy();
  return { name: 'createRuntime', args, run };
}

function sizingCall({ random }: Maker): HostileCall {
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

/** The attentions more often, since they have most to get wrong. */
const MAKERS: readonly ((maker: Maker) => HostileCall)[] = [
  attnCall,
  attnCall,
  varlenCall,
  varlenCall,
  varlenCall,
  kvCacheCall,
  kvCacheCall,
  kvCacheCall,
  (maker) => planCall(maker, 'planAttnVarlen'),
  (maker) => planCall(maker, 'planAttnWithKvCache'),
  mergeCall,
  copyCall,
  cacheCall,
  tensorCall,
  fromCall,
  readCall,
  rotaryCall,
  variantsCall,
  modelCall,
  prepareCall,
  runtimeCall,
  sizingCall,
];
