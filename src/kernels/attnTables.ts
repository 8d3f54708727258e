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
const SEQUENCE_WORDS = 12;

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
  const { batch, q, k, v, out, lse, pages, append } = problem;
  const { qStart, qLen, kStart, kLen, firstKey, nCached, newStart, row } = lengths;
  const bases = basesOf(problem);
  const sequences = new Uint32Array(batch * SEQUENCE_WORDS);
  const startOf = (base: number, rows: TokenRows | null | undefined, b: number, token: number): number =>
    rows ? base + b * rows.sequence + token * rows.token : 0;
  for (let b = 0; b < batch; b++) {
    const at = b * SEQUENCE_WORDS;
    sequences[at] = qLen[b]!;
    sequences[at + 1] = kLen[b]!;
    sequences[at + 2] = firstKey[b]!;
    sequences[at + 3] = nCached[b]!;
    sequences[at + 4] = startOf(bases.q, q, b, qStart[b]!);
    sequences[at + 5] = startOf(bases.k, k, row[b]!, kStart[b]!);
    sequences[at + 6] = startOf(bases.v, v, row[b]!, kStart[b]!);
    sequences[at + 7] = startOf(bases.out, out, b, qStart[b]!);
    sequences[at + 8] = startOf(bases.lse, lse, b, qStart[b]!);
    sequences[at + 9] = bases.table + row[b]! * (pages?.stride ?? 0);
    sequences[at + 10] = startOf(bases.newK, append?.newK, b, newStart[b]!);
    sequences[at + 11] = startOf(bases.newV, append?.newV, b, newStart[b]!);
  }
  return sequences;
}

/** Where each tensor starts in what a kernel binds of its buffer. */
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
