import { describe } from '../core/errors.js';
import { FLOATS, isQuantised, type DType } from '../core/dtype.js';
import { isTensor, windowOf, type Floats, type Tensor } from '../core/tensor.js';
import type { AttnWithKvCacheArgs } from '../problem/attentionArgs.js';
import {
  isHostLengths,
  type AppendProblem,
  type BlockTable,
  type DeviceLengths,
  type HostLengths,
  type Masks,
  type Rotary,
  type SmallFloats,
} from '../problem/attentionProblem.js';
import { denseRows, raggedRows } from '../problem/tokenRows.js';
import { isCount, isHostArray, type Call } from './call.js';
import { checkFloats } from './checkNumbers.js';
import { checkSharedScales } from './checkScales.js';
import { checkNoOverlapWithin, checkOwnBuffer, isViewOfKeys, mayOverlap } from './checkOverlap.js';
import { checkSectionArgs, checkTokenPositions, sectionsOf } from './checkSections.js';
import { checkDims, checkForm, checkSameType, checkSizes, checkTensor } from './checkTensor.js';

type NewTokens = Pick<AttnWithKvCacheArgs, 'k' | 'v' | 'kCache' | 'vCache' | 'cuSeqlensKNew'>;

interface Sizes {
  readonly batch: number;
  readonly nKvHeads: number;
  readonly headDim: number;
  readonly headDimV: number;
}

/** Checks the tensors of new tokens, if there are any. */
export function checkNewTokens(
  call: Call,
  { k, v, kCache, vCache, cuSeqlensKNew }: NewTokens,
  { batch, nKvHeads, headDim, headDimV }: Sizes,
): void {
  if (k === undefined && v === undefined) return;
  if (k === undefined) call.refuse('argument', 'k is missing: new tokens need both k and v.');
  const isView = isViewOfKeys(vCache, kCache);
  if (v === undefined && !isView)
    call.refuse(
      'argument',
      'v is missing: new tokens need both k and v. It may only be left out where vCache is a view of kCache.',
    );
  if (v !== undefined && isView)
    call.refuse(
      'argument',
      'vCache is a view of kCache, so new keys bring their values with them. Leave v out.',
    );
  const isDense = cuSeqlensKNew === undefined;
  const tokens = isDense ? ['B', 'Snew'] : ['totalNew'];
  const dims = { k: [...tokens, 'Hkv', 'D'], v: [...tokens, 'Hkv', 'Dv'] };
  const hints = isDense
    ? { 3: 'If they are ragged, pass cuSeqlensKNew.' }
    : { 4: 'If each sequence has as many, leave cuSeqlensKNew out.' };
  checkTensor(call, 'k', k, { dtypes: FLOATS, dims: dims.k, hints });
  if (v) {
    checkTensor(call, 'v', v, { dtypes: FLOATS, dims: dims.v, hints });
    checkSameType(call, { k: k.dtype, v: v.dtype });
    checkDims(call, { k: [k, ...dims.k], v: [v, ...dims.v] });
  }
  const sizes = isDense ? [batch, k.shape[1]!] : [k.shape[0]!];
  checkSizes(call, 'k', k, { dims: dims.k, sizes: [...sizes, nKvHeads, headDim] });
  if (!v) return;
  checkSizes(call, 'v', v, { dims: dims.v, sizes: [...sizes, nKvHeads, headDimV] });
}

type RotaryArgs = Pick<
  AttnWithKvCacheArgs,
  | 'rotaryCos'
  | 'rotarySin'
  | 'rotaryDim'
  | 'rotaryInterleaved'
  | 'rotarySections'
  | 'rotarySectionsInterleaved'
  | 'positions'
>;

interface Context {
  readonly lengths: HostLengths | DeviceLengths;
  readonly pages: BlockTable | null;
  readonly masks: Masks;
  readonly headDim: number;
}

/**
 * Returns what is to be appended and rotated; null if nothing is. Call `checkNewTokens` before. Whether tensors overlap is
 * checked by `checkAppendApart`.
 */
