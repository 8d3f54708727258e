import { isQuantised, roundTo, type DType, type FloatDType, type KvDType } from '../../src/core/dtype.js';
import { I4_GROUP, type KvRotation, type ScaleDType } from '../../src/core/kvFormats.js';
import { elementCount, isTensor, stridesOf, type Ints, type Tensor } from '../../src/core/tensor.js';
import { attnWithKvCache, type AttnWithKvCacheArgs, type Runtime } from '../../src/index.js';
import {
  attnWithKvCacheReference,
  type AttnWithKvCacheReferenceArgs,
  type HostTensor,
} from '../../src/reference/attention.js';
import { cachedSequences, maskOptions } from '../../src/reference/attnWithKvCache.js';
import { download, upload } from '../../tools/deviceTensor.js';
import { Random } from '../../tools/random.js';
import { drawSinks, runningSum, type SinksCase } from './caseInputs.js';
import { spoilHidden } from './hiddenKeys.js';
import {
  drawKeyRows,
  placeKeyRows,
  type KeyRows,
  type KeyRowsCase,
  type RowsOfBatch,
} from './keyRowsCase.js';
import { checkAppended } from '../reference/quantised.js';
import { checkLse, checkNear, checkOut, checkRotated, checkSame } from '../reference/tolerance.js';
import {
  downloadCache,
  drawHeadScales,
  placeQuantised,
  quantiseCache,
  type QuantisedCache,
} from './quantisedCache.js';
import { drawMods, placeMods, type ModInputs, type ModsCase } from './modsCase.js';
import { drawTokens, type TokenInputs, type TokensCase } from './tokenInputs.js';

/** A batch over a KV cache, with inputs drawn from a seed. */
export interface KvCacheCase extends KeyRowsCase, TokensCase, ModsCase {
  /** What the case tests. */
  readonly why: string;
  /** Tokens in the cache, queries and new tokens of each sequence; the last two are equal over all unless `ragged`. */
  readonly lengths: readonly (readonly [cached: number, sq: number, fresh: number])[];
  /** Whether queries and new tokens are ragged. */
  readonly ragged?: boolean;
  readonly heads: readonly [nHeads: number, nKvHeads: number];
  readonly headDim: number;
  readonly headDimV?: number;
  /** Values are the first elements of each key, in a view of kCache, and new tokens are keys alone. */
  readonly valuesInKeys?: boolean;
  /** Of q. */
  readonly dtype: FloatDType;
  /** Of the caches. */
  readonly kvDType?: KvDType;
  /** Of the scales of i8 and i4. Default f32. */
  readonly scaleDType?: ScaleDType;
  /** Heads of a quantised cache are turned. */
  readonly kvRotation?: KvRotation | undefined;
  /** Elements that a quantised cache leaves between heads, tokens and pages: units of 16 bytes stay whole, or do not. */
  readonly gap?: number;
  /** Of the new tokens. */
  readonly newDType?: FloatDType;
  readonly causal?: boolean;
  readonly windowSize?: readonly [number, number];
  readonly softcap?: number;
  readonly attentionChunk?: number;
  readonly firstKeys?: number;
  readonly alibi?: boolean;
  readonly sinks?: SinksCase['sinks'];
  readonly numSplits?: number;
  /** Pages of this size, permuted; else a cache with a row for each sequence. */
  readonly pageSize?: number;
  /** Rows of the cache, or of the table, in random order. */
  /** Keys at the beginning that are in the same pages for all sequences, as the call is told; whole pages. */
  readonly sharedPrefix?: number;
  readonly batchIdx?: boolean;
  readonly leftpad?: boolean;
  /**
   * Every third page number, and all of the last sequence's, are out of range; or the rows of every second sequence are.
   * Needs `onGpu`, and for rows `batchIdx`.
   */
  readonly missing?: 'pages' | 'rows';
  readonly rotary?: {
    readonly dim: number;
    readonly interleaved: boolean;
    /** Needs positions, of which a token has three then. */
    readonly sections?: 'behind each other' | 'in turns' | undefined;
  };
  /** Keep lengths, tables and angles on the GPU. */
  readonly onGpu?: boolean;
  /** Keep the scales of e4m3 there, in any case. */
  readonly scalesOnGpu?: boolean;
  /** Default true. */
  readonly returnLse?: boolean;
  readonly seed?: number;
}

