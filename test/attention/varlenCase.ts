import {
  decode,
  encode,
  isQuantised,
  type DType,
  type FloatDType,
  type KvDType,
  type QuantisedDType,
} from '../../src/core/dtype.js';
import type { KvRotation, ScaleDType } from '../../src/core/kvFormats.js';
import { elementCount, isTensor, stridesOf, type Ints, type Tensor } from '../../src/core/tensor.js';
import {
  attn,
  attnVarlen,
  type AttentionResult,
  type AttnArgs,
  type AttnVarlenArgs,
  type Runtime,
} from '../../src/index.js';
import { attnVarlenReference, type HostBlockMask, type HostTensor } from '../../src/reference/attention.js';
import { varlenSequences } from '../../src/reference/sequences.js';
import { download, downloadGaps, upload, type Placement } from '../../tools/deviceTensor.js';
import { assert } from '../platforms/gpuCase.js';
import { Random } from '../../tools/random.js';
import { drawBlocks, placeBlocks, type BlocksCase } from './blockMaskCase.js';
import { drawSinks, runningSum, shapeScores, type Scores, type SinksCase } from './caseInputs.js';
import { spoilHidden } from './hiddenKeys.js';
import { denseKeyRows, drawKeyRows, placeKeyRows, type KeyRows, type KeyRowsCase } from './keyRowsCase.js';
import { checkLse, checkOut } from '../reference/tolerance.js';
import { drawHeadScales, placeQuantised, quantiseCache, type QuantisedCache } from './quantisedCache.js';
import { drawMods, placeMods, type ModInputs, type ModsCase } from './modsCase.js';
import { drawTokens, type TokenInputs, type TokensCase } from './tokenInputs.js';
import { withGaps } from './withGaps.js';

/** A batch for attention, with inputs drawn from a seed. */
export interface VarlenCase extends KeyRowsCase, TokensCase, ModsCase, BlocksCase {
  /** What the case tests. */
  readonly why: string;
  /** Queries and keys of each sequence. */
  readonly lengths: readonly (readonly [sq: number, sk: number])[];
  readonly heads: readonly [nHeads: number, nKvHeads: number];
  readonly headDim: number;
  readonly headDimV?: number;
  readonly dtype: FloatDType;
  /** A quantised type only in pages. */
  readonly kvDType?: KvDType;
  /** Of the scales of i8 and i4. Default f32. */
  readonly scaleDType?: ScaleDType;
  /** Heads of quantised pages are turned. */
  readonly kvRotation?: KvRotation | undefined;
  readonly causal?: boolean;
  readonly windowSize?: readonly [number, number];
  readonly softcap?: number;
  readonly softmaxScale?: number;
  readonly attentionChunk?: number;
  readonly firstKeys?: number;
  readonly numSplits?: number;
  readonly alibi?: 'per head' | 'per sequence';
  readonly sinks?: SinksCase['sinks'];
  /** Keys in pages of this size, permuted, among pages of NaN. */
  readonly pageSize?: number;
  /** Count only part of each sequence's keys, by `sequsedK`; the others are NaN. */
  readonly partlyUsed?: boolean;
  /** Keep lengths, tables, slopes and sinks on the GPU. */
  readonly onGpu?: boolean;
  /** Leave gaps of this many elements between tokens and before the first one, and more between heads. */
  readonly gap?: number;
  /** Factor on the queries, for scores far from zero. */
  readonly magnitude?: number;
  /** Default: those of normal queries and keys. */
  readonly scores?: Scores;
  /** Call `attn` on the same tensors; the sequences are equally long then. */
  readonly dense?: boolean;
  /** Default true. */
  readonly returnLse?: boolean;
  readonly seed?: number;
}

/** The end of a prompt, and a token. */
export const SMALL_VARLEN: VarlenCase = {
  why: 'small',
  lengths: [
    [20, 33],
    [1, 40],
  ],
  heads: [4, 2],
  headDim: 64,
  dtype: 'f32',
  causal: true,
};

