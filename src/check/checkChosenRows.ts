import { describe } from '../core/errors.js';
import { isTensor } from '../core/tensor.js';
import { isHostLengths, type DeviceLengths, type HostLengths } from '../problem/attentionProblem.js';
import { isHostArray, type Call } from './call.js';
import { longest } from './checkLengths.js';

/** A row that is asked for. */
export interface ChosenToken {
  /** Its number among the query tokens of all sequences. */
  readonly row: number;
  /** The sequence is one of these: first, and one past the last. */
  readonly sequences: readonly [number, number];
}

export interface ChosenTokens {
  readonly tokens: readonly ChosenToken[];
  /** The most keys that a sequence of theirs has, or may have where only the GPU knows. */
  readonly nKeys: number;
}

interface Queries {
  readonly batch: number;
  /** Queries of all sequences, as q has them. */
  readonly nRows: number;
  /** Queries of a sequence in a dense batch; null where sequences lie end to end. */
  readonly nQueries: number | null;
  readonly lengths: HostLengths | DeviceLengths;
}

/** Rows that a call takes at most: a list of more would take seconds. */
const MAX_ROWS = 2 ** 22;

/** Checks that each of the rows is one of q, and of a sequence, as far as the host knows. */
export function checkChosenRows(call: Call, rows: ArrayLike<number>, queries: Queries): ChosenTokens {
  if (!isHostArray(rows)) call.refuseValue('rows', 'an array of row numbers', rows);
  if (rows.length > MAX_ROWS)
    call.refuse(
      'limit',
      `rows has ${rows.length} entries, but a call takes at most ${MAX_ROWS}. Make several calls.`,
    );
  const { batch, nRows, nQueries, lengths } = queries;
  const range = nRows > 0 ? `a row of q, 0 to ${nRows - 1}` : 'a row of q, which has none';
  const given = Array.from(rows);
  call.each(
    'argument',
    given,
    (row) => Number.isInteger(row) && row >= 0 && row < nRows,
    (i) => `rows[${i}] must be ${range}, not ${describe(given[i])}.`,
  );
  const starts = nQueries === null ? startsOf(lengths, batch) : null;
  if (starts) checkBeforeEnd(call, given, starts.end);
  const sequencesOf = (row: number): readonly [number, number] => {
    if (nQueries !== null) return one(Math.floor(row / nQueries));
    return starts ? one(lastNotAfter(starts.first, row, batch)) : [0, batch];
  };
  const tokens = given.map((row) => ({ row, sequences: sequencesOf(row) }));
  if (!isHostLengths(lengths)) return { tokens, nKeys: tokens.length > 0 ? lengths.maxSeqlenK : 0 };
  return { tokens, nKeys: longest(Int32Array.from(tokens, ({ sequences }) => lengths.kLen[sequences[0]]!)) };
}

function one(sequence: number): readonly [number, number] {
  return [sequence, sequence + 1];
}

interface Starts {
  /** `[B or more]`: the first row of each sequence. */
  readonly first: Int32Array;
  /** One past the last row of all. */
  readonly end: number;
}

/** Where sequences begin among the rows; null where only the GPU knows. Without sequences it is known. */
function startsOf(lengths: HostLengths | DeviceLengths, batch: number): Starts | null {
  if (batch === 0) return { first: new Int32Array(), end: 0 };
  if (isHostLengths(lengths)) {
    const { qStart, qLen } = lengths;
    return { first: qStart, end: qStart[batch - 1]! + qLen[batch - 1]! };
  }
  const { cuSeqlensQ } = lengths;
  if (!cuSeqlensQ || isTensor(cuSeqlensQ)) return null;
  return { first: cuSeqlensQ, end: cuSeqlensQ[batch]! };
}

/** Refuses rows of padding, which are of no sequence. */
function checkBeforeEnd(call: Call, rows: readonly number[], end: number): void {
  call.each(
    'length',
    rows,
    (row) => row < end,
    (i) =>
      `rows[${i}] is ${rows[i]}, but cuSeqlensQ ends at ${end}: the rows from there on are of no sequence.`,
  );
}

/** The last of the first `n` entries that is not above `row`, of entries that do not decrease, from 0. */
function lastNotAfter(starts: Int32Array, row: number, n: number): number {
  let first = 0;
  let end = n;
  while (end - first > 1) {
    const middle = (first + end) >> 1;
    if (starts[middle]! <= row) first = middle;
    else end = middle;
  }
  return first;
}