/** Prompts, speculation and decoding in one batch, with sequences without queries or without new tokens. */
export const MIXED = [
  [0, 70, 70],
  [203, 1, 1],
  [64, 3, 3],
  [17, 0, 5],
  [33, 2, 0],
  [9, 1, 4],
] as const;

/** One new token each: after many, after few, and the first one. */
export const SMALL_DECODE: KvCacheCase = {
  why: 'small',
  lengths: [
    [203, 1, 1],
    [64, 1, 1],
    [0, 1, 1],
  ],
  heads: [4, 1],
  headDim: 64,
  dtype: 'f32',
  causal: true,
  rotary: { dim: 32, interleaved: true },
};

export interface KvCacheInputs extends KeyRows, TokenInputs, ModInputs {
  readonly q: HostTensor;
  readonly k?: HostTensor;
  readonly v?: HostTensor;
  /** NaN wherever no key is. */
  readonly kCache: HostTensor;
  /** Unless values are a part of keys, of `headDimV` elements. */
  readonly vCache?: HostTensor;
  readonly headDimV?: number;
  /** The same as codes and scales, of a quantised cache. */
  readonly quantised?: { readonly k: QuantisedCache; readonly v?: QuantisedCache | undefined };
  readonly cacheSeqlens: Int32Array;
  readonly cuSeqlensQ?: Int32Array;
  readonly cuSeqlensKNew?: Int32Array;
  readonly blockTable?: Int32Array;
  readonly sharedPrefix?: { readonly blockTable: Int32Array; readonly length: number };
  readonly cacheBatchIdx?: Int32Array;
  readonly cacheLeftpad?: Int32Array;
  readonly rotaryCos?: HostTensor;
  readonly rotarySin?: HostTensor;
  readonly alibiSlopes?: Float32Array;
  readonly sinks?: Float32Array;
}

/** Runs the case on the runtime and compares outputs and caches with the reference. */
export async function checkKvCache(runtime: Runtime, kvCase: KvCacheCase): Promise<void> {
  const { device } = runtime;
  const inputs = drawKvCache(kvCase);
  const { args, lent } = placeKvCache(device, kvCase, inputs);
  const result = attnWithKvCache(runtime, { ...args, returnLse: kvCase.returnLse ?? true });
  const got = {
    out: await download(device, result.out),
    lse: result.lse ? await download(device, result.lse) : null,
    kCache: await downloadCache(device, args.kCache, args.kScale),
    vCache: await downloadCache(device, args.vCache, args.vScale),
  };
  for (const { buffer } of [...lent, result.out, ...(result.lse ? [result.lse] : [])]) buffer.destroy();
  compareKvCache(kvCase, inputs, got);
}

export interface KvCacheOutputs {
  readonly out: Float32Array;
  /** Null if it was not asked for. */
  readonly lse: Float32Array | null;
  readonly kCache: Float32Array;
  readonly vCache: Float32Array;
}

/** Throws unless the results are those of the reference. */
export function compareKvCache(kvCase: KvCacheCase, inputs: KvCacheInputs, got: KvCacheOutputs): void {
  const { dtype, kvDType = dtype, softcap, alibi, rotary, lengths } = kvCase;
  const appends = lengths.some(([, , fresh]) => fresh > 0);
  const args = referenceArgs(kvCase, inputs);
  const want = attnWithKvCacheReference(args);
  const storage = dtype === 'f32' ? undefined : dtype;
  const emulated = storage && attnWithKvCacheReference({ ...args, storage }).out.data;
  if (isQuantised(kvDType) && appends) {
    const { headDim, headDimV = headDim } = kvCase;
    const isSame = [
      checkAppended('kCache', { dtype: kvDType, headDim, actual: got.kCache, reference: want.kCache.data }),
      checkAppended('vCache', {
        dtype: kvDType,
        headDim: headDimV,
        actual: got.vCache,
        reference: want.vCache.data,
      }),
    ];
    // A code more or less makes more of a difference than the arithmetic of attention: scores shift weights between values.
    if (isSame.includes(false)) {
      const largest = Array.from(want.out.data, Math.abs).reduce((a, b) => (b > a ? b : a), 1);
      return checkNear('out', { actual: got.out, reference: want.out.data }, 0.05 * largest);
    }
  }
  checkOut({ actual: got.out, reference: want.out.data, emulated, dtype, softcap, kvCache: true, alibi });
  if (got.lse) checkLse({ actual: got.lse, reference: want.lse.data });
  if (isQuantised(kvDType) && appends) return;
  if (inputs.vCache)
    checkSame('vCache', { actual: got.vCache, reference: Float32Array.from(want.vCache.data) });
  if (rotary && appends)
    checkRotated('kCache', { actual: got.kCache, reference: want.kCache.data }, kvDType as FloatDType);
  else checkSame('kCache', { actual: got.kCache, reference: Float32Array.from(want.kCache.data) });
}

