import { fail } from '../core/errors.js';
import { isTensor, sameNumbers, sameView, type Ints, type Tensor } from '../core/tensor.js';
import type { DeviceLengths, HostLengths, PageTable } from '../problem/attentionProblem.js';
import type { AttnWithKvCacheArgs } from '../problem/attentionArgs.js';
import type { Call } from './call.js';
import { checkRoomInTable } from './checkBlockTable.js';
import {
  checkCountable,
  checkMost,
  checkPageTable,
  checkSums,
  longest,
  MAX_LENGTH,
  onHost,
  optional,
  roomOf,
  spans,
} from './checkLengths.js';
import { checkCount, checkInts, INTS, isHostArray, MAX_INT } from './checkNumbers.js';
import { checkForm } from './checkTensor.js';

export interface CacheLengths {
  readonly lengths: HostLengths | DeviceLengths;
  readonly pages: PageTable | null;
}

/** Lengths, new tokens, rows and pages of the sequences of a cache: on the host checked, on the GPU bounded. */
export function checkCacheLengths(call: Call, args: AttnWithKvCacheArgs, batch: number): CacheLengths {
  const { name: caller, traits } = call;
  const { q, kCache, k } = args;
  const ints = (name: string, value: Ints | undefined, rule: { dims: string[]; sizes: number[] }) =>
    optional(value, (given) => checkInts(caller, name, given, rule, traits));
  const each = { dims: ['B'], sizes: [batch] };

  const cuSeqlensQ = optional(args.cuSeqlensQ, (sums) =>
    checkSums(call, 'cuSeqlensQ', sums, { batch, total: q.shape[0] }),
  );
  const cuSeqlensKNew = checkCuSeqlensKNew(call, args, batch);
  const cacheSeqlens = checkCacheSeqlens(call, args.cacheSeqlens, batch);
  const cacheBatchIdx = ints('cacheBatchIdx', args.cacheBatchIdx, each);
  const cacheLeftpad = ints('cacheLeftpad', args.cacheLeftpad, each);
  const pages = optional(args.blockTable, (blockTable) => {
    const table = {
      blockTable,
      nRows: batch,
      mayHaveMore: cacheBatchIdx !== null,
      k: kCache,
      kName: 'kCache',
    };
    return checkPageTable(call, table);
  });
  const nRows = pages ? pages.nRows : kCache.shape[0]!;
  if (!pages && batch > 0 && nRows === 0) fail('shape', caller, 'kCache has no rows.');
  if (!pages && !cacheBatchIdx && nRows < batch) {
    fail(
      'shape',
      caller,
      `kCache has ${nRows} row${nRows === 1 ? '' : 's'} for ${batch} sequences. Pass cacheBatchIdx if they share rows.`,
    );
  }

  const maxSeqlenQ = checkCount(caller, 'maxSeqlenQ', args.maxSeqlenQ, Infinity);
  const maxSeqlenK = checkCount(caller, 'maxSeqlenK', args.maxSeqlenK, Infinity);
  const room = pages ? roomOf(pages) : kCache.shape[1]!;
  const queries = queriesOf(caller, q, cuSeqlensQ, batch);
  const fresh = newTokensOf(caller, k, cuSeqlensKNew, batch);
  if (queries) {
    checkMost(caller, 'maxSeqlenQ', maxSeqlenQ, queries.lengths, 'queries');
    checkCountable(caller, queries.lengths, 'queries');
  }
  if (onHost(cacheBatchIdx)) checkRows(caller, cacheBatchIdx, nRows, pages ? 'blockTable' : 'kCache');

  // Sums that leave 32 bits stay too long.
  const atLeast =
    onHost(cacheSeqlens) &&
    cacheSeqlens.map((length, b) => Math.min(length + (fresh?.lengths[b] ?? 0), MAX_INT));
  if (atLeast) {
    if (pages) checkRoomInTable(caller, pages, atLeast);
    else checkRoom(caller, atLeast, room);
  }
  const kLen = atLeast && fresh ? atLeast : null;
  if (kLen) {
    checkMost(caller, 'maxSeqlenK', maxSeqlenK, kLen, 'keys');
    checkCountable(caller, kLen, 'keys');
    if (onHost(cacheLeftpad)) checkLeftpad(caller, cacheLeftpad, kLen);
  }

  if (queries && fresh && kLen && isKnown(cacheBatchIdx) && isKnown(cacheLeftpad)) {
    const zeros = new Int32Array(batch);
    const lengths: HostLengths = {
      qStart: queries.starts,
      qLen: queries.lengths,
      kStart: zeros,
      kLen,
      nCached: cacheSeqlens as Int32Array,
      newStart: fresh.starts,
      firstKey: cacheLeftpad ?? zeros,
      row: cacheBatchIdx ?? zeros.map((_, b) => b),
    };
    return { lengths, pages };
  }
  if (!queries && maxSeqlenQ === Infinity)
    fail('argument', caller, 'cuSeqlensQ is on the GPU, so maxSeqlenQ is needed.');
  const totalNew = k ? (cuSeqlensKNew ? k.shape[0]! : batch * k.shape[1]!) : 0;
  const lengths: DeviceLengths = {
    cuSeqlensQ,
    cuSeqlensK: null,
    sequsedK: cacheSeqlens,
    cuSeqlensKNew,
    cacheBatchIdx,
    cacheLeftpad,
    totalQ: cuSeqlensQ ? q.shape[0]! : batch * q.shape[1]!,
    keysInRows: true,
    totalK: room,
    totalNew,
    maxNew: fresh ? longest(fresh.lengths) : totalNew,
    nRows,
    maxSeqlenQ: Math.min(maxSeqlenQ, queries ? longest(queries.lengths) : q.shape[0]!, MAX_LENGTH),
    maxSeqlenK: Math.min(maxSeqlenK, room, MAX_LENGTH),
  };
  return { lengths, pages };
}

