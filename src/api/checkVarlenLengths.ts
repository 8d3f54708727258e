import type { DeviceTraits } from '../core/deviceTraits.js';
import { isTensor, stridesOf, type Ints, type Tensor } from '../core/tensor.js';
import {
  hostLengths,
  type DeviceLengths,
  type HostLengths,
  type PageTable,
} from '../kernels/attentionProblem.js';
import type { AttnVarlenArgs } from './attnVarlen.js';
import { checkCount, checkInts, isHostArray } from './checkNumbers.js';
import { describe, fail } from './checkTensor.js';

export interface VarlenLengths {
  readonly batch: number;
  readonly lengths: HostLengths | DeviceLengths;
  readonly pages: PageTable | null;
}

const CALLER = 'attnVarlen';

/** Lengths, starts and pages of the sequences: on the host checked, on the GPU bounded. */
export function checkVarlenLengths(args: AttnVarlenArgs, traits: DeviceTraits): VarlenLengths {
  const batch = countSequences(args.cuSeqlensQ);
  const offsets = { dims: ['B + 1'], sizes: [batch + 1] };
  const cuSeqlensQ = checkInts(CALLER, 'cuSeqlensQ', args.cuSeqlensQ, offsets, traits);
  const cuSeqlensK = optional(args.cuSeqlensK, (ints) =>
    checkInts(CALLER, 'cuSeqlensK', ints, offsets, traits),
  );
  const sequsedK = optional(args.sequsedK, (ints) =>
    checkInts(CALLER, 'sequsedK', ints, { dims: ['B'], sizes: [batch] }, traits),
  );
  const pages = optional(args.blockTable, (table) => pageTable(table, batch, args.k, traits));
  if (!cuSeqlensK && !pages) fail('argument', CALLER, 'cuSeqlensK is missing.');
  if (!cuSeqlensK && !sequsedK)
    fail('argument', CALLER, 'with blockTable, pass sequsedK or cuSeqlensK to say how many keys there are.');

  const maxSeqlenQ = checkCount(CALLER, 'maxSeqlenQ', args.maxSeqlenQ, Infinity);
  const maxSeqlenK = checkCount(CALLER, 'maxSeqlenK', args.maxSeqlenK, Infinity);
  const totalQ = args.q.shape[0]!;
  const totalK = pages ? (pages.nPages > 0 ? pages.width * pages.pageSize : 0) : args.k.shape[0]!;
  const q = isTensor(cuSeqlensQ) ? null : spans('cuSeqlensQ', cuSeqlensQ, totalQ, 'q');
  const k = onHost(cuSeqlensK) ? spans('cuSeqlensK', cuSeqlensK, pages ? Infinity : totalK, 'k') : null;
  const keysUsed = onHost(sequsedK) ? used(sequsedK, k?.lengths) : null;
  if (q) checkMost('maxSeqlenQ', maxSeqlenQ, q.lengths, 'queries');
  if (q && (cuSeqlensK ? k : true) && (sequsedK ? keysUsed : true)) {
    const kLen = keysUsed ?? k!.lengths;
    checkMost('maxSeqlenK', maxSeqlenK, kLen, 'keys');
    const kStart = pages || !k ? new Int32Array(batch) : k.starts;
    return { batch, pages, lengths: hostLengths({ qStart: q.starts, qLen: q.lengths, kStart, kLen }) };
  }
  if (!q && maxSeqlenQ === Infinity)
    fail('argument', CALLER, 'cuSeqlensQ is on the GPU, so maxSeqlenQ is needed.');
  if (!keysUsed && !k && maxSeqlenK === Infinity)
    fail(
      'argument',
      CALLER,
      `${sequsedK ? 'sequsedK' : 'cuSeqlensK'} is on the GPU, so maxSeqlenK is needed.`,
    );
  const lengths: DeviceLengths = {
    cuSeqlensQ,
    cuSeqlensK,
    sequsedK,
    cuSeqlensKNew: null,
    cacheBatchIdx: null,
    cacheLeftpad: null,
    totalQ,
    keysInRows: pages !== null,
    totalK,
    totalNew: 0,
    maxNew: 0,
    nRows: batch,
    maxSeqlenQ: Math.min(
      maxSeqlenQ,
      q ? q.lengths.reduce((most, length) => Math.max(most, length), 0) : totalQ,
    ),
    maxSeqlenK: Math.min(maxSeqlenK, totalK),
  };
  return { batch, pages, lengths };
}