export function checkAppend(
  call: Call,
  args: NewTokens & RotaryArgs & Placed,
  context: Context,
): AppendProblem | null {
  const { memory } = call;
  const { lengths, pages } = context;
  const { k, v, q, kCache, vCache, kScale, vScale, cuSeqlensKNew } = args;
  const rotary = checkRotary(call, args, context);
  const tensors = [q, k, v, kCache, vCache, args.blockTable, args.rotaryCos, args.rotarySin];
  const apart = memory.keep('append apart', tensors, () => isQuantised(kCache.dtype) || mustBeApart(args));
  memory.keep('checked elements', [q, k, kCache, vCache, kScale, vScale, rotary], () => {
    // Rotated queries are stored with the strides of q, so no two may share an element.
    if (rotary) checkNoOverlapWithin(call, 'q', q);
    if (!k) return;
    checkNoOverlapWithin(call, 'kCache', kCache);
    checkNoOverlapWithin(call, 'vCache', vCache);
    if (isScaleOfTokens(kCache, kScale)) checkNoOverlapWithin(call, 'kScale', kScale);
    if (v && isScaleOfTokens(vCache, vScale)) checkNoOverlapWithin(call, 'vScale', vScale);
  });
  if (k && isHostLengths(lengths))
    memory.keep('checked writes', [lengths, pages], () => checkWrittenOnce(call, lengths, pages));
  const isDense = cuSeqlensKNew === undefined;
  return memory.keep('append problem', [k, v, rotary, isDense, apart], () => {
    if (!k) return rotary && { newK: null, newV: null, rotary, apart: false };
    const rows = isDense ? denseRows : raggedRows;
    return { newK: rows(k), newV: v ? rows(v) : null, rotary, apart };
  });
}

type Placed = Pick<
  AttnWithKvCacheArgs,
  'q' | 'k' | 'v' | 'kCache' | 'vCache' | 'kScale' | 'vScale' | 'blockTable' | 'rotaryCos' | 'rotarySin'
>;

/** Whether scales are written with the tokens of a cache, as those of i8 and i4 are. */
function isScaleOfTokens({ dtype }: Tensor, scale: Floats | undefined): scale is Tensor {
  return isQuantised(dtype) && dtype !== 'e4m3' && isTensor(scale);
}

/**
 * Whether one dispatch cannot write both caches and rotate queries: WebGPU lets none read what it writes, or bind ranges
 * that it writes where they meet, as those of caches whose pages have keys beside values.
 */
function mustBeApart({ q, k, v, kCache, vCache, blockTable, rotaryCos, rotarySin }: Placed): boolean {
  const read = [rotaryCos && q, k, v, blockTable, rotaryCos, rotarySin];
  const isWritten = (value: unknown): boolean =>
    isTensor(value) && (value.buffer === kCache.buffer || value.buffer === vCache.buffer);
  if (read.some(isWritten)) return true;
  // Then keys bring their values with them, and the cache is bound once.
  if (!v) return false;
  return doWindowsMeet(kCache, vCache);
}

/** Whether the ranges that a dispatch binds of two tensors meet. */
function doWindowsMeet(a: Tensor, b: Tensor): boolean {
  const [ofA, ofB] = [windowOf(a), windowOf(b)];
  return a.buffer === b.buffer && ofA.offset < ofB.offset + ofB.size && ofB.offset < ofA.offset + ofA.size;
}

/**
 * Checks that the caches do not overlap, and that what is read while a cache is written is not in its buffer.
 *
 * @param apart whether keys, values and queries have a dispatch each
 */
export function checkAppendApart(call: Call, args: Placed, apart: boolean): void {
  const { k, v, kCache, vCache, kScale, vScale, blockTable, rotaryCos, rotarySin } = args;
  if (!v && !isViewOfKeys(vCache, kCache))
    call.refuse('buffer', 'v is left out, so vCache must be a view of kCache in every layer.');
  if (!v) checkSharedScales(call, args);
  if (v && mayOverlap(kCache, vCache))
    call.refuse('buffer', 'kCache and vCache overlap, so new keys and values would overwrite each other.');
  const ofK = { k, blockTable, rotaryCos, rotarySin };
  const ofV = { v, blockTable };
  const isGiven = kCache.dtype === 'e4m3';
  checkOwnBuffer(call, 'kCache', kCache, isGiven ? { ...ofK, kScale } : ofK, 'read');
  checkOwnBuffer(call, 'vCache', vCache, isGiven ? { ...ofV, vScale } : ofV, 'read');
  if (isScaleOfTokens(kCache, kScale)) {
    // Without v, these serve values too.
    const ofValues = v && isScaleOfTokens(vCache, vScale) ? vScale : undefined;
    checkOwnBuffer(call, 'kScale', kScale, ofK, 'read');
    if (ofValues) checkOwnBuffer(call, 'vScale', ofValues, ofV, 'read');
    checkScalesApart(call, { kCache, vCache, kScale, vScale: ofValues });
  }
  if (!apart && mustBeApart(args))
    call.refuse(
      'buffer',
      'k, v or q shares its buffer with a cache, or the caches interleave, unlike the tensors that the plan was made with. Make another plan for such layers.',
    );
}

