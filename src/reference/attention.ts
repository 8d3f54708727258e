import { checkBeginsWithZero } from '../core/checkArguments.js';
import { describe, fail, PageflashError } from '../core/errors.js';
import { attend, type AttentionOptions, type AttentionResult, type Sequence } from './attend.js';
import {
  blockTableOf,
  checkTensors,
  contiguousRows,
  pagedRows,
  sizes3,
  sizes4,
  type HostInts,
  type HostTensor,
} from './hostTensor.js';

export type { AttentionOptions, AttentionResult } from './attend.js';
export {
  attnWithKvCacheReference,
  type AttnWithKvCacheReferenceArgs,
  type AttnWithKvCacheResult,
} from './attnWithKvCache.js';
export type { HostFloats, HostInts, HostTensor } from './hostTensor.js';

// Attention by its definition, in f64 on the host: what every kernel must equal. Shapes in comments use B sequences, Sq
// queries and Sk keys of each, totalQ and totalK of all, Hq heads and Hkv kv heads, head sizes D of q and k, Dv of v.

/** The arguments of `attnReference`. */
export interface AttnReferenceArgs extends AttentionOptions {
  /** [B, Sq, Hq, D] */
  readonly q: HostTensor;
  /** [B, Sk, Hkv, D] */
  readonly k: HostTensor;
  /** [B, Sk, Hkv, Dv] */
  readonly v: HostTensor;
}

/**
 * Returns the attention of a dense batch: out [B, Sq, Hq, Dv] and lse [B, Hq, Sq].
 *
 * @throws PageflashError `argument` or `shape` for tensors that do not fit
 */
export function attnReference({ q, k, v, ...options }: AttnReferenceArgs): AttentionResult {
  checkTensors('attnReference', { q, k, v });
  const [batch, nQueries, nHeads] = sizes4('q', q);
  const [, nKeys] = sizes4('k', k);
  const sequences = Array.from({ length: batch }, (_, b): Sequence => ({
    firstQuery: b * nQueries,
    nQueries,
    keyRows: contiguousRows(b * nKeys, nKeys),
    leftpad: 0,
    lseIndex: (head, i) => (b * nHeads + head) * nQueries + i,
  }));
  return attend({ q, k, v, sequences, lseShape: [batch, nHeads, nQueries], options });
}

/** The arguments of `attnVarlenReference`. */
export interface AttnVarlenReferenceArgs extends AttentionOptions {
  /** [totalQ, Hq, D] */
  readonly q: HostTensor;
  /** [totalK, Hkv, D], or pages [P, pageSize, Hkv, D] with `blockTable` */
  readonly k: HostTensor;
  /** [totalK, Hkv, Dv], or pages [P, pageSize, Hkv, Dv] with `blockTable` */
  readonly v: HostTensor;
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
}

/**
 * Returns the attention of sequences that lie end to end: out [totalQ, Hq, Dv] and lse [Hq, totalQ]. Rows that belong to
 * no sequence are 0, with lse −∞.
 *
 * @throws PageflashError `argument`, `shape` or `length` for arguments that do not fit
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
  return attend({ q, k, v, sequences, lseShape: [nHeads, totalQ], options });
}

/**
 * Returns the attention over all keys, from its results over parts of the keys: with w_c = exp(lse_c − lse),
 *
 *     lse = ln Σ_c exp(lse_c)      out = Σ_c w_c · out_c
 *
 * Each part has out [B, Sq, Hq, Dv] and lse [B, Hq, Sq], or out [totalQ, Hq, Dv] and lse [Hq, totalQ]. A part whose lse
 * is −∞ saw no keys, so its out is ignored, whatever it contains. Pass a sink to one part only.
 *
 * @throws PageflashError `argument` or `shape` for parts that do not fit
 */
export function mergeStatesReference(partials: readonly AttentionResult[]): AttentionResult {
  const caller = 'mergeStatesReference';
  if (!Array.isArray(partials))
    fail('argument', caller, `the parts must be one array, [{ out, lse }, …], not ${describe(partials)}.`);
  partials.forEach((part: AttentionResult, i) =>
    checkTensors(caller, { [`parts[${i}].out`]: part.out, [`parts[${i}].lse`]: part.lse }),
  );
  const [first] = partials as readonly AttentionResult[];
  if (!first) throw new PageflashError('argument', 'mergeStates: there is no part to merge.');
  const [nQueries, nHeads, headDim] = first.out.shape.slice(-3) as [number, number, number];
  const out = new Float64Array(first.out.data.length);
  const lse = new Float64Array(first.lse.data.length).fill(-Infinity);

  for (let index = 0; index < lse.length; index++) {
    const largest = Math.max(...partials.map((part) => part.lse.data[index]!));
    if (largest === -Infinity) continue;
    const sum = partials.reduce((total, part) => total + Math.exp(part.lse.data[index]! - largest), 0);
    lse[index] = largest + Math.log(sum);

    // lse index = (b · Hq + head) · Sq + i; out row = (b · Sq + i) · Hq + head
    const i = index % nQueries;
    const head = Math.floor(index / nQueries) % nHeads;
    const b = Math.floor(index / (nQueries * nHeads));
    const offset = ((b * nQueries + i) * nHeads + head) * headDim;
    for (const part of partials) {
      const weight = Math.exp(part.lse.data[index]! - largest) / sum;
      if (weight === 0) continue;
      for (let d = 0; d < headDim; d++) out[offset + d]! += weight * part.out.data[offset + d]!;
    }
  }
  return { out: { data: out, shape: first.out.shape }, lse: { data: lse, shape: first.lse.shape } };
}