/** The arguments of the reference. */
export function referenceArgs(kvCase: KvCacheCase, inputs: KvCacheInputs): AttnWithKvCacheReferenceArgs {
  // That sequences share pages does not change what they have there.
  const { rotaryCos, rotarySin, sharedPrefix: _prefix, quantised, ...rest } = inputs;
  const { dtype, kvDType = dtype, rotary } = kvCase;
  return {
    ...optionsOf(kvCase),
    ...rest,
    ...(rotary && { rotaryCos, rotarySin, rotaryInterleaved: rotary.interleaved, ...sectionsOf(kvCase) }),
    dtype,
    kvDType,
    scaleDType: kvCase.scaleDType ?? 'f32',
    ...(kvDType === 'e4m3' &&
      quantised && {
        kScale: quantised.k.scales.data,
        ...(quantised.v && { vScale: quantised.v.scales.data }),
      }),
  };
}

/** About as Qwen2-VL and Qwen3-VL have them. */
function sectionsOf({
  rotary,
}: KvCacheCase): Pick<AttnWithKvCacheArgs, 'rotarySections' | 'rotarySectionsInterleaved'> {
  if (!rotary?.sections) return {};
  const pairs = rotary.dim / 2;
  const [height, width] = [Math.floor(pairs / 3), Math.floor(pairs / 4)];
  return {
    rotarySections: [pairs - height - width, height, width],
    rotarySectionsInterleaved: rotary.sections === 'in turns',
  };
}

export function drawKvCache(kvCase: KvCacheCase): KvCacheInputs {
  const inputs = drawSeen(kvCase);
  const { q, kCache, vCache, quantised } = inputs;
  const { dtype, kvDType = dtype, rotary } = kvCase;
  const [nHeads, nKvHeads] = kvCase.heads;
  const options = maskOptions(referenceArgs(kvCase, inputs));
  const batch = {
    ...cachedSequences(options),
    options,
    nHeads,
    nKvHeads,
    nTokens: elementCount(q.shape.slice(0, -2)),
  };
  // What a rotation may be off is a part of the largest number.
  const type = isQuantised(kvDType) || rotary ? 'NaN' : kvDType;
  spoilHidden(
    batch,
    [
      { values: kCache, quantised: quantised?.k },
      ...(vCache ? [{ values: vCache, quantised: quantised?.v }] : []),
    ],
    type,
  );
  return inputs;
}

