import type { DeviceTraits } from '../core/deviceTraits.js';
import { fail } from '../core/errors.js';
import { isTensor } from '../core/tensor.js';
import {
  hostLengths,
  type DeviceLengths,
  type HostLengths,
  type PageTable,
} from '../kernels/attentionProblem.js';
import type { AttnVarlenArgs } from './attnVarlen.js';
import { checkRoomInTable } from './checkBlockTable.js';
import {
  checkBatch,
  checkCountable,
  checkMost,
  checkPageTable,
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

const CALLER = 'attnVarlen';

/** Lengths, starts and pages of the sequences: on the host checked, on the GPU bounded. */
export function checkVarlenLengths(args: AttnVarlenArgs, traits: DeviceTraits): VarlenLengths {
  const batch = countSequences(CALLER, args.cuSeqlensQ);
  checkBatch(CALLER, batch);
  const offsets = { dims: ['B + 1'], sizes: [batch + 1] };
  const cuSeqlensQ = checkInts(CALLER, 'cuSeqlensQ', args.cuSeqlensQ, offsets, traits);
  const cuSeqlensK = optional(args.cuSeqlensK, (ints) =>
    checkInts(CALLER, 'cuSeqlensK', ints, offsets, traits),
  );
  const sequsedK = optional(args.sequsedK, (ints) =>
    checkInts(CALLER, 'sequsedK', ints, { dims: ['B'], sizes: [batch] }, traits),
  );
  const pages = optional(args.blockTable, (blockTable) =>
    checkPageTable(CALLER, { blockTable, nRows: batch, k: args.k, kName: 'k' }, traits),
  );
  if (!cuSeqlensK && !pages) fail('argument', CALLER, 'cuSeqlensK is missing.');
  if (!cuSeqlensK && !sequsedK)
    fail('argument', CALLER, 'with blockTable, pass sequsedK or cuSeqlensK to say how many keys there are.');

  const maxSeqlenQ = checkCount(CALLER, 'maxSeqlenQ', args.maxSeqlenQ, Infinity);
  const maxSeqlenK = checkCount(CALLER, 'maxSeqlenK', args.maxSeqlenK, Infinity);
  const totalQ = args.q.shape[0]!;
  const totalK = pages ? roomOf(pages) : args.k.shape[0]!;
  const q = isTensor(cuSeqlensQ) ? null : spans(CALLER, 'cuSeqlensQ', cuSeqlensQ, totalQ, 'q');
  const k = onHost(cuSeqlensK)
    ? spans(CALLER, 'cuSeqlensK', cuSeqlensK, pages ? Infinity : totalK, 'k')
    : null;
  const keysUsed = onHost(sequsedK) ? used(sequsedK, k?.lengths) : null;
  if (q) {
    checkMost(CALLER, 'maxSeqlenQ', maxSeqlenQ, q.lengths, 'queries');
    checkCountable(CALLER, q.lengths, 'queries');
  }
  if (q && (cuSeqlensK ? k : true) && (sequsedK ? keysUsed : true)) {
    const kLen = keysUsed ?? k!.lengths;
    checkMost(CALLER, 'maxSeqlenK', maxSeqlenK, kLen, 'keys');
    checkCountable(CALLER, kLen, 'keys');
    const kStart = pages || !k ? new Int32Array(batch) : k.starts;
    return { batch, pages, lengths: hostLengths({ qStart: q.starts, qLen: q.lengths, kStart, kLen }) };
  }
  const keysKnown = keysUsed ?? (sequsedK ? null : k?.lengths);
  if (pages && keysKnown) checkRoomInTable(CALLER, pages, keysKnown);
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
    maxSeqlenQ: Math.min(maxSeqlenQ, q ? longest(q.lengths) : totalQ, MAX_LENGTH),
    maxSeqlenK: Math.min(maxSeqlenK, totalK, MAX_LENGTH),
  };
  return { batch, pages, lengths };
}

function used(sequsedK: Int32Array, most: Int32Array | undefined): Int32Array {
  const wrong = sequsedK.findIndex((length, b) => length < 0 || length > (most?.[b] ?? Infinity));
  if (wrong >= 0) {
    const range = most ? `0 to the ${most[wrong]} keys of the sequence` : '≥ 0';
    fail('length', CALLER, `sequsedK[${wrong}] must be ${range}, not ${sequsedK[wrong]}.`);
  }
  return sequsedK;
}
