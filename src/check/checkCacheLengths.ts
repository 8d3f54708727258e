import { INTS } from '../core/dtype.js';
import { isTensor, sameNumbers, sameView, type Ints, type Tensor } from '../core/tensor.js';
import type { AttnWithKvCacheArgs } from '../problem/attentionArgs.js';
import {
  deviceLengths,
  hostLengths,
  type BlockTable,
  type DeviceLengths,
  type HostLengths,
} from '../problem/attentionProblem.js';
import { isCount, isHostArray, MAX_INT, type Call } from './call.js';
import { capacityOf, checkBlockTable, checkTableWidth } from './checkBlockTable.js';
import {
  checkSeqlens,
  checkSums,
  longest,
  MAX_LENGTH,
  onHost,
  optional,
  refuseUnbounded,
  spans,
  type Spans,
} from './checkLengths.js';
import { checkInts } from './checkNumbers.js';
import { checkForm } from './checkTensor.js';

export interface CacheLengths {
  readonly lengths: HostLengths | DeviceLengths;
  readonly pages: BlockTable | null;
}

type LengthArgs = Pick<
  AttnWithKvCacheArgs,
  | 'q'
  | 'k'
  | 'kCache'
  | 'cacheSeqlens'
  | 'cuSeqlensQ'
  | 'cuSeqlensKNew'
  | 'maxSeqlenQ'
  | 'maxSeqlenK'
  | 'blockTable'
  | 'cacheBatchIdx'
  | 'cacheLeftpad'
>;

/**
 * Returns lengths, new tokens, rows and pages of the sequences of a cache. What the host knows is checked, what only the GPU
 * knows is bounded.
 */
export function checkCacheLengths(call: Call, args: LengthArgs, batch: number): CacheLengths {
  const { q, k, kCache, cacheSeqlens, cuSeqlensQ, cuSeqlensKNew } = args;
  const { maxSeqlenQ, maxSeqlenK, blockTable, cacheBatchIdx, cacheLeftpad } = args;
  const of = [q, k, kCache, cacheSeqlens, cuSeqlensQ, cuSeqlensKNew, maxSeqlenQ, maxSeqlenK];
  return call.memory.keep('lengths', [...of, blockTable, cacheBatchIdx, cacheLeftpad, batch], () =>
    cacheLengths(call, args, batch),
  );
}

