import { checkBeginsWithZero } from '../core/checkArguments.js';
import { PageflashError } from '../core/errors.js';
import { attend, type AttentionOptions, type AttentionResult, type Sequence } from './attend.js';
import { checkTensors, sizes3, type HostInts, type HostTensor } from './hostTensor.js';
import { contiguousRows, pagedRows, pageTableOf } from './keyRows.js';

export interface AttnVarlenReferenceArgs extends AttentionOptions {
  /** [totalQ, Hq, D] */
  readonly q: HostTensor;
  /** [totalK, Hkv, D], or pages [P, pageSize, Hkv, D] with `blockTable` */
  readonly k: HostTensor;
  /** [totalK, Hkv, Dv], or pages [P, pageSize, Hkv, Dv] with `blockTable` */
  readonly v: HostTensor;
  /** [B + 1], from 0: sequence b has the queries cuSeqlensQ[b] to cuSeqlensQ[b + 1] − 1 */
  readonly cuSeqlensQ: HostInts;
  /** [B + 1], from 0: likewise the keys; with `blockTable` only the differences count */
  readonly cuSeqlensK?: HostInts | undefined;
  /** [B]: how many keys count, from a sequence's first one on; needed with `blockTable` if no `cuSeqlensK` */
  readonly sequsedK?: HostInts | undefined;
  /** [B, maxPages], row after row. A page that the pool does not have is none: its keys are masked */
  readonly blockTable?: HostInts | undefined;
}

/**
 * Attention over sequences laid end to end. Returns out [totalQ, Hq, Dv] and lse [Hq, totalQ]; rows of no sequence are 0,
 * with lse −∞.
 */
export function attnVarlenReference(args: AttnVarlenReferenceArgs): AttentionResult {
  const { q, k, v, cuSeqlensQ, cuSeqlensK, sequsedK, blockTable, ...options } = args;
  checkTensors('attnVarlenReference', { q, k, v });
  if (!cuSeqlensK && !(blockTable && sequsedK))
    throw new PageflashError('argument', 'attnVarlen: pass cuSeqlensK, or sequsedK with blockTable.');
  const [totalQ, nHeads] = sizes3('q', q);
  const totalK = blockTable ? undefined : k.shape[0];
  checkBeginsWithZero('attnVarlen', 'cuSeqlensQ', cuSeqlensQ, totalQ);
  if (cuSeqlensK) checkBeginsWithZero('attnVarlen', 'cuSeqlensK', cuSeqlensK, totalK);
  const batch = cuSeqlensQ.length - 1;
  const table = blockTable && pageTableOf(blockTable, batch, k);
  const sequences = Array.from({ length: batch }, (_, b): Sequence => {
    const firstQuery = cuSeqlensQ[b]!;
    const nKeys = sequsedK?.[b] ?? cuSeqlensK![b + 1]! - cuSeqlensK![b]!;
    return {
      firstQuery,
      nQueries: cuSeqlensQ[b + 1]! - firstQuery,
      keyRows: table ? pagedRows(table, b, nKeys) : contiguousRows(cuSeqlensK![b]!, nKeys),
      leftpad: 0,
      lseIndex: (head, i) => head * totalQ + firstQuery + i,
    };
  });
  return attend({ q, k, v, sequences, lseShape: [nHeads, totalQ], options });
}