/** The inputs, with keys where masks hide them, too. */
function drawSeen(kvCase: KvCacheCase): KvCacheInputs {
  const { lengths, ragged, heads, headDim, headDimV = headDim, dtype, rotary, softcap } = kvCase;
  const { kvDType = dtype, newDType = dtype, valuesInKeys = false } = kvCase;
  const [nHeads, nKvHeads] = heads;
  const random = new Random(kvCase.seed ?? 1);
  const batch = lengths.length;
  const normals = (type: FloatDType, shape: readonly number[], factor = 1): HostTensor => ({
    shape,
    data: random.normals(elementCount(shape)).map((x) => roundTo(type, x * factor)),
  });
  // What is rotated and then rounded to halves has so few bits that its rotation is exact in f32. Else it might be close
  // to the middle between two numbers, where implementations round one way or the other.
  const isExact = rotary !== undefined && (dtype !== 'f32' || kvDType !== 'f32');
  const tokens = (which: 1 | 2): number[] =>
    ragged ? [sum(lengths.map((length) => length[which]))] : [batch, lengths[0]![which]];
  const hasNew = lengths.some(([, , fresh]) => fresh > 0);
  const nPositions = 7 + Math.max(...lengths.map(([cached, sq, fresh]) => cached + Math.max(sq, fresh)));
  const angles = (): HostTensor => ({
    shape: [nPositions, rotary!.dim / 2],
    data: random.uniforms((nPositions * rotary!.dim) / 2, -Math.PI, Math.PI),
  });
  const angle = rotary && angles();
  const few = (x: number): number => (isExact ? Math.round(x * 64) / 64 : x);
  const cache = drawCache(random, kvCase);
  const fill = (type: FloatDType, size: number): HostTensor => {
    const row = nKvHeads * size;
    const data = new Float32Array(elementCount(cache.shape) * row).fill(NaN);
    for (const slot of cache.slots)
      for (let i = 0; i < row; i++) data[slot * row + i] = roundTo(type, random.normal());
    return { shape: [...cache.shape, nKvHeads, size], data };
  };
  const cacheOf = (size: number): { readonly values: HostTensor; readonly quantised?: QuantisedCache } => {
    if (!isQuantised(kvDType)) return { values: fill(kvDType, size) };
    const headScales = drawHeadScales(random, nKvHeads);
    const quantised = quantiseCache(kvDType, fill('f32', size), {
      scaleDType: kvCase.scaleDType,
      headScales,
    });
    return { values: quantised.values, quantised };
  };
  const keys = cacheOf(headDim);
  const values = valuesInKeys ? null : cacheOf(headDimV);
  return {
    q: normals(dtype, [...tokens(1), nHeads, headDim], softcap || 1),
    ...(hasNew && {
      k: normals(isExact && newDType === 'f32' ? 'bf16' : newDType, [...tokens(2), nKvHeads, headDim]),
    }),
    ...(hasNew && !valuesInKeys && { v: normals(newDType, [...tokens(2), nKvHeads, headDimV]) }),
    kCache: keys.values,
    ...(values ? { vCache: values.values } : { headDimV }),
    ...(keys.quantised && { quantised: { k: keys.quantised, v: values?.quantised } }),
    cacheSeqlens: Int32Array.from(lengths, ([cached]) => cached),
    ...(ragged && { cuSeqlensQ: runningSum(lengths.map(([, sq]) => sq)) }),
    ...(ragged && hasNew && { cuSeqlensKNew: runningSum(lengths.map(([, , fresh]) => fresh)) }),
    ...cache.tables,
    ...(angle && {
      rotaryCos: { ...angle, data: angle.data.map((x) => few(Math.cos(x))) },
      rotarySin: { ...angle, data: angle.data.map((x) => few(Math.sin(x))) },
    }),
    ...(kvCase.alibi && { alibiSlopes: random.uniforms(nHeads, 0, 0.3) }),
    ...(kvCase.sinks && { sinks: drawSinks(random, nHeads, kvCase) }),
    ...drawKeyRows(random, kvCase, rowsOfBatch(kvCase, cache.tables.cacheLeftpad)),
    ...drawTokens(
      random,
      kvCase,
      lengths.map(([cached, sq, fresh]) => [sq, cached + fresh]),
      rotary && { rows: rotary.sections ? 3 : 1, limit: nPositions },
    ),
    ...drawMods(random, kvCase, {
      nHeads,
      nKeys: Math.max(1, ...lengths.map(([cached, , fresh]) => cached + fresh)),
    }),
  };
}

function rowsOfBatch({ lengths, ragged, heads }: KvCacheCase, leftpad: Int32Array | undefined): RowsOfBatch {
  const starts = runningSum(lengths.map(([, sq]) => sq));
  return {
    nHeads: heads[0],
    nKeys: Math.max(1, ...lengths.map(([cached, , fresh]) => cached + fresh)),
    nTokens: ragged ? starts.at(-1)! : lengths[0]![1],
    batch: ragged ? null : lengths.length,
    sequences: lengths.map(([cached, nQueries, fresh], b) => ({
      firstQuery: ragged ? starts[b]! : 0,
      nQueries,
      first: leftpad?.[b] ?? 0,
      end: cached + fresh,
    })),
  };
}