function cacheLengths(call: Call, args: LengthArgs, batch: number): CacheLengths {
  const { q, kCache, k } = args;
  const perSequence = { dims: ['B'], sizes: [batch] };
  const cuSeqlensQ = optional(args.cuSeqlensQ, (sums) =>
    checkSums(call, 'cuSeqlensQ', sums, { batch, total: q.shape[0] }),
  );
  const cuSeqlensKNew = checkCuSeqlensKNew(call, args, batch);
  const cacheSeqlens = checkCacheSeqlens(call, args.cacheSeqlens, batch);
  const cacheBatchIdx = optional(args.cacheBatchIdx, (ints) =>
    checkInts(call, 'cacheBatchIdx', ints, perSequence),
  );
  const cacheLeftpad = optional(args.cacheLeftpad, (ints) =>
    checkInts(call, 'cacheLeftpad', ints, perSequence),
  );
  const pages = optional(args.blockTable, (blockTable) =>
    checkBlockTable(call, {
      blockTable,
      nRows: batch,
      mayHaveMore: cacheBatchIdx !== null,
      k: kCache,
      kName: 'kCache',
    }),
  );
  const nRows = pages ? pages.nRows : kCache.shape[0]!;
  if (!pages) checkEnoughRows(call, nRows, batch, cacheBatchIdx !== null);

  const maxSeqlenQ = call.count('maxSeqlenQ', args.maxSeqlenQ, Infinity);
  const maxSeqlenK = call.count('maxSeqlenK', args.maxSeqlenK, Infinity);
  const capacity = pages ? capacityOf(pages) : kCache.shape[1]!;
  const queries = spansOf(call, 'cuSeqlensQ', cuSeqlensQ, { tensor: q, name: 'q', batch });
  const newTokens = spansOf(call, 'cuSeqlensKNew', cuSeqlensKNew, { tensor: k, name: 'k', batch });
  if (queries) checkSeqlens(call, 'queries', queries.lengths, maxSeqlenQ);
  if (onHost(cacheBatchIdx)) checkRows(call, cacheBatchIdx, nRows, pages ? 'blockTable' : 'kCache');

  // Keys as far as the host knows; without new tokens whose count is on the GPU.
  const knownKLen = onHost(cacheSeqlens) && sumsOf(call, cacheSeqlens, newTokens?.lengths);
  if (knownKLen) {
    if (pages) checkTableWidth(call, pages, knownKLen);
    else checkRowLength(call, knownKLen, capacity);
  }
  const kLen = knownKLen && newTokens ? knownKLen : null;
  if (kLen) {
    checkSeqlens(call, 'keys', kLen, maxSeqlenK);
    if (onHost(cacheLeftpad)) checkLeftpad(call, cacheLeftpad, kLen);
  }

  if (queries && newTokens && kLen && isHostOrAbsent(cacheBatchIdx) && isHostOrAbsent(cacheLeftpad)) {
    const known = {
      qStart: queries.starts,
      qLen: queries.lengths,
      kLen,
      nCached: cacheSeqlens as Int32Array,
      newStart: newTokens.starts,
      ...(cacheLeftpad && { firstKey: cacheLeftpad }),
      ...(cacheBatchIdx && { row: cacheBatchIdx }),
    };
    return { lengths: hostLengths(known, call.memory), pages };
  }
  if (!queries && maxSeqlenQ === Infinity) refuseUnbounded(call, 'cuSeqlensQ', 'maxSeqlenQ');
  const totalNew = k ? (cuSeqlensKNew ? k.shape[0]! : batch * k.shape[1]!) : 0;
  const lengths = deviceLengths({
    cuSeqlensQ,
    nCached: cacheSeqlens,
    cuSeqlensKNew,
    cacheBatchIdx,
    cacheLeftpad,
    totalQ: cuSeqlensQ ? q.shape[0]! : batch * q.shape[1]!,
    keysInRows: true,
    totalK: capacity,
    totalNew,
    maxNew: newTokens ? longest(newTokens.lengths) : totalNew,
    nRows,
    maxSeqlenQ: Math.min(maxSeqlenQ, queries ? longest(queries.lengths) : q.shape[0]!, MAX_LENGTH),
    maxSeqlenK: Math.min(maxSeqlenK, capacity, MAX_LENGTH),
  });
  return { lengths, pages };
}

/** Adds numbers of new tokens, clamped, so that a sum which overflows 32 bits still fails the check of the capacity. */
function sumsOf(call: Call, cached: Int32Array, fresh: Int32Array | undefined): Int32Array {
  const sums = call.memory.ints('keys', cached.length);
  for (let b = 0; b < sums.length; b++) sums[b] = Math.min(cached[b]! + (fresh?.[b] ?? 0), MAX_INT);
  return sums;
}

/** Whether integers are on the host, or were left out. */
function isHostOrAbsent(ints: Tensor | Int32Array | null): ints is Int32Array | null {
  return ints === null || !isTensor(ints);
}

/** Returns null where there are no new tokens. A batch has the field all the same, with the numbers of its queries. */
function checkCuSeqlensKNew(
  call: Call,
  { k, cuSeqlensQ, cuSeqlensKNew }: Pick<LengthArgs, 'k' | 'cuSeqlensQ' | 'cuSeqlensKNew'>,
  batch: number,
): Tensor | Int32Array | null {
  if (cuSeqlensKNew === undefined) return null;
  if (k) return checkSums(call, 'cuSeqlensKNew', cuSeqlensKNew, { batch, total: k.shape[0] });
  if (isTensor(cuSeqlensKNew))
    checkForm(call, 'cuSeqlensKNew', cuSeqlensKNew, { dtypes: INTS, dims: ['B + 1'] });
  if (cuSeqlensQ === undefined || !areSame(cuSeqlensKNew, cuSeqlensQ)) {
    call.refuse(
      'argument',
      'cuSeqlensKNew is given, but no new tokens k and v. Pass these, or leave it out: without them it may only be what cuSeqlensQ is.',
    );
  }
  return null;
}

