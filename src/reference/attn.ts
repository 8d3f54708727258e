import { attend, type AttentionOptions, type AttentionResult, type Sequence } from './attend.js';
import { checkTensors, sizes4, type HostTensor } from './hostTensor.js';
import { contiguousRows } from './keyRows.js';

export interface AttnReferenceArgs extends AttentionOptions {
  /** [B, Sq, Hq, D] */
  readonly q: HostTensor;
  /** [B, Sk, Hkv, D] */
  readonly k: HostTensor;
  /** [B, Sk, Hkv, Dv] */
  readonly v: HostTensor;
}

/** Attention over a dense batch. Returns out [B, Sq, Hq, Dv] and lse [B, Hq, Sq]. */
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