/** Where the keys of each sequence are: its slots, and the tables that lead to them. */
function drawCache(random: Random, kvCase: KvCacheCase) {
  const { lengths, pageSize, batchIdx, leftpad, missing, sharedPrefix = 0 } = kvCase;
  const batch = lengths.length;
  const room = Math.max(1, ...lengths.map(([cached, , fresh]) => cached + fresh));
  const rows = batchIdx ? random.permutation(batch) : Int32Array.from(lengths, (_, b) => b);
  const pads = lengths.map(([cached]) => (leftpad ? random.int(0, cached + 1) : 0));
  const tables = {
    ...(batchIdx && { cacheBatchIdx: missing === 'rows' ? withoutSome(rows, 2, batch) : rows }),
    ...(leftpad && { cacheLeftpad: Int32Array.from(pads) }),
  };
  const slots: number[] = [];
  const eachKey = (slotOf: (row: number, key: number) => number): void =>
    lengths.forEach(([cached], b) => {
      for (let key = pads[b]!; key < cached; key++) slots.push(slotOf(rows[b]!, key));
    });
  if (!pageSize) {
    // A few slots more than any sequence needs.
    eachKey((row, key) => row * (room + 3) + key);
    return { shape: [batch, room + 3], slots, tables };
  }
  const width = Math.ceil(room / pageSize);
  const nPages = 3 * width * batch;
  const blockTable = random.permutation(nPages).subarray(0, width * batch);
  const prefix = blockTable.slice(0, sharedPrefix / pageSize);
  if (prefix.length > 0) for (let row = 0; row < batch; row++) blockTable.set(prefix, row * width);
  eachKey((row, key) => blockTable[row * width + Math.floor(key / pageSize)]! * pageSize + (key % pageSize));
  const paged = {
    ...tables,
    blockTable,
    ...(prefix.length > 0 && { sharedPrefix: { blockTable: prefix, length: sharedPrefix } }),
  };
  if (missing !== 'pages') return { shape: [nPages, pageSize], slots, tables: paged };
  const some = withoutSome(blockTable, 3, nPages).fill(-1, rows.at(-1)! * width, (rows.at(-1)! + 1) * width);
  return { shape: [nPages, pageSize], slots, tables: { ...tables, blockTable: some } };
}

/** The numbers, every nth replaced by one out of the range of `length`. */
function withoutSome(numbers: Int32Array, n: number, length: number): Int32Array {
  const outside = [-1, length, 2 ** 31 - 1, -(2 ** 31)];
  return numbers.map((number, i) => (i % n === 1 ? outside[Math.floor(i / n) % outside.length]! : number));
}

/** The same keys in pages, in random order, instead of a row for each sequence. */
export function intoPages(inputs: KvCacheInputs, pageSize: number): KvCacheInputs {
  const [batch, room] = inputs.kCache.shape as [number, number];
  const width = Math.ceil(room / pageSize);
  const blockTable = new Random(pageSize).permutation(batch * width);
  const scatter = ({ shape, data }: HostTensor): HostTensor => {
    const row = elementCount(shape.slice(2));
    const paged = new Float32Array(batch * width * pageSize * row).fill(NaN);
    for (let b = 0; b < batch; b++)
      for (let key = 0; key < room; key++) {
        const page = blockTable[b * width + Math.floor(key / pageSize)]!;
        const from = (b * room + key) * row;
        paged.set(data.subarray(from, from + row), (page * pageSize + (key % pageSize)) * row);
      }
    return { shape: [batch * width, pageSize, ...shape.slice(2)], data: paged };
  };
  const { kCache, vCache } = inputs;
  return { ...inputs, kCache: scatter(kCache), ...(vCache && { vCache: scatter(vCache) }), blockTable };
}

