import { isTensor } from '../core/tensor.js';
import { windowOf } from '../core/tensorWindow.js';
import type { AttentionProblem, HostLengths, TokenRows } from './attentionProblem.js';

/** Where things lie in the words of `tables`: sequences, then ALiBi slopes, then sinks. */
export interface TablesLayout {
  readonly slopesAt: number;
  /** Words from a sequence's slopes to the next one's; 0 where all share them. */
  readonly slopesSequence: number;
  readonly nSlopes: number;
  readonly sinksAt: number;
  readonly nSinks: number;
  readonly words: number;
}

/** Words of the struct `Sequence` of the kernels. */
const SEQUENCE_WORDS = 8;

export function tablesLayout({ batch, nHeads, slopes, sinks }: AttentionProblem): TablesLayout {
  const slopesSequence = slopes?.perSequence ? nHeads : 0;
  const nSlopes = slopes ? (slopes.perSequence ? batch : 1) * nHeads : 0;
  const nSinks = sinks ? nHeads : 0;
  const slopesAt = batch * SEQUENCE_WORDS;
  const sinksAt = slopesAt + nSlopes;
  return { slopesAt, slopesSequence, nSlopes, sinksAt, nSinks, words: sinksAt + nSinks };
}

/** `tables` where the host knows all of it. */
export function hostTables(problem: AttentionProblem, lengths: HostLengths): Uint32Array {
  const { slopes, sinks } = problem;
  const { slopesAt, sinksAt, words } = tablesLayout(problem);
  const tables = new Uint32Array(words);
  tables.set(hostSequences(problem, lengths));
  const floats = new Float32Array(tables.buffer);
  if (slopes) floats.set(slopes.values as Float32Array, slopesAt);
  if (sinks) floats.set(sinks as Float32Array, sinksAt);
  return tables;
}

/** The part of `tables` that says how long each sequence is and where it lies. */
export function hostSequences(problem: AttentionProblem, lengths: HostLengths): Uint32Array {
  const { batch, q, k, v, out, lse, pages } = problem;
  const bases = basesOf(problem);
  const sequences = new Uint32Array(batch * SEQUENCE_WORDS);
  for (let b = 0; b < batch; b++) {
    const qStart = lengths.qStart[b]!;
    const kStart = pages ? 0 : lengths.kStart[b]!;
    sequences.set(
      [
        lengths.qLen[b]!,
        lengths.kLen[b]!,
        bases.q + b * q.sequence + qStart * q.token,
        bases.k + b * k.sequence + kStart * k.token,
        bases.v + b * v.sequence + kStart * v.token,
        bases.out + b * out.sequence + qStart * out.token,
        lse ? bases.lse + b * lse.sequence + qStart * lse.token : 0,
        bases.table + b * (pages?.stride ?? 0),
      ],
      b * SEQUENCE_WORDS,
    );
  }
  return sequences;
}

/** Where each tensor starts in what a kernel binds of its buffer. */
export function basesOf({ q, k, v, out, lse, pages }: AttentionProblem) {
  const base = ({ tensor }: TokenRows): number => windowOf(tensor).firstElement;
  return {
    q: base(q),
    k: base(k),
    v: base(v),
    out: base(out),
    lse: lse ? base(lse) : 0,
    table: pages && isTensor(pages.table) ? windowOf(pages.table).firstElement : 0,
  };
}
