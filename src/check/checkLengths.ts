import { checkBeginsWithZero } from '../core/checkArguments.js';
import { describe, fail } from '../core/errors.js';
import { isTensor, stridesOf, type Ints, type Tensor } from '../core/tensor.js';
import type { PageTable } from '../problem/attentionProblem.js';
import type { Call } from './call.js';
import { checkInts, INTS, isHostArray } from './checkNumbers.js';
import { checkForm } from './checkTensor.js';

export function onHost(ints: Tensor | Int32Array | null): ints is Int32Array {
  return ints !== null && !isTensor(ints);
}

export function optional<T, R>(value: T | undefined, check: (value: T) => R): R | null {
  return value === undefined ? null : check(value);
}

/** B, from cuSeqlensQ [B + 1]. Where it begins is checked first, since a leading 0 left out changes B. */
export function countSequences(caller: string, cuSeqlensQ: Ints, totalQ: number): number {
  if (!isTensor(cuSeqlensQ) && !isHostArray(cuSeqlensQ))
    fail(
      'argument',
      caller,
      `cuSeqlensQ must be a tensor or an array of numbers, not ${describe(cuSeqlensQ)}.`,
    );
  if (isTensor(cuSeqlensQ)) checkForm(caller, 'cuSeqlensQ', cuSeqlensQ, { dtypes: INTS, dims: ['B + 1'] });
  const length = isTensor(cuSeqlensQ) ? cuSeqlensQ.shape[0]! : cuSeqlensQ.length;
  if (length === 0) fail('shape', caller, 'cuSeqlensQ must have B + 1 numbers, at least one.');
  checkBatch(caller, length - 1);
  if (!isTensor(cuSeqlensQ)) checkBeginsWithZero(caller, 'cuSeqlensQ', cuSeqlensQ, totalQ);
  return length - 1;
}

/** Running sums [B + 1] of lengths, of all the tokens of a tensor or of fewer. */
export function checkSums(
  { name: caller, traits }: Call,
  name: string,
  sums: Ints,
  { batch, total }: { readonly batch: number; readonly total: number | undefined },
): Tensor | Int32Array {
  if (!isTensor(sums) && isHostArray(sums)) checkBeginsWithZero(caller, name, sums, total);
  return checkInts(caller, name, sums, { dims: ['B + 1'], sizes: [batch + 1] }, traits);
}

export interface PageTableArgs {
  readonly blockTable: Ints;
  /** Rows that a host table has, and that any must have. */
  readonly nRows: number;
  /** Whether a table on the GPU may have more. */
  readonly mayHaveMore?: boolean;
  /** Keys in pages, with their name. */
  readonly k: Tensor;
  readonly kName: string;
}

/** Where each key's page is: the sizes of table and pages, not yet the pages that it names. */
export function checkPageTable({ name: caller, traits }: Call, args: PageTableArgs): PageTable {
  const { blockTable, mayHaveMore = false, k, kName } = args;
  const [nPages, pageSize] = k.shape as [number, number];
  if (pageSize === 0) fail('shape', caller, `${kName} has pages of 0 tokens.`);
  const dims = ['B', 'maxPages'];
  if (isTensor(blockTable)) checkForm(caller, 'blockTable', blockTable, { dtypes: INTS, dims });
  const given = isTensor(blockTable) ? blockTable.shape[0]! : 0;
  const nRows = mayHaveMore ? Math.max(args.nRows, given) : args.nRows;
  const width = tableWidth(blockTable, nRows);
  if (!Number.isInteger(width)) {
    fail(
      'shape',
      caller,
      `blockTable has ${(blockTable as Int32Array).length} numbers, which is not a multiple of the ${nRows} sequences.`,
    );
  }
  const rule = { dims, sizes: [nRows, width] };
  const table = checkInts(caller, 'blockTable', blockTable, rule, traits);
  return { pageSize, nPages, table, nRows, width, stride: isTensor(table) ? stridesOf(table)[0]! : width };
}

/** Entries of a sequence; 0 for what is no table at all, which the check of its numbers then tells. */
function tableWidth(blockTable: Ints, nRows: number): number {
  if (isTensor(blockTable)) return blockTable.shape[1]!;
  return isHostArray(blockTable) && nRows > 0 ? blockTable.length / nRows : 0;
}

/** Keys that a row of the table can lead to. */
export function roomOf({ nPages, width, pageSize }: PageTable): number {
  return nPages > 0 ? Math.min(width * pageSize, MAX_LENGTH) : 0;
}

export function longest(lengths: Int32Array): number {
  return lengths.reduce((most, length) => Math.max(most, length), 0);
}

/** Starts and lengths from running sums, which begin with 0, must never fall, and end within `total`. */
export function spans(
  caller: string,
  name: string,
  cuSeqlens: Int32Array,
  total: number,
  tensor: string,
): { readonly starts: Int32Array; readonly lengths: Int32Array } {
  const starts = cuSeqlens.slice(0, -1);
  // Compared and not subtracted, which could leave 32 bits.
  const falls = starts.findIndex((start, b) => cuSeqlens[b + 1]! < start);
  if (falls >= 0) {
    fail(
      'length',
      caller,
      `${name} must never fall, but ${name}[${falls}] is ${cuSeqlens[falls]} and ${name}[${falls + 1}] is ${cuSeqlens[falls + 1]}.`,
    );
  }
  if (cuSeqlens.at(-1)! > total)
    fail('length', caller, `${name} ends at ${cuSeqlens.at(-1)} but ${tensor} has ${total} tokens.`);
  return { starts, lengths: starts.map((start, b) => cuSeqlens[b + 1]! - start) };
}

/** Positions, and the bounds of windows around them, stay within 32 bits below it. */
export const MAX_LENGTH = 2 ** 30;

/** Checks that kernels can count the tokens of each sequence. */
export function checkCountable(caller: string, lengths: ArrayLike<number>, what: string): void {
  const wrong = Array.prototype.findIndex.call(lengths, (length: number) => length > MAX_LENGTH);
  if (wrong < 0) return;
  fail(
    'limit',
    caller,
    `sequence ${wrong} has ${lengths[wrong]} ${what}, but kernels count to ${MAX_LENGTH}. Split it.`,
  );
}

/** Sequences that a call takes at most: beyond it the tables of kernels alone would fill much memory. */
const MAX_BATCH = 2 ** 20;

export function checkBatch(caller: string, batch: number): void {
  if (batch > MAX_BATCH)
    fail(
      'limit',
      caller,
      `there are ${batch} sequences, but a call takes at most ${MAX_BATCH}. Make several calls.`,
    );
}

export function checkMost(
  caller: string,
  name: string,
  most: number,
  lengths: Int32Array,
  what: string,
): void {
  const wrong = lengths.findIndex((length) => length > most);
  if (wrong >= 0)
    fail('length', caller, `sequence ${wrong} has ${lengths[wrong]} ${what}, more than ${name} = ${most}.`);
}