/** Uploads the inputs as the case asks: to the GPU, in pages, with gaps. */
export function placeKvCache(
  device: GPUDevice,
  kvCase: KvCacheCase,
  inputs: KvCacheInputs,
): { readonly args: AttnWithKvCacheArgs; readonly lent: readonly Tensor[] } {
  const { dtype, kvDType = dtype, newDType = dtype, onGpu = false, rotary, lengths } = kvCase;
  const lent: Tensor[] = [];
  const lend = (type: DType, shape: readonly number[], data: ArrayLike<number>): Tensor => {
    const tensor = upload(device, type, shape, data);
    lent.push(tensor);
    return tensor;
  };
  const rows = (type: FloatDType, { shape, data }: HostTensor): Tensor => lend(type, shape, data);
  const caches = (): Pick<AttnWithKvCacheArgs, 'kCache' | 'vCache' | 'kScale' | 'vScale'> => {
    if (!isQuantised(kvDType)) {
      const kCache = rows(kvDType, inputs.kCache);
      const { vCache, headDimV } = inputs;
      return { kCache, vCache: vCache ? rows(kvDType, vCache) : firstOfKeys(kCache, headDimV!) };
    }
    const { k, v } = inputs.quantised!;
    const placement = { gap: kvCase.gap ?? 0, onGpu: onGpu || kvCase.scalesOnGpu === true };
    const { cache: kCache, scale: kScale } = placeQuantised(device, k, placement);
    for (const tensor of [kCache, kScale]) if (isTensor(tensor)) lent.push(tensor);
    if (!v) {
      const { headDimV = 0 } = inputs;
      const isGrouped = kvDType === 'i4' && isTensor(kScale);
      const vScale = isGrouped ? firstOfKeys(kScale, headDimV / I4_GROUP) : kScale;
      return { kCache, kScale, vCache: firstOfKeys(kCache, headDimV), vScale };
    }
    const { cache: vCache, scale: vScale } = placeQuantised(device, v, placement);
    for (const tensor of [vCache, vScale]) if (isTensor(tensor)) lent.push(tensor);
    return { kCache, vCache, kScale, vScale };
  };
  const ints = (data: Int32Array, shape: readonly number[] = [data.length]): Ints =>
    onGpu ? lend('i32', shape, data) : data;
  const { k, v, rotaryCos, rotarySin, cuSeqlensQ, cuSeqlensKNew, blockTable, sharedPrefix } = inputs;
  const { cacheBatchIdx, cacheLeftpad, alibiSlopes, sinks, positions, treeMask } = inputs;
  const tokens = inputs.q.shape.slice(0, -2);
  const batch = lengths.length;
  const angles = ({ shape, data }: HostTensor) => (onGpu ? lend('f32', shape, data) : (data as Float32Array));
  const keyRows = placeKeyRows(device, kvCase, inputs);
  lent.push(...Object.values(keyRows));
  const mods = placeMods(device, kvCase, inputs);
  lent.push(...mods.lent);
  const args: AttnWithKvCacheArgs = {
    ...optionsOf(kvCase),
    ...keyRows,
    ...mods.args,
    q: rows(dtype, inputs.q),
    ...caches(),
    ...(k && { k: rows(newDType, k) }),
    ...(v && { v: rows(newDType, v) }),
    cacheSeqlens: ints(inputs.cacheSeqlens),
    ...(cuSeqlensQ && { cuSeqlensQ: ints(cuSeqlensQ) }),
    ...(cuSeqlensKNew && { cuSeqlensKNew: ints(cuSeqlensKNew) }),
    ...(blockTable && { blockTable: ints(blockTable, [batch, blockTable.length / batch]) }),
    ...(sharedPrefix && {
      sharedPrefix: { blockTable: ints(sharedPrefix.blockTable), length: sharedPrefix.length },
    }),
    ...(cacheBatchIdx && { cacheBatchIdx: ints(cacheBatchIdx) }),
    ...(cacheLeftpad && { cacheLeftpad: ints(cacheLeftpad) }),
    ...(rotary &&
      rotaryCos &&
      rotarySin && {
        rotaryCos: angles(rotaryCos),
        rotarySin: angles(rotarySin),
        rotaryDim: rotary.dim,
        rotaryInterleaved: rotary.interleaved,
        ...sectionsOf(kvCase),
      }),
    ...(alibiSlopes && { alibiSlopes }),
    ...(sinks && { sinks: onGpu ? lend(dtype, [sinks.length], sinks) : sinks }),
    ...(positions && { positions: ints(positions, rotary?.sections ? [3, ...tokens] : tokens) }),
    ...(treeMask && {
      treeMask: onGpu
        ? lend('u32', [...tokens, treeMask.length / (elementCount(tokens) || 1)], treeMask)
        : treeMask,
    }),
    ...(onGpu && { maxSeqlenQ: Math.max(...lengths.map(([, sq]) => sq)) }),
    ...(onGpu &&
      (inputs.mask || inputs.bias) && {
        maxSeqlenK: Math.max(...lengths.map(([cached, , fresh]) => cached + fresh)),
      }),
  };
  return { args, lent };
}

/** A view of the first elements of each key. */
export function firstOfKeys(kCache: Tensor, headDimV: number): Tensor {
  return { ...kCache, shape: [...kCache.shape.slice(0, -1), headDimV], strides: stridesOf(kCache) };
}

function optionsOf(kvCase: KvCacheCase) {
  const { causal, windowSize, softcap, attentionChunk, firstKeys, numSplits, kvRotation } = kvCase;
  return { causal, windowSize, softcap, attentionChunk, firstKeys, numSplits, kvRotation };
}

function sum(numbers: readonly number[]): number {
  return numbers.reduce((total, n) => total + n, 0);
}
