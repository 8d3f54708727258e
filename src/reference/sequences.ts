import { checkBeginsWithZero } from '../core/checkArguments.js';
import type { KvRotation } from '../core/kvFormats.js';
import { PageflashError } from '../core/errors.js';
import type { Sequence } from './attend.js';
import {
  blockTableOf,
  contiguousRows,
  pagedRows,
  sizes3,
  sizes4,
  type HostInts,
  type HostTensor,
} from './hostTensor.js';

/** The sequences of a call, and the shape of its lse. */
export interface BatchOfSequences {
  readonly sequences: readonly Sequence[];
  readonly lseShape: readonly number[];
}

/** Queries and keys of sequences of one length. */
export interface DenseBatch {
  /** [B, Sq, Hq, D] */
  readonly q: HostTensor;
  /** [B, Sk, Hkv, D] */
  readonly k: HostTensor;
}

/** The sequences of a dense batch, and the shape of its lse. */
export function denseSequences({ q, k }: DenseBatch): BatchOfSequences {
  const [batch, nQueries, nHeads] = sizes4('q', q);
  const [, nKeys] = sizes4('k', k);
  const sequences = Array.from({ length: batch }, (_, b): Sequence => ({
    firstQuery: b * nQueries,
    nQueries,
    keyRows: contiguousRows(b * nKeys, nKeys),
    leftpad: 0,
    lseIndex: (head, i) => (b * nHeads + head) * nQueries + i,
  }));
  return { sequences, lseShape: [batch, nHeads, nQueries] };
}

/** Queries and keys of sequences that lie end to end, or of which the keys lie in pages. */
export interface RaggedBatch {
  /** [totalQ, Hq, D] */
  readonly q: HostTensor;
  /** [totalK, Hkv, D], or pages [P, pageSize, Hkv, D] with `blockTable` */
  readonly k: HostTensor;
  /** [B + 1], from 0: sequence b has the queries cuSeqlensQ[b] to cuSeqlensQ[b + 1] − 1 */
  readonly cuSeqlensQ: HostInts;
  /** [B + 1], from 0: likewise for keys. With `blockTable` only the differences count. */
  readonly cuSeqlensK?: HostInts | undefined;
  /**
   * `[B]`: how many keys of a sequence are used, from its first on. Needed with `blockTable` if there is no
   * `cuSeqlensK`.
   */
  readonly sequsedK?: HostInts | undefined;
  /** [B, maxPages], row after row: the pages of each sequence. Keys of a page that the pool does not have are masked. */
  readonly blockTable?: HostInts | undefined;
  /** Whether heads of k and v are turned by a Hadamard matrix: queries are, too, and the output is turned back. */
  readonly kvRotation?: KvRotation | undefined;
}

/** The sequences of a ragged batch, and the shape of its lse. */
export function varlenSequences(args: RaggedBatch): BatchOfSequences {
  const { q, k, cuSeqlensQ, cuSeqlensK, sequsedK, blockTable } = args;
  if (!cuSeqlensK && !(blockTable && sequsedK))
    throw new PageflashError('argument', 'attnVarlen: pass cuSeqlensK, or sequsedK with blockTable.');
  const [totalQ, nHeads] = sizes3('q', q);
  const totalK = blockTable ? undefined : k.shape[0];
  checkBeginsWithZero('attnVarlen', 'cuSeqlensQ', cuSeqlensQ, totalQ);
  if (cuSeqlensK) checkBeginsWithZero('attnVarlen', 'cuSeqlensK', cuSeqlensK, totalK);
  const batch = cuSeqlensQ.length - 1;
  const table = blockTable && blockTableOf(blockTable, batch, k);
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
  return { sequences, lseShape: [nHeads, totalQ] };
}