interface Inputs extends KeyRows, TokenInputs, ModInputs {
  readonly q: HostTensor;
  readonly k: HostTensor;
  readonly v: HostTensor;
  /** The same as codes and scales, of quantised pages. */
  readonly quantised?: { readonly k: QuantisedCache; readonly v: QuantisedCache };
  readonly cuSeqlensQ: Int32Array;
  readonly cuSeqlensK: Int32Array;
  readonly sequsedK?: Int32Array;
  readonly blockTable?: Int32Array;
  readonly alibiSlopes?: Float32Array;
  readonly sinks?: Float32Array;
  readonly blockMask?: HostBlockMask;
}

/** Runs the case on the runtime and compares with the reference. */
export async function checkVarlen(runtime: Runtime, varlen: VarlenCase): Promise<void> {
  const inputs = draw(varlen);
  const { args, lent } = place(runtime.device, varlen, inputs);
  const result = callVarlen(runtime, varlen, { ...args, returnLse: varlen.returnLse ?? true });
  const out = await download(runtime.device, result.out);
  const lse = result.lse ? await download(runtime.device, result.lse) : null;
  const gaps = varlen.gap ? await downloadGaps(runtime.device, result.out) : [];
  for (const { buffer } of [...lent, result.out, ...(result.lse ? [result.lse] : [])]) buffer.destroy();
  compare(varlen, inputs, { out, lse });
  assert(gaps.every(Number.isNaN), 'something beside the elements of out was written');
}

function callVarlen(runtime: Runtime, { dense, lengths }: VarlenCase, args: AttnVarlenArgs): AttentionResult {
  if (!dense) return attnVarlen(runtime, args);
  const { cuSeqlensQ: _q, cuSeqlensK: _k, maxSeqlenQ: _sq, maxSeqlenK: _sk, ...rest } = args;
  const { out, lse } = attn(runtime, denseArgs(rest, lengths.length));
  return lse ? { out, lse: headsFirst(lse) } : { out };
}

/** The same tensors, with the sequences as a dimension of their own. */
export function denseArgs(
  { q, k, v, out, mask, bias, positions, treeMask, ...rest }: Omit<AttnVarlenArgs, 'cuSeqlensQ'>,
  batch: number,
): AttnArgs {
  const split = (tensor: Tensor): Tensor => {
    const [tokens, ...row] = tensor.shape as [number, number, number];
    const [tokenStride, ...rowStrides] = stridesOf(tensor) as [number, number, number];
    const perSequence = tokens / batch;
    return {
      ...tensor,
      shape: [batch, perSequence, ...row],
      strides: [perSequence * tokenStride, tokenStride, ...rowStrides],
    };
  };
  const splitInts = (ints: Ints): Ints => {
    if (!isTensor(ints)) return ints;
    const { strides: _strides, ...contiguous } = ints;
    const [tokens, ...words] = ints.shape as [number, ...number[]];
    return { ...contiguous, shape: [batch, tokens / batch, ...words] };
  };
  return {
    ...rest,
    q: split(q),
    k: split(k),
    v: split(v),
    ...(out && { out: split(out) }),
    ...(mask && { mask: denseKeyRows(mask, batch) }),
    ...(bias && { bias: denseKeyRows(bias, batch) }),
    ...(positions && { positions: splitInts(positions) }),
    ...(treeMask && { treeMask: splitInts(treeMask) }),
  };
}

/** [B, Hq, Sq] → [Hq, B, Sq], which is [Hq, totalQ]. */
function headsFirst(lse: Tensor): Tensor {
  const [batch, nHeads, sq] = lse.shape as [number, number, number];
  return { ...lse, shape: [nHeads, batch, sq, 1], strides: [sq, nHeads * sq, 1, 1] };
}

/** Throws unless the results are those of the reference. */
export function compare(
  varlen: VarlenCase,
  inputs: Inputs,
  { out, lse }: { readonly out: Float32Array; readonly lse: Float32Array | null },
): void {
  const { dtype, softcap } = varlen;
  const { quantised: _, ...given } = inputs;
  const referenceArgs = { ...optionsOf(varlen), ...given };
  const want = attnVarlenReference(referenceArgs);
  const emulated =
    dtype === 'f32' ? undefined : attnVarlenReference({ ...referenceArgs, storage: dtype }).out.data;
  const farthestScore = farthestScoreOf(varlen, inputs);
  checkOut({ actual: out, reference: want.out.data, emulated, dtype, softcap, farthestScore });
  if (lse) checkLse({ actual: lse, reference: want.lse.data });
}