interface QuantisedTensors {
  readonly kCache: Tensor;
  readonly vCache: Tensor;
  readonly kScale: Tensor;
  /** Undefined where those of keys serve values too. */
  readonly vScale: Tensor | undefined;
}

/** Checks that scales overlap neither each other nor the caches, and that a dispatch can bind them beside their codes. */
function checkScalesApart(call: Call, tensors: QuantisedTensors): void {
  const { kCache, vCache, kScale, vScale } = tensors;
  const pairs = { kScale: ['vScale', 'kCache', 'vCache'], vScale: ['kCache', 'vCache'] } as const;
  for (const name of ['kScale', 'vScale'] as const)
    for (const other of pairs[name]) {
      const [scale, written] = [tensors[name], tensors[other]];
      if (scale && written && mayOverlap(scale, written))
        call.refuse('buffer', `${name} and ${other} overlap, so one would overwrite the other.`);
    }
  const bound = [
    ['kScale', kScale, 'kCache', kCache] as const,
    ['vScale', vScale, 'vCache', vCache] as const,
  ];
  for (const [name, scale, other, cache] of bound)
    if (scale && doWindowsMeet(scale, cache))
      call.refuse(
        'buffer',
        `${name} and ${other} are too close in one buffer: put them 256 bytes apart, or in two buffers.`,
      );
}

/** Checks that no row of the cache and no page is written by two sequences, or twice by one. */
function checkWrittenOnce(call: Call, lengths: HostLengths, pages: BlockTable | null): void {
  if (pages && isTensor(pages.table)) return;
  const written = placesWritten(call, lengths, pages);
  written.sort();
  for (let i = 1; i < written.length; i++)
    if (written[i] === written[i - 1]) refuseWrittenTwice(call, lengths, pages);
}

/** Returns the rows, or the pages, to which new tokens are written. */
function placesWritten(call: Call, lengths: HostLengths, pages: BlockTable | null): Int32Array {
  const { kLen, nCached, row } = lengths;
  const firstColumn = (b: number): number => (pages ? Math.floor(nCached[b]! / pages.pageSize) : 0);
  const endColumn = (b: number): number => (pages ? Math.ceil(kLen[b]! / pages.pageSize) : 1);
  let n = 0;
  for (let b = 0; b < kLen.length; b++) if (kLen[b] !== nCached[b]) n += endColumn(b) - firstColumn(b);
  const places = call.memory.ints('places written', n);
  n = 0;
  for (let b = 0; b < kLen.length; b++) {
    if (kLen[b] === nCached[b]) continue;
    for (let column = firstColumn(b); column < endColumn(b); column++)
      places[n++] = pages ? (pages.table as Int32Array)[row[b]! * pages.width + column]! : row[b]!;
  }
  return places;
}

/** Throws for the first row or page that is written a second time. */
function refuseWrittenTwice(call: Call, { kLen, nCached, row }: HostLengths, pages: BlockTable | null): void {
  const writers = new Map<number, number>();
  kLen.forEach((length, b) => {
    if (length === nCached[b]) return;
    if (!pages) {
      const other = writers.get(row[b]!);
      if (other !== undefined) {
        call.refuse(
          'length',
          `sequences ${other} and ${b} both write new tokens to row ${row[b]} of kCache. Give each sequence its own row.`,
        );
      }
      writers.set(row[b]!, b);
      return;
    }
    const { pageSize, width } = pages;
    const table = pages.table as Int32Array;
    for (let column = Math.floor(nCached[b]! / pageSize); column * pageSize < length; column++) {
      const page = table[row[b]! * width + column]!;
      const other = writers.get(page);
      if (other !== undefined) {
        const problem =
          other === b
            ? `sequence ${b} writes new tokens twice to page ${page}. Give each column of its block table its own page.`
            : `sequences ${other} and ${b} both write new tokens to page ${page}. Copy a shared page first.`;
        call.refuse('length', problem);
      }
      writers.set(page, b);
    }
  });
}

export function checkRotary(
  call: Call,
  args: RotaryArgs,
  { lengths, masks, headDim }: Omit<Context, 'pages'>,
): Rotary | null {
  const { rotaryCos, rotarySin, rotaryDim, rotaryInterleaved } = args;
  const { rotarySections, rotarySectionsInterleaved, positions } = args;
  const of = [rotaryCos, rotarySin, rotaryDim, rotaryInterleaved, masks, headDim];
  const sections = [rotarySections, rotarySectionsInterleaved, positions === undefined];
  const rotary = call.memory.keep('rotary', [...of, ...sections], () => rotaryOf(call, args, masks, headDim));
  if (!rotary || !isHostLengths(lengths)) return rotary;
  if (positions !== undefined) checkTokenPositions(call, lengths, masks.tokens!, rotary);
  else checkPositions(call, lengths, rotary);
  return rotary;
}

