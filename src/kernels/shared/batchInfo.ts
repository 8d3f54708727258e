import { isTensor, windowOf } from '../../core/tensor.js';
import type { AttentionProblem, HostLengths, TokenRows } from '../../problem/attentionProblem.js';
import type { StructLayout } from '../../wgsl/kernel.js';
import { Records } from '../../wgsl/records.js';
import { structOf } from '../../wgsl/reflection.js';
import batchInfo from './batch_info.wgsl?module';

/** Where things lie in the words of `batch_info`: sequences, then ALiBi slopes, then sinks. */
export interface BatchInfoLayout {
  readonly slopesAt: number;
  /** Words from a sequence's slopes to the next one's; 0 where all share them. */
  readonly slopesSequence: number;
  readonly nSlopes: number;
  readonly sinksAt: number;
  readonly nSinks: number;
  readonly words: number;
}

export function batchInfoLayout({ batch, nHeads, slopes, sinks }: AttentionProblem): BatchInfoLayout {
  const slopesSequence = slopes?.perSequence ? nHeads : 0;
  const nSlopes = slopes ? (slopes.perSequence ? batch : 1) * nHeads : 0;
  const nSinks = sinks ? nHeads : 0;
  const slopesAt = (batch * sequenceLayout().bytes) / Uint32Array.BYTES_PER_ELEMENT;
  const sinksAt = slopesAt + nSlopes;
  return { slopesAt, slopesSequence, nSlopes, sinksAt, nSinks, words: sinksAt + nSinks };
}

/** `batch_info` where the host knows all of it. */
export function hostBatchInfo(problem: AttentionProblem, lengths: HostLengths): Uint32Array {
  const { slopes, sinks } = problem;
  const { slopesAt, sinksAt, words } = batchInfoLayout(problem);
  const info = new Uint32Array(words);
  info.set(hostSequences(problem, lengths));
  const floats = new Float32Array(info.buffer);
  if (slopes) floats.set(slopes.values as Float32Array, slopesAt);
  if (sinks) floats.set(sinks as Float32Array, sinksAt);
  return info;
}

/** Packs one `Sequence` record of batch_info.wgsl per sequence: lengths, and where its data begin. */
export function hostSequences(problem: AttentionProblem, lengths: HostLengths): Uint32Array {
  const { batch, q, k, v, out, lse, pages, append } = problem;
  const { qStart, qLen, kStart, kLen, firstKey, nCached, newStart, row } = lengths;
  const bases = basesOf(problem);
  const sequences = new Records(sequenceLayout(), batch);
  const startOf = (base: number, rows: TokenRows | null | undefined, index: number, token: number): number =>
    rows ? base + index * rows.sequenceStride + token * rows.tokenStride : 0;
  for (let b = 0; b < batch; b++) {
    sequences.set(b, {
      q_len: qLen[b]!,
      k_len: kLen[b]!,
      first_key: firstKey[b]!,
      n_cached: nCached[b]!,
      q_base: startOf(bases.q, q, b, qStart[b]!),
      k_base: startOf(bases.k, k, row[b]!, kStart[b]!),
      v_base: startOf(bases.v, v, row[b]!, kStart[b]!),
      out_base: startOf(bases.out, out, b, qStart[b]!),
      lse_base: startOf(bases.lse, lse, b, qStart[b]!),
      table_base: bases.table + row[b]! * (pages?.stride ?? 0),
      new_k_base: startOf(bases.newK, append?.newK, b, newStart[b]!),
      new_v_base: startOf(bases.newV, append?.newV, b, newStart[b]!),
    });
  }
  return sequences.words;
}

function sequenceLayout(): StructLayout {
  return structOf({ modules: [batchInfo] }, 'Sequence');
}

/** The first element of each tensor in its binding. */
export function basesOf({ q, k, v, out, lse, pages, append }: AttentionProblem) {
  const base = (rows: TokenRows | null | undefined): number =>
    rows ? windowOf(rows.tensor).firstElement : 0;
  return {
    q: base(q),
    k: base(k),
    v: base(v),
    out: base(out),
    lse: base(lse),
    newK: base(append?.newK),
    newV: base(append?.newV),
    table: pages && isTensor(pages.table) ? windowOf(pages.table).firstElement : 0,
  };
}
