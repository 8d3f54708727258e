import type { DType } from '../../src/core/dtype.js';
import { canTurn, scaleShape } from '../../src/core/kvFormats.js';
import { elementCount, isTensor, stridesOf, type Tensor } from '../../src/core/tensor.js';
import {
  attn,
  attnVarlen,
  attnWeights,
  attnWithKvCache,
  PageflashError,
  planAttnVarlen,
  planAttnWithKvCache,
  type Runtime,
} from '../../src/index.js';
import type { Random } from '../../tools/random.js';
import { withGetters } from '../attention/planInputs.js';
import { fakeBuffer } from '../runtime/fakeDevice.js';
import { drawBlockMask } from './blockMaskCalls.js';
import {
  drawSizes,
  DTYPES,
  lengths,
  type Args,
  type Maker,
  type PublicCall,
  type Sizes,
} from './callMaker.js';

interface Outputs {
  readonly out: readonly number[];
  readonly lse: readonly number[];
}

/** @param mayHavePositions whether each new token is a query */
function drawOptions(maker: Maker, sizes: Sizes, shapes: Outputs, mayHavePositions = true): Args {
  const { random, tensor } = maker;
  const tokens = shapes.out.slice(0, -2);
  const { batch, nHeads, dtype } = sizes;
  const maybe = (name: string, draw: () => unknown): Args =>
    random.int(0, 5) === 0 ? { [name]: draw() } : {};
  const floats = (shape: readonly number[]): unknown =>
    random.boolean()
      ? tensor(random.pick(DTYPES), shape)
      : Array.from(random.uniforms(elementCount(shape), 0, 0.5));
  const keyRows = (type: DType, width: number): unknown => {
    const [nTokens, batches] =
      shapes.lse.length === 2 ? [shapes.lse[1]!, []] : [shapes.lse[2]!, [shapes.lse[0]!]];
    const shared = [...batches, nHeads].map((size) => (random.boolean() ? 1 : size));
    return tensor(type, [...shared, nTokens, width]);
  };
  return {
    ...maybe('softmaxScale', () => random.uniform(0.01, 2)),
    ...maybe('causal', () => random.boolean()),
    ...maybe('windowSize', () => [random.int(-1, 9), random.int(-1, 9)]),
    ...maybe('softcap', () => random.uniform(0, 50)),
    ...maybe('alibiSlopes', () => floats(random.boolean() ? [nHeads] : [batch, nHeads])),
    ...maybe('sinks', () => floats([nHeads])),
    ...maybe('attentionChunk', () => random.int(0, 9)),
    ...maybe('firstKeys', () => random.int(0, 9)),
    ...maybe('mask', () => keyRows('u32', random.int(1, 3))),
    ...maybe('bias', () => keyRows(random.pick(DTYPES), random.int(24, 29))),
    ...(mayHavePositions &&
      maybe('positions', () => ints(maker, drawInts(random, elementCount(tokens), 0, 40), tokens))),
    ...maybe('treeMask', () => {
      const words = random.pick([1, 1, 2]);
      return ints(maker, drawInts(random, elementCount(tokens) * words, -99, 99), [...tokens, words]);
    }),
    ...maybe('scoreMod', () => drawMod(random, SCORE_MOD)),
    ...maybe('maskMod', () => drawMod(random, MASK_MOD)),
    ...maybe('numSplits', () => random.int(0, 4)),
    ...maybe('returnLse', () => random.boolean()),
    ...maybe('out', () => tensor(dtype, shapes.out)),
    ...maybe('lse', () => tensor('f32', shapes.lse)),
  };
}

const SCORE_MOD = `fn score_mod(score: f32, b: u32, h: u32, q: i32, k: i32) -> f32 {
  return score * table[q - k] + mod_params[0];
}`;
const MASK_MOD = 'fn mask_mod(b: u32, h: u32, q: i32, k: i32) -> bool { return table[k] < mod_params[h]; }';

/** A mod with a name of its own, so that another one with a changed code has another name. */
export function drawMod(random: Random, code: string): Args {
  const nParams = random.int(0, 9);
  const table = { buffer: fakeBuffer(64), dtype: 'f32', shape: [random.int(0, 17)] };
  return {
    name: `number ${random.int(0, 2 ** 30)}`,
    code,
    ...(nParams < 8 && { params: Array.from(random.uniforms(nParams, -1, 1)) }),
    tensors: { table },
  };
}