/** First keys may be all that a row sees, as far away as its position is. */
function farthestScoreOf({ firstKeys = 0 }: VarlenCase, { alibiSlopes, positions }: Inputs): number {
  if (firstKeys === 0 || !alibiSlopes || !positions) return 0;
  return Math.max(0, ...alibiSlopes) * Math.max(0, ...positions);
}

export function draw(varlen: VarlenCase): Inputs {
  const inputs = drawSeen(varlen);
  const { q, k, v, quantised } = inputs;
  const { dtype, kvDType = dtype } = varlen;
  const [nHeads, nKvHeads] = varlen.heads;
  const options = { ...optionsOf(varlen), ...inputs };
  spoilHidden(
    { ...varlenSequences(options), options, nHeads, nKvHeads, nTokens: q.shape[0]! },
    [
      { values: k, quantised: quantised?.k },
      { values: v, quantised: quantised?.v },
    ],
    isQuantised(kvDType) ? 'NaN' : kvDType,
  );
  return inputs;
}

/** The inputs, with keys where masks hide them, too. */
function drawSeen(varlen: VarlenCase): Inputs {
  const { lengths, heads, headDim, headDimV = headDim, dtype, pageSize, magnitude = 1, scaleDType } = varlen;
  const stored = varlen.kvDType ?? dtype;
  const kvDType = isQuantised(stored) ? 'f32' : stored;
  const [nHeads, nKvHeads] = heads;
  const random = new Random(varlen.seed ?? 1);
  const rounded = (type: FloatDType, shape: readonly number[], factor: number): HostTensor => ({
    shape,
    data: decode(
      type,
      encode(
        type,
        random.normals(elementCount(shape)).map((x) => x * factor),
      ),
    ),
  });
  const cuSeqlensQ = runningSum(lengths.map(([sq]) => sq));
  const cuSeqlensK = runningSum(lengths.map(([, sk]) => sk));
  const totalK = cuSeqlensK.at(-1)!;
  const batch = lengths.length;
  // Scores that reach a cap. A spike does by itself: in sums as large as a factor would make, lse had no digits left.
  const factor = varlen.scores === 'spike' ? 1 : varlen.softcap || 1;
  const q = rounded(dtype, [cuSeqlensQ.at(-1)!, nHeads, headDim], magnitude * factor);
  const keys = rounded(kvDType, [totalK, nKvHeads, headDim], 1);
  const values = rounded(kvDType, [totalK, nKvHeads, headDimV], 1);
  if (varlen.scores) shapeScores({ ...varlen, kvDType }, random, { q, keys, cuSeqlensK });
  const used = varlen.partlyUsed && Int32Array.from(lengths, ([, sk]) => random.int(0, sk + 1));
  if (used) fillUnusedWithNaN([keys, values], cuSeqlensK, used);
  const keysUsed = lengths.map(([sq, sk], b) => [sq, used ? used[b]! : sk] as const);
  const paged = pageSize ? intoPages(random, pageSize, cuSeqlensK, keys, values) : { k: keys, v: values };
  const quantise = (): Pick<Inputs, 'k' | 'v' | 'quantised'> => {
    const headScales = drawHeadScales(random, nKvHeads);
    const k = quantiseCache(stored as QuantisedDType, paged.k, { scaleDType, headScales });
    const v = quantiseCache(stored as QuantisedDType, paged.v, { scaleDType, headScales });
    return { k: k.values, v: v.values, quantised: { k, v } };
  };
  return {
    q,
    cuSeqlensQ,
    cuSeqlensK,
    ...paged,
    ...(isQuantised(stored) && quantise()),
    ...(used && { sequsedK: used }),
    ...(varlen.alibi && {
      alibiSlopes: random.uniforms((varlen.alibi === 'per sequence' ? batch : 1) * nHeads, 0, 0.3),
    }),
    ...(varlen.sinks && { sinks: drawSinks(random, nHeads, varlen) }),
    ...drawKeyRows(random, varlen, {
      nHeads,
      nKeys: Math.max(1, ...lengths.map(([, sk]) => sk)),
      nTokens: cuSeqlensQ.at(-1)!,
      batch: null,
      sequences: lengths.map(([nQueries, sk], b) => ({
        firstQuery: cuSeqlensQ[b]!,
        nQueries,
        first: 0,
        end: used ? used[b]! : sk,
      })),
    }),
    ...drawTokens(random, varlen, keysUsed),
    ...drawMods(random, varlen, { nHeads, nKeys: Math.max(1, ...lengths.map(([, sk]) => sk)) }),
    ...drawBlocks(random, varlen, { batch, nHeads, sq: lengths[0]?.[0] ?? 0, sk: keysUsed[0]?.[1] ?? 0 }),
  };
}