function isKnown(ints: Tensor | Int32Array | null): ints is Int32Array | null {
  return ints === null || !isTensor(ints);
}

/** Null where there are no new tokens. A batch names its own all the same, as what it says of the queries. */
function checkCuSeqlensKNew(
  call: Call,
  { k, cuSeqlensQ, cuSeqlensKNew }: AttnWithKvCacheArgs,
  batch: number,
): Tensor | Int32Array | null {
  if (cuSeqlensKNew === undefined) return null;
  if (k) return checkSums(call, 'cuSeqlensKNew', cuSeqlensKNew, { batch, total: k.shape[0] });
  if (isTensor(cuSeqlensKNew))
    checkForm(call.name, 'cuSeqlensKNew', cuSeqlensKNew, { dtypes: INTS, dims: ['B + 1'] });
  if (cuSeqlensQ === undefined || !areSame(cuSeqlensKNew, cuSeqlensQ)) {
    fail(
      'argument',
      call.name,
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
  { name: caller, traits }: Call,
  cacheSeqlens: AttnWithKvCacheArgs['cacheSeqlens'],
  batch: number,
): Tensor | Int32Array {
  if (cacheSeqlens === undefined)
    fail(
      'argument',
      caller,
      'cacheSeqlens is missing. Pass how many tokens the cache holds: one number, or one for each sequence.',
    );
  // Without sequences, nothing of it is looked at below.
  if (typeof cacheSeqlens === 'number' && batch === 0) checkCount(caller, 'cacheSeqlens', cacheSeqlens, 0);
  const given =
    typeof cacheSeqlens === 'number' ? Array.from({ length: batch }, () => cacheSeqlens) : cacheSeqlens;
  const checked = checkInts(caller, 'cacheSeqlens', given, { dims: ['B'], sizes: [batch] }, traits);
  if (onHost(checked)) {
    const wrong = checked.findIndex((length) => length < 0);
    if (wrong >= 0) fail('length', caller, `cacheSeqlens[${wrong}] must be ≥ 0, not ${checked[wrong]}.`);
  }
  return checked;
}

interface Spans {
  readonly starts: Int32Array;
  readonly lengths: Int32Array;
}

/** Null where only the GPU knows. */
function queriesOf(
  caller: string,
  q: Tensor,
  cuSeqlensQ: Tensor | Int32Array | null,
  batch: number,
): Spans | null {
  if (!cuSeqlensQ) return { starts: new Int32Array(batch), lengths: new Int32Array(batch).fill(q.shape[1]!) };
  return onHost(cuSeqlensQ) ? spans(caller, 'cuSeqlensQ', cuSeqlensQ, q.shape[0]!, 'q') : null;
}

/** Null where only the GPU knows. */
function newTokensOf(
  caller: string,
  k: Tensor | undefined,
  cuSeqlensKNew: Tensor | Int32Array | null,
  batch: number,
): Spans | null {
  const zeros = new Int32Array(batch);
  if (!k) return { starts: zeros, lengths: zeros };
  if (!cuSeqlensKNew) return { starts: zeros, lengths: zeros.map(() => k.shape[1]!) };
  return onHost(cuSeqlensKNew) ? spans(caller, 'cuSeqlensKNew', cuSeqlensKNew, k.shape[0]!, 'k') : null;
}

function checkRows(caller: string, cacheBatchIdx: Int32Array, nRows: number, name: string): void {
  const wrong = cacheBatchIdx.findIndex((row) => row < 0 || row >= nRows);
  if (wrong < 0) return;
  fail(
    'length',
    caller,
    `cacheBatchIdx[${wrong}] is ${cacheBatchIdx[wrong]}, but ${name} has the rows 0 to ${nRows - 1}.`,
  );
}

function checkRoom(caller: string, kLen: Int32Array, room: number): void {
  const wrong = kLen.findIndex((length) => length > room);
  if (wrong < 0) return;
  fail(
    'length',
    caller,
    `sequence ${wrong} needs ${kLen[wrong]} slots but a row of kCache has ${room}. Pass a longer cache, or pages.`,
  );
}

function checkLeftpad(caller: string, cacheLeftpad: Int32Array, kLen: Int32Array): void {
  const wrong = cacheLeftpad.findIndex((pad, b) => pad < 0 || pad > kLen[b]!);
  if (wrong < 0) return;
  fail(
    'length',
    caller,
    `cacheLeftpad[${wrong}] must be 0 to the ${kLen[wrong]} keys of the sequence, not ${cacheLeftpad[wrong]}.`,
  );
}
