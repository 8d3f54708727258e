import { isTensor } from '../core/tensor.js';
import type { AttnVarlenArgs } from '../problem/attentionArgs.js';
import {
  deviceLengths,
  hostLengths,
  type BlockTable,
  type DeviceLengths,
  type HostLengths,
} from '../problem/attentionProblem.js';
import type { Call } from './call.js';
import { capacityOf, checkBlockTable, checkTableWidth } from './checkBlockTable.js';
import {
  checkSeqlens,
  checkSums,
  countSequences,
  longest,
  MAX_LENGTH,
  onHost,
  optional,
  refuseUnbounded,
  spans,
} from './checkLengths.js';
import { checkInts } from './checkNumbers.js';

export interface VarlenLengths {
  readonly batch: number;
  readonly lengths: HostLengths | DeviceLengths;
  readonly pages: BlockTable | null;
}

type LengthArgs = Pick<
  AttnVarlenArgs,
  'q' | 'k' | 'cuSeqlensQ' | 'cuSeqlensK' | 'sequsedK' | 'maxSeqlenQ' | 'maxSeqlenK' | 'blockTable'
>;

/** Lengths, starts and pages of the sequences. What the host knows is checked, what only the GPU knows is bounded. */
export function checkVarlenLengths(call: Call, args: LengthArgs): VarlenLengths {
  const { q, k, cuSeqlensQ, cuSeqlensK, sequsedK, maxSeqlenQ, maxSeqlenK, blockTable } = args;
  const of = [q, k, cuSeqlensQ, cuSeqlensK, sequsedK, maxSeqlenQ, maxSeqlenK, blockTable];
  return call.memory.keep('lengths', of, () => varlenLengths(call, args));
}

function varlenLengths(call: Call, args: LengthArgs): VarlenLengths {
  const totalQ = args.q.shape[0]!;
  const batch = countSequences(call, args.cuSeqlensQ, totalQ);
  const cuSeqlensQ = checkSums(call, 'cuSeqlensQ', args.cuSeqlensQ, { batch, total: totalQ });
  const totalOfK = args.blockTable === undefined ? args.k.shape[0] : undefined;
  const cuSeqlensK = optional(args.cuSeqlensK, (sums) =>
    checkSums(call, 'cuSeqlensK', sums, { batch, total: totalOfK }),
  );
  const sequsedK = optional(args.sequsedK, (ints) =>
    checkInts(call, 'sequsedK', ints, { dims: ['B'], sizes: [batch] }),
  );
  const pages = optional(args.blockTable, (blockTable) =>
    checkBlockTable(call, { blockTable, nRows: batch, k: args.k, kName: 'k' }),
  );
  if (!cuSeqlensK && !pages) call.refuse('argument', 'cuSeqlensK is missing.');
  if (!cuSeqlensK && !sequsedK)
    call.refuse('argument', 'with blockTable, pass sequsedK or cuSeqlensK to say how many keys there are.');

  const maxSeqlenQ = call.count('maxSeqlenQ', args.maxSeqlenQ, Infinity);
  const maxSeqlenK = call.count('maxSeqlenK', args.maxSeqlenK, Infinity);
  const totalK = pages ? capacityOf(pages) : args.k.shape[0]!;
  const q = isTensor(cuSeqlensQ) ? null : spans(call, 'cuSeqlensQ', cuSeqlensQ, totalQ, 'q');
  const k = onHost(cuSeqlensK) ? spans(call, 'cuSeqlensK', cuSeqlensK, pages ? Infinity : totalK, 'k') : null;
  const keysUsed = onHost(sequsedK) ? checkUsed(call, sequsedK, k?.lengths) : null;
  if (q) checkSeqlens(call, 'queries', q.lengths, maxSeqlenQ);
  const kLen = keysUsed ?? (sequsedK ? null : (k?.lengths ?? null));
  if (q && kLen && (k || !cuSeqlensK)) {
    checkSeqlens(call, 'keys', kLen, maxSeqlenK);
    const known = { qStart: q.starts, qLen: q.lengths, kLen, ...(k && !pages && { kStart: k.starts }) };
    return { batch, pages, lengths: hostLengths(known, call.memory) };
  }
  if (pages && kLen) checkTableWidth(call, pages, kLen);
  if (!q && maxSeqlenQ === Infinity) refuseUnbounded(call, 'cuSeqlensQ', 'maxSeqlenQ');
  if (!keysUsed && !k && maxSeqlenK === Infinity)
    refuseUnbounded(call, sequsedK ? 'sequsedK' : 'cuSeqlensK', 'maxSeqlenK');
  const lengths = deviceLengths({
    cuSeqlensQ,
    cuSeqlensK,
    nCached: sequsedK,
    totalQ,
    keysInRows: pages !== null,
    totalK,
    nRows: batch,
    maxSeqlenQ: Math.min(maxSeqlenQ, q ? longest(q.lengths) : totalQ, MAX_LENGTH),
    maxSeqlenK: Math.min(maxSeqlenK, totalK, MAX_LENGTH),
  });
  return { batch, pages, lengths };
}

/** Checks that no sequence uses more keys than it has. */
function checkUsed(call: Call, sequsedK: Int32Array, most: Int32Array | undefined): Int32Array {
  call.each(
    'length',
    sequsedK,
    (length, b) => length >= 0 && length <= (most?.[b] ?? Infinity),
    (b) => {
      const range = most ? `0 to the ${most[b]} keys of the sequence` : '≥ 0';
      return `sequsedK[${b}] must be ${range}, not ${sequsedK[b]}.`;
    },
  );
  return sequsedK;
}
