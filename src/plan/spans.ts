import {
  isHostLengths,
  type AttentionProblem,
  type DeviceLengths,
  type HostLengths,
} from '../problem/attentionProblem.js';
import { visibleBand, type KeyRange } from '../problem/band.js';

/** A sequence to plan for; where only bounds are known, it has the most that it may have. */
export interface Span extends KeyRange {
  readonly sequence: number;
  readonly qLen: number;
  /** Rows for each kv head: the query tokens of all heads that share it. */
  readonly nRows: number;
}

/** The sequences that have queries. */
export function spansOf(problem: AttentionProblem, lengths: HostLengths | DeviceLengths): Span[] {
  const group = problem.nHeads / problem.nKvHeads;
  const spans: Span[] = [];
  for (let sequence = 0; sequence < problem.batch; sequence++) {
    const [qLen, kLen, firstKey] = isHostLengths(lengths)
      ? [lengths.qLen[sequence]!, lengths.kLen[sequence]!, lengths.firstKey[sequence]!]
      : [lengths.maxSeqlenQ, lengths.maxSeqlenK, 0];
    if (qLen > 0) spans.push({ sequence, qLen, kLen, firstKey, nRows: qLen * group });
  }
  return spans;
}

/** Tiles of keys that any row of [firstRow, endRow) sees. */
export function tilesSeen(
  { masks, nHeads, nKvHeads }: AttentionProblem,
  span: Span,
  [firstRow, endRow]: readonly [number, number],
  tileKeys: number,
): number {
  const group = nHeads / nKvHeads;
  const toPosition = span.kLen - span.qLen;
  const [first] = visibleBand(Math.floor(firstRow / group) + toPosition, span, masks);
  const [, last] = visibleBand(Math.floor((endRow - 1) / group) + toPosition, span, masks);
  return last < first ? 0 : Math.floor(last / tileKeys) - Math.floor(first / tileKeys) + 1;
}