/** Fills unused keys with NaN. */
function fillUnusedWithNaN(tensors: readonly HostTensor[], cuSeqlensK: Int32Array, used: Int32Array): void {
  for (const { data, shape } of tensors) {
    const row = elementCount(shape.slice(1));
    used.forEach((n, b) =>
      (data as Float32Array).fill(NaN, (cuSeqlensK[b]! + n) * row, cuSeqlensK[b + 1]! * row),
    );
  }
}

/** Uploads the inputs as the case asks: to the GPU, in pages, with gaps. */
export function place(
  device: GPUDevice,
  varlen: VarlenCase,
  inputs: Inputs,
): { readonly args: AttnVarlenArgs; readonly lent: readonly Tensor[] } {
  const { dtype, kvDType = dtype, gap = 0, onGpu = false, pageSize } = varlen;
  const lent: Tensor[] = [];
  const lend = (
    type: DType,
    shape: readonly number[],
    data: ArrayLike<number>,
    placement?: Placement,
  ): Tensor => {
    const tensor = upload(device, type, shape, data, placement);
    lent.push(tensor);
    return tensor;
  };
  const rows = (type: FloatDType, { shape, data }: HostTensor): Tensor =>
    lend(type, shape, data, withGaps(shape, gap));
  const ints = (shape: readonly number[], data: Int32Array): Ints =>
    onGpu ? lend('i32', shape, data) : data;
  const batch = varlen.lengths.length;
  const { cuSeqlensQ, cuSeqlensK, sequsedK, blockTable, alibiSlopes, sinks, positions, treeMask } = inputs;
  const totalQ = inputs.q.shape[0]!;
  const nHeads = varlen.heads[0];
  const keyRows = placeKeyRows(device, varlen, inputs);
  lent.push(...Object.values(keyRows));
  const mods = placeMods(device, varlen, inputs);
  lent.push(...mods.lent);
  const blocks = inputs.blockMask && placeBlocks(device, varlen, { batch, nHeads }, inputs.blockMask);
  if (blocks) lent.push(...blocks.lent);
  const keysAndValues = (): Pick<AttnVarlenArgs, 'k' | 'v' | 'kScale' | 'vScale'> => {
    if (!isQuantised(kvDType)) return { k: rows(kvDType, inputs.k), v: rows(kvDType, inputs.v) };
    const { cache: k, scale: kScale } = placeQuantised(device, inputs.quantised!.k, { gap, onGpu });
    const { cache: v, scale: vScale } = placeQuantised(device, inputs.quantised!.v, { gap, onGpu });
    for (const tensor of [k, v, kScale, vScale]) if (isTensor(tensor)) lent.push(tensor);
    return { k, v, kScale, vScale };
  };
  const args: AttnVarlenArgs = {
    ...optionsOf(varlen),
    ...keyRows,
    ...mods.args,
    ...(blocks && { blockMask: blocks.blockMask }),
    q: rows(dtype, inputs.q),
    ...keysAndValues(),
    cuSeqlensQ: ints([batch + 1], cuSeqlensQ),
    cuSeqlensK: ints([batch + 1], cuSeqlensK),
    ...(sequsedK && { sequsedK: ints([batch], sequsedK) }),
    ...(blockTable && { blockTable: ints([batch, blockTable.length / batch], blockTable) }),
    ...(alibiSlopes && {
      alibiSlopes: onGpu
        ? lend('f32', varlen.alibi === 'per sequence' ? [batch, nHeads] : [nHeads], alibiSlopes)
        : alibiSlopes,
    }),
    ...(sinks && { sinks: onGpu ? lend(dtype, [nHeads], sinks) : sinks }),
    ...(positions && { positions: ints([totalQ], positions) }),
    ...(treeMask && {
      treeMask: onGpu ? lend('u32', [totalQ, treeMask.length / (totalQ || 1)], treeMask) : treeMask,
    }),
    ...(onGpu && {
      maxSeqlenQ: Math.max(...varlen.lengths.map(([sq]) => sq)),
      maxSeqlenK:
        pageSize && !inputs.mask && !inputs.bias ? 4096 : Math.max(...varlen.lengths.map(([, sk]) => sk)),
    }),
    ...(gap && {
      out: lend(
        dtype,
        [...inputs.q.shape.slice(0, 2), inputs.v.shape.at(-1)!],
        new Float32Array(elementCount(inputs.q.shape.slice(0, 2)) * inputs.v.shape.at(-1)!),
        withGaps([...inputs.q.shape.slice(0, 2), inputs.v.shape.at(-1)!], gap),
      ),
    }),
  };
  return { args, lent };
}