export const MODS = { scoreMod: SCORE_MOD, maskMod: MASK_MOD };

function drawInts(random: Random, length: number, first: number, end: number): number[] {
  return Array.from({ length }, () => random.int(first, end));
}

/** Integers of a sequence each, on the host or on the GPU. */
function ints({ random, tensor }: Maker, values: readonly number[], shape = [values.length]): unknown {
  const kind = random.int(0, 4);
  if (kind === 0) return tensor(random.pick(['i32', 'u32'] as const), shape);
  return kind === 1 ? Int32Array.from(values) : [...values];
}

function sums(values: readonly number[]): number[] {
  return [0, ...values.map((_, i) => values.slice(0, i + 1).reduce((a, b) => a + b, 0))];
}

function attnArgs(maker: Maker): Args {
  const { random, tensor } = maker;
  const sizes = drawSizes(maker);
  const { batch, nHeads, nKvHeads, headDim, headDimV, dtype, kvDType } = sizes;
  const [sq, sk] = [random.int(0, 20), random.int(0, 20)];
  return {
    q: tensor(dtype, [batch, sq, nHeads, headDim]),
    k: tensor(kvDType, [batch, sk, nKvHeads, headDim]),
    v: tensor(kvDType, [batch, sk, nKvHeads, headDimV]),
    ...(random.int(0, 4) === 0 && { blockMask: drawBlockMask(maker, { batch, nHeads, sq, sk }) }),
    ...drawOptions(maker, sizes, { out: [batch, sq, nHeads, headDimV], lse: [batch, nHeads, sq] }),
  };
}

export function attnCall(maker: Maker): PublicCall {
  const args = attnArgs(maker);
  return { name: 'attn', args, run: (runtime, given) => attn(runtime, given as never) };
}

/** A format of few bits, or the float type of the keys, with the scales that it needs. */
function drawFormat(
  { random, tensor, dtypes }: Maker,
  { nKvHeads, headDim, headDimV, kvDType }: Sizes,
  { rows, areInKeys = false }: { readonly rows: readonly number[]; readonly areInKeys?: boolean },
): { readonly format: DType; readonly scales: Args } {
  // A plain call, which is compared with the reference, has one type.
  if (dtypes.length === 1 || random.int(0, 3) > 0) return { format: kvDType, scales: {} };
  const isGrouped = headDim % 32 === 0 && headDimV % 32 === 0;
  const format = random.pick(isGrouped ? (['i8', 'i4', 'e4m3'] as const) : (['i8', 'e4m3'] as const));
  const scaleDType = random.pick(['f32', 'f16'] as const);
  const scaleOf = (dim: number): unknown => {
    if (format !== 'e4m3') return tensor(scaleDType, scaleShape(format, [...rows, nKvHeads, dim]));
    const n = random.pick([1, nKvHeads]);
    return random.boolean() ? tensor('f32', [n]) : Array.from(random.uniforms(n, 0.01, 1));
  };
  const isGiven = format !== 'e4m3' || random.boolean();
  const turns = canTurn(headDim) && canTurn(headDimV) && (!areInKeys || headDim === headDimV);
  return {
    format,
    scales: {
      ...(isGiven && { kScale: scaleOf(headDim), ...(!areInKeys && { vScale: scaleOf(headDimV) }) }),
      ...(turns && random.boolean() && { kvRotation: 'hadamard' }),
    },
  };
}