function rotaryOf(call: Call, args: RotaryArgs, masks: Masks, headDim: number): Rotary | null {
  const { rotaryCos, rotarySin, rotaryDim, rotaryInterleaved } = args;
  call.flag('rotaryInterleaved', rotaryInterleaved);
  checkSectionArgs(call, args);
  if ((rotaryCos === undefined) !== (rotarySin === undefined)) {
    const missing = rotaryCos ? 'Sin' : 'Cos';
    call.refuse('argument', `rotary${missing} is missing: pass rotaryCos and rotarySin together.`);
  }
  if (rotaryCos === undefined || rotarySin === undefined) {
    if (rotaryDim !== undefined)
      call.refuse('argument', 'rotaryDim is given, but neither rotaryCos nor rotarySin.');
    return null;
  }
  const dims = ['L', 'rotaryDim / 2'];
  if (isTensor(rotaryCos)) checkForm(call, 'rotaryCos', rotaryCos, { dtypes: FLOATS, dims });
  const pairs = rotaryPairs(call, rotaryCos, rotaryDim, headDim);
  const nPositions = positionsOf(call, rotaryCos, pairs);
  const rule = { dims, sizes: [nPositions, pairs] };
  const cos = checkFloats(call, 'rotaryCos', rotaryCos, rule);
  const sin = checkFloats(call, 'rotarySin', rotarySin, rule);
  if (isTensor(cos) !== isTensor(sin))
    call.refuse('argument', 'pass rotaryCos and rotarySin both on the GPU or both on the host.');
  checkSameType(call, { rotaryCos: dtypeOf(cos), rotarySin: dtypeOf(sin) });
  const sections = sectionsOf(call, args, pairs);
  return {
    cos,
    sin,
    nPositions,
    pairs,
    interleaved: rotaryInterleaved ?? true,
    queriesAdvance: masks.left >= 0 || masks.right >= 0 || masks.causal,
    ...(sections && { sections }),
  };
}

/** Returns rotaryDim / 2. */
function rotaryPairs(call: Call, rotaryCos: Floats, rotaryDim: number | undefined, headDim: number): number {
  const byDefault = isTensor(rotaryCos) ? 2 * rotaryCos.shape[1]! : headDim;
  const dim = rotaryDim === undefined ? byDefault : rotaryDim;
  if (isCount(dim) && dim % 2 === 0 && dim >= 2 && dim <= headDim) return dim / 2;
  const source = isTensor(rotaryCos)
    ? ', which is what the shape of rotaryCos says'
    : ', which is the head size. Pass rotaryDim';
  call.refuse(
    'argument',
    `rotaryDim must be an even number from 2 to the head size ${headDim}, not ${describe(dim)}${rotaryDim === undefined ? source : ''}.`,
  );
}

/** Returns the number of positions that the cosines are for. */
function positionsOf(call: Call, rotaryCos: Floats, pairs: number): number {
  if (isTensor(rotaryCos)) {
    const nPositions = rotaryCos.shape[0]!;
    if (nPositions > 0) return nPositions;
    call.refuse('shape', 'rotaryCos has no rows: pass one for each position.');
  }
  const length = isHostArray(rotaryCos) ? rotaryCos.length : 0;
  if (length > 0 && length % pairs === 0) return length / pairs;
  call.refuse(
    'shape',
    `rotaryCos must be a tensor, or an array of numbers, ${pairs} (rotaryDim / 2) for each position, not ${isHostArray(rotaryCos) ? `${length} numbers. Pass rotaryDim if fewer elements are rotated` : describe(rotaryCos)}.`,
  );
}

function dtypeOf(floats: SmallFloats): DType {
  return isTensor(floats) ? floats.dtype : 'f32';
}

/** Checks that there is a rotation for each position that a query or a new key is at. */
function checkPositions(
  call: Call,
  { qLen, kLen, nCached }: HostLengths,
  { nPositions, queriesAdvance }: Rotary,
): void {
  qLen.forEach((nQueries, b) => {
    const lastQuery = nQueries > 0 ? nCached[b]! + (queriesAdvance ? nQueries - 1 : 0) : -1;
    const lastKey = kLen[b]! > nCached[b]! ? kLen[b]! - 1 : -1;
    const last = Math.max(lastQuery, lastKey);
    if (last < nPositions) return;
    call.refuse(
      'length',
      `sequence ${b} reaches position ${last}, but rotaryCos has the positions 0 to ${nPositions - 1}. Pass a longer table.`,
    );
  });
}