function onHost(ints: Tensor | Int32Array | null): ints is Int32Array {
  return ints !== null && !isTensor(ints);
}

function optional<T, R>(value: T | undefined, check: (value: T) => R): R | null {
  return value === undefined ? null : check(value);
}

/** B, from cuSeqlensQ [B + 1]. */
function countSequences(cuSeqlensQ: Ints): number {
  const length = isTensor(cuSeqlensQ)
    ? cuSeqlensQ.shape?.[0]
    : isHostArray(cuSeqlensQ)
      ? cuSeqlensQ.length
      : undefined;
  if (length === undefined)
    fail(
      'argument',
      CALLER,
      `cuSeqlensQ must be a tensor or an array of numbers, not ${describe(cuSeqlensQ)}.`,
    );
  if (length === 0) fail('shape', CALLER, 'cuSeqlensQ must have B + 1 numbers, at least one.');
  return length - 1;
}

function pageTable(blockTable: Ints, batch: number, k: Tensor, traits: DeviceTraits): PageTable {
  const [nPages, pageSize] = k.shape as [number, number];
  if (pageSize === 0) fail('shape', CALLER, 'k has pages of 0 tokens.');
  const width = tableWidth(blockTable, batch);
  if (!Number.isInteger(width)) {
    fail(
      'shape',
      CALLER,
      `blockTable has ${(blockTable as Int32Array).length} numbers, which is not a multiple of the ${batch} sequences.`,
    );
  }
  const rule = { dims: ['B', 'maxPages'], sizes: [batch, width] };
  const table = checkInts(CALLER, 'blockTable', blockTable, rule, traits);
  return { pageSize, nPages, table, width, stride: isTensor(table) ? stridesOf(table)[0]! : width };
}

/** Entries of a sequence; 0 for what is no table at all, which the check of its numbers then tells. */
function tableWidth(blockTable: Ints, batch: number): number {
  if (isTensor(blockTable)) return blockTable.shape?.[1] ?? 0;
  return isHostArray(blockTable) && batch > 0 ? blockTable.length / batch : 0;
}

/** Starts and lengths from running sums, which must rise and end within `total`. */
function spans(
  name: string,
  cuSeqlens: Int32Array,
  total: number,
  tensor: string,
): { readonly starts: Int32Array; readonly lengths: Int32Array } {
  if (cuSeqlens[0]! < 0) fail('length', CALLER, `${name} must start at 0 or later, not at ${cuSeqlens[0]}.`);
  const starts = cuSeqlens.slice(0, -1);
  const lengths = starts.map((start, b) => cuSeqlens[b + 1]! - start);
  const falls = lengths.findIndex((length) => length < 0);
  if (falls >= 0) {
    fail(
      'length',
      CALLER,
      `${name} must never fall, but ${name}[${falls}] is ${cuSeqlens[falls]} and ${name}[${falls + 1}] is ${cuSeqlens[falls + 1]}.`,
    );
  }
  if (cuSeqlens.at(-1)! > total)
    fail('length', CALLER, `${name} ends at ${cuSeqlens.at(-1)} but ${tensor} has ${total} tokens.`);
  return { starts, lengths };
}

function used(sequsedK: Int32Array, most: Int32Array | undefined): Int32Array {
  const wrong = sequsedK.findIndex((length, b) => length < 0 || length > (most?.[b] ?? Infinity));
  if (wrong >= 0) {
    const range = most ? `0 to the ${most[wrong]} keys of the sequence` : '≥ 0';
    fail('length', CALLER, `sequsedK[${wrong}] must be ${range}, not ${sequsedK[wrong]}.`);
  }
  return sequsedK;
}

function checkMost(name: string, most: number, lengths: Int32Array, what: string): void {
  const wrong = lengths.findIndex((length) => length > most);
  if (wrong >= 0)
    fail('length', CALLER, `sequence ${wrong} has ${lengths[wrong]} ${what}, more than ${name} = ${most}.`);
}