/** Whether integers are the same numbers, on the GPU as far as they are the same memory. */
function areSame(a: Ints, b: Ints): boolean {
  if (isTensor(a) || isTensor(b)) return isTensor(a) && isTensor(b) && sameView(a, b);
  return isHostArray(a) && isHostArray(b) && sameNumbers(a, b);
}

function checkCacheSeqlens(
  call: Call,
  cacheSeqlens: LengthArgs['cacheSeqlens'],
  batch: number,
): Tensor | Int32Array {
  if (cacheSeqlens === undefined)
    call.refuse(
      'argument',
      'cacheSeqlens is missing. Pass how many tokens the cache holds: one number, or one for each sequence.',
    );
  const isNumber = typeof cacheSeqlens === 'number';
  if (isNumber && isCount(cacheSeqlens) && cacheSeqlens <= MAX_INT)
    return call.memory.ints('cacheSeqlens', batch).fill(cacheSeqlens);
  // Without sequences, the checks below look at none of it.
  if (isNumber && batch === 0) call.count('cacheSeqlens', cacheSeqlens, 0);
  const given = isNumber ? Array.from({ length: batch }, () => cacheSeqlens) : cacheSeqlens;
  const checked = checkInts(call, 'cacheSeqlens', given, { dims: ['B'], sizes: [batch] });
  if (onHost(checked)) {
    call.each(
      'length',
      checked,
      (length) => length >= 0,
      (b) => `cacheSeqlens[${b}] must be ≥ 0, not ${checked[b]}.`,
    );
  }
  return checked;
}

/** Returns where each sequence's tokens begin in a tensor, and how many they are; null where only the GPU knows. */
function spansOf(
  call: Call,
  sumsName: string,
  sums: Tensor | Int32Array | null,
  {
    tensor,
    name,
    batch,
  }: { readonly tensor: Tensor | undefined; readonly name: string; readonly batch: number },
): Spans | null {
  if (!tensor || !sums) {
    const nTokens = tensor ? tensor.shape[1]! : 0;
    return call.memory.keep(`equal lengths of ${name}`, [batch, nTokens], () => ({
      starts: new Int32Array(batch),
      lengths: new Int32Array(batch).fill(nTokens),
    }));
  }
  return onHost(sums) ? spans(call, sumsName, sums, tensor.shape[0]!, name) : null;
}

function checkEnoughRows(call: Call, nRows: number, batch: number, mayShare: boolean): void {
  if (batch > 0 && nRows === 0) call.refuse('shape', 'kCache has no rows.');
  if (mayShare || nRows >= batch) return;
  call.refuse(
    'shape',
    `kCache has ${nRows} row${nRows === 1 ? '' : 's'} for ${batch} sequences. Pass cacheBatchIdx if they share rows.`,
  );
}

function checkRows(call: Call, cacheBatchIdx: Int32Array, nRows: number, name: string): void {
  call.each(
    'length',
    cacheBatchIdx,
    (row) => row >= 0 && row < nRows,
    (b) => `cacheBatchIdx[${b}] is ${cacheBatchIdx[b]}, but ${name} has the rows 0 to ${nRows - 1}.`,
  );
}

function checkRowLength(call: Call, kLen: Int32Array, capacity: number): void {
  call.each(
    'length',
    kLen,
    (length) => length <= capacity,
    (b) =>
      `sequence ${b} needs ${kLen[b]} slots but a row of kCache has ${capacity}. Pass a longer cache, or pages.`,
  );
}

function checkLeftpad(call: Call, cacheLeftpad: Int32Array, kLen: Int32Array): void {
  call.each(
    'length',
    cacheLeftpad,
    (pad, b) => pad >= 0 && pad <= kLen[b]!,
    (b) => `cacheLeftpad[${b}] must be 0 to the ${kLen[b]} keys of the sequence, not ${cacheLeftpad[b]}.`,
  );
}
