import { fail } from '../core/errors.js';
import { isTensor } from '../core/tensor.js';
import {
  hostLengths,
  type DeviceLengths,
  type HostLengths,
  type PageTable,
} from '../problem/attentionProblem.js';
import type { AttnVarlenArgs } from '../problem/attentionArgs.js';
import type { Call } from './call.js';
import { checkRoomInTable } from './checkBlockTable.js';
import {
  checkCountable,
  checkMost,
  checkPageTable,
  checkSums,
  countSequences,
  longest,
  MAX_LENGTH,
  onHost,
  optional,
  roomOf,
  spans,
} from './checkLengths.js';
import { checkCount, checkInts } from './checkNumbers.js';

export interface VarlenLengths {
  readonly batch: number;
  readonly lengths: HostLengths | DeviceLengths;
  readonly pages: PageTable | null;
}

/** Lengths, starts and pages of the sequences: on the host checked, on the GPU bounded. */
export function checkVarlenLengths(call: Call, args: AttnVarlenArgs): VarlenLengths {
  const { name: caller, traits } = call;
  const totalQ = args.q.shape[0]!;
  const batch = countSequences(caller, args.cuSeqlensQ, totalQ);
  const cuSeqlensQ = checkSums(call, 'cuSeqlensQ', args.cuSeqlensQ, { batch, total: totalQ });
  const totalOfK = args.blockTable === undefined ? args.k.shape[0] : undefined;
  const cuSeqlensK = optional(args.cuSeqlensK, (sums) =>
    checkSums(call, 'cuSeqlensK', sums, { batch, total: totalOfK }),
  );
  const sequsedK = optional(args.sequsedK, (ints) =>
    checkInts(caller, 'sequsedK', ints, { dims: ['B'], sizes: [batch] }, traits),
  );
  const pages = optional(args.blockTable, (blockTable) =>
    checkPageTable(call, { blockTable, nRows: batch, k: args.k, kName: 'k' }),
  );
  if (!cuSeqlensK && !pages) fail('argument', caller, 'cuSeqlensK is missing.');
  if (!cuSeqlensK && !sequsedK)
    fail('argument', caller, 'with blockTable, pass sequsedK or cuSeqlensK to say how many keys there are.');

  const maxSeqlenQ = checkCount(caller, 'maxSeqlenQ', args.maxSeqlenQ, Infinity);
  const maxSeqlenK = checkCount(caller, 'maxSeqlenK', args.maxSeqlenK, Infinity);
  const totalK = pages ? roomOf(pages) : args.k.shape[0]!;
  const q = isTensor(cuSeqlensQ) ? null : spans(caller, 'cuSeqlensQ', cuSeqlensQ, totalQ, 'q');
  const k = onHost(cuSeqlensK)
    ? spans(caller, 'cuSeqlensK', cuSeqlensK, pages ? Infinity : totalK, 'k')
    : null;
  const keysUsed = onHost(sequsedK) ? used(caller, sequsedK, k?.lengths) : null;
  if (q) {
    checkMost(caller, 'maxSeqlenQ', maxSeqlenQ, q.lengths, 'queries');
    checkCountable(caller, q.lengths, 'queries');
  }
  if (q && (cuSeqlensK ? k : true) && (sequsedK ? keysUsed : true)) {
    const kLen = keysUsed ?? k!.lengths;
    checkMost(caller, 'maxSeqlenK', maxSeqlenK, kLen, 'keys');
    checkCountable(caller, kLen, 'keys');
    const kStart = pages || !k ? new Int32Array(batch) : k.starts;
    return { batch, pages, lengths: hostLengths({ qStart: q.starts, qLen: q.lengths, kStart, kLen }) };
  }
  const keysKnown = keysUsed ?? (sequsedK ? null : k?.lengths);
  if (pages && keysKnown) checkRoomInTable(caller, pages, keysKnown);
  if (!q && maxSeqlenQ === Infinity)
    fail('argument', caller, 'cuSeqlensQ is on the GPU, so maxSeqlenQ is needed.');
  if (!keysUsed && !k && maxSeqlenK === Infinity)
    fail(
      'argument',
      caller,
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
    maxSeqlenQ: Math.min(maxSeqlenQ, q ? longest(q.lengths) : totalQ, MAX_LENGTH),
    maxSeqlenK: Math.min(maxSeqlenK, totalK, MAX_LENGTH),
  };
  return { batch, pages, lengths };
}

function used(caller: string, sequsedK: Int32Array, most: Int32Array | undefined): Int32Array {
  const wrong = sequsedK.findIndex((length, b) => length < 0 || length > (most?.[b] ?? Infinity));
  if (wrong >= 0) {
    const range = most ? `0 to the ${most[wrong]} keys of the sequence` : '≥ 0';
    fail('length', caller, `sequsedK[${wrong}] must be ${range}, not ${sequsedK[wrong]}.`);
  }
  return sequsedK;
}