export function optionsOf(varlen: VarlenCase) {
  const { causal, windowSize, softcap, softmaxScale, attentionChunk, firstKeys, numSplits, kvRotation } =
    varlen;
  return {
    causal,
    windowSize,
    softcap,
    softmaxScale,
    attentionChunk,
    firstKeys,
    numSplits,
    ...(kvRotation && { kvRotation }),
  };
}

/** Bytes of a pool in f32 that every device can bind, with gaps between its rows. */
const MOST_POOL_BYTES = 1e8;

/**
 * Scatters keys and values over a random choice of three times the pages they need, or of fewer where these would be too
 * large; all other slots are NaN.
 */
function intoPages(
  random: Random,
  pageSize: number,
  cuSeqlensK: Int32Array,
  keys: HostTensor,
  values: HostTensor,
): { readonly k: HostTensor; readonly v: HostTensor; readonly blockTable: Int32Array } {
  const batch = cuSeqlensK.length - 1;
  const lengths = Array.from({ length: batch }, (_, b) => cuSeqlensK[b + 1]! - cuSeqlensK[b]!);
  const pagesOf = lengths.map((length) => Math.ceil(length / pageSize));
  const width = Math.max(1, ...pagesOf);
  const nUsed = pagesOf.reduce((sum, pages) => sum + pages, 0);
  const rowOf = ({ shape: [, nKvHeads, size] }: HostTensor) => nKvHeads! * size!;
  const pageBytes = 4 * pageSize * Math.max(rowOf(keys), rowOf(values));
  const fitting = Math.max(nUsed + 1, Math.floor(MOST_POOL_BYTES / pageBytes));
  const nPages = Math.max(1, Math.min(3 * nUsed, fitting));
  const order = random.permutation(nPages);
  // Entries that no key needs name a page of NaN.
  const blockTable = new Int32Array(batch * width).fill(order.at(-1)!);
  const slots: number[] = [];
  let used = 0;
  lengths.forEach((length, b) => {
    for (let column = 0; column < pagesOf[b]!; column++) blockTable[b * width + column] = order[used++]!;
    for (let j = 0; j < length; j++)
      slots.push(blockTable[b * width + Math.floor(j / pageSize)]! * pageSize + (j % pageSize));
  });
  const scatter = ({ shape, data }: HostTensor): HostTensor => {
    const [, nKvHeads, size] = shape as [number, number, number];
    const row = rowOf({ shape, data });
    const paged = new Float32Array(nPages * pageSize * row).fill(NaN);
    slots.forEach((slot, j) => paged.set(data.subarray(j * row, (j + 1) * row), slot * row));
    return { shape: [nPages, pageSize, nKvHeads, size], data: paged };
  };
  return { k: scatter(keys), v: scatter(values), blockTable };
}