function varlenArgs(maker: Maker): Args {
  const { random, tensor } = maker;
  const sizes = drawSizes(maker);
  const { batch, nHeads, nKvHeads, headDim, headDimV, dtype } = sizes;
  const [qLens, kLens] = [lengths(random, batch), lengths(random, batch, 20)];
  const [totalQ, totalK] = [sums(qLens).at(-1)! + random.int(0, 3), sums(kLens).at(-1)! + random.int(0, 3)];
  const isPaged = random.boolean();
  const pageSize = random.pick([1, 3, 4]);
  const width = Math.ceil(20 / pageSize);
  const nPages = Math.max(1, width * batch);
  const rows = isPaged ? [nPages, pageSize] : [totalK];
  const { format, scales } = isPaged
    ? drawFormat(maker, sizes, { rows })
    : { format: sizes.kvDType, scales: {} };
  return {
    q: tensor(dtype, [totalQ, nHeads, headDim]),
    k: tensor(format, [...rows, nKvHeads, headDim]),
    v: tensor(format, [...rows, nKvHeads, headDimV]),
    ...scales,
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
  const { batch, nHeads, nKvHeads, headDim, headDimV, dtype } = sizes;
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
  const areInKeys = headDimV <= headDim && random.int(0, 4) === 0;
  const { format, scales } = drawFormat(maker, sizes, { rows, areInKeys });
  const kCache = tensor(format, [...rows, nKvHeads, headDim]);
  const vCache = areInKeys
    ? { ...kCache, shape: [...rows, nKvHeads, headDimV], strides: stridesOf(kCache) }
    : tensor(format, [...rows, nKvHeads, headDimV]);
  return {
    q: tensor(dtype, [...tokens(qLens), nHeads, headDim]),
    kCache,
    vCache,
    ...scales,
    ...(hasNew && { k: tensor(newDType, [...tokens(fresh), nKvHeads, headDim]) }),
    ...(hasNew && !areInKeys && { v: tensor(newDType, [...tokens(fresh), nKvHeads, headDimV]) }),
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
    ...drawOptions(maker, sizes, { out, lse }, !hasNew),
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
  return (args) => (isObject(args) ? form(args) : args);
}

function isObject(args: unknown): boolean {
  return typeof args === 'object' && args !== null;
}

export function varlenCall(maker: Maker): PublicCall {
  const args = varlenArgs(maker);
  const form = drawForm(maker.random);
  return { name: 'attnVarlen', args, run: (runtime, given) => attnVarlen(runtime, form(given) as never) };
}

export function kvCacheCall(maker: Maker): PublicCall {
  const args = kvCacheArgs(maker);
  const form = drawForm(maker.random);
  return {
    name: 'attnWithKvCache',
    args,
    run: (runtime, given) => attnWithKvCache(runtime, form(given) as never),
  };
}

/** Of rows of a call of any kind. */
export function weightsCall(maker: Maker): PublicCall {
  const { random, tensor } = maker;
  const draw = random.pick([attnArgs, varlenArgs, kvCacheArgs]);
  // Of these nothing depends, so they are not looked at.
  const { out: _out, v, vCache, vScale, sinks, numSplits, returnLse, ...args } = draw(maker);
  const { q, cuSeqlensQ } = args as { q: Tensor; cuSeqlensQ?: Tensor | ArrayLike<number> };
  const tokens = q.shape.slice(0, -2);
  const nHeads = q.shape.at(-2)!;
  const known = cuSeqlensQ && !isTensor(cuSeqlensQ);
  const nRows = known ? cuSeqlensQ[cuSeqlensQ.length - 1]! : elementCount(tokens);
  const isEmpty = nRows === 0 || (isTensor(cuSeqlensQ) && cuSeqlensQ.shape[0] === 1);
  const rows = isEmpty ? [] : Array.from({ length: random.int(0, 6) }, () => random.int(0, nRows));
  const given = {
    ...args,
    lse: tensor('f32', cuSeqlensQ ? [nHeads, ...tokens] : [tokens[0]!, nHeads, tokens[1]!]),
    rows: random.boolean() ? rows : Int32Array.from(rows),
    // Pages or tables on the GPU may have as many keys.
    ...(random.boolean() && { weights: tensor('f32', [rows.length, nHeads, 40]) }),
  };
  const form = draw === attnArgs ? (changed: Args): Args => changed : drawForm(random);
  const outputs = {
    v,
    ...(vCache !== undefined && { vCache }),
    ...(vScale !== undefined && { vScale }),
    sinks,
    numSplits,
    returnLse,
  };
  const unseen = random.boolean() ? outputs : {};
  const run = (runtime: Runtime, changed: Args): unknown =>
    attnWeights(runtime, form(isObject(changed) ? { ...unseen, ...changed } : changed) as never);
  return { name: 'attnWeights', args: given, run };
}

interface PlanCall {
  readonly plan: Args;
  readonly changes: Args;
  readonly layer: Args;
}

/** Of all that a plan is made of, what `update` and `record` are given again. */
export function planCall(maker: Maker, name: 'planAttnVarlen' | 'planAttnWithKvCache'): PublicCall {
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
