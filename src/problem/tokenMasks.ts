import type { HostLengths, Masks, TokenLayout } from './attentionProblem.js';
import type { KeyRange } from './band.js';

// Query tokens that have positions of their own, or see each other along a tree. Twin of token_masks.wgsl.

/** The first query token of a sequence among those of all. */
export function firstTokenOf(
  { sequenceTokens }: TokenLayout,
  { qStart }: HostLengths,
  sequence: number,
): number {
  return qStart[sequence]! + sequence * sequenceTokens;
}

/** Whether masks look at positions of query tokens. */
export function masksByPosition({ tokens }: Masks): boolean {
  return tokens?.positionRows === 1;
}

export function masksByTree({ tokens }: Masks): boolean {
  return tokens !== undefined && tokens.treeWords > 0;
}

/** Positions of the tokens of a sequence. */
export interface TokenPositions {
  readonly all: Int32Array;
  /** Where those of the sequence begin. */
  readonly start: number;
  /** Whether they never fall. */
  readonly inOrder: boolean;
}

export function tokenPositions(all: Int32Array, start: number, nTokens: number): TokenPositions {
  let inOrder = true;
  for (let i = start + 1; i < start + nTokens; i++) inOrder &&= all[i - 1]! <= all[i]!;
  return { all, start, inOrder };
}

/** A sequence whose masks are by token. */
export interface TokenSequence extends KeyRange {
  readonly qLen: number;
  /** `indices` where tokens have no positions of their own; undefined where only the GPU knows. */
  readonly positions?: TokenPositions | 'indices' | undefined;
}

/** From the first to the last key that tokens first to last see, both inclusive; keys between may be hidden from all. */
export function bandOfTokens(
  sequence: TokenSequence,
  masks: Masks,
  firstToken: number,
  lastToken: number,
): readonly [first: number, last: number] {
  const { firstKey, kLen, qLen, positions } = sequence;
  const firstOwn = kLen - qLen;
  const isCausal = masks.causal && !masksByTree(masks);
  const last = isCausal ? firstOwn + lastToken : kLen - 1;
  const [low, high] = positions
    ? spanOfTokens(sequence, positions, masks, firstToken, lastToken)
    : [-Infinity, Infinity];
  const before = [Math.max(firstKey, low), Math.min(firstOwn - 1, high)] as const;
  let own = [Math.max(firstKey, firstOwn), last] as const;
  if (positions === 'indices') own = [Math.max(own[0], low), Math.min(own[1], high)];
  else if (positions?.inOrder)
    own = [
      Math.max(own[0], firstOwn + countBelow(positions, qLen, low)),
      Math.min(own[1], firstOwn + countBelow(positions, qLen, high + 1) - 1),
    ];
  if (before[1] < before[0]) return own;
  if (own[1] < own[0]) return before;
  return [Math.min(before[0], own[0]), Math.max(before[1], own[1])];
}

/** The positions that any of some tokens sees. */
function spanOfTokens(
  { firstKey, kLen, qLen }: TokenSequence,
  positions: TokenPositions | 'indices',
  masks: Masks,
  firstToken: number,
  lastToken: number,
): readonly [low: number, high: number] {
  const positionOf = (token: number): number =>
    positions === 'indices' ? token + kLen - qLen : positions.all[positions.start + token]!;
  const step = positions === 'indices' || positions.inOrder ? Math.max(1, lastToken - firstToken) : 1;
  let [low, high] = [Infinity, -Infinity];
  for (let token = firstToken; token <= lastToken; token += step) {
    const position = positionOf(token);
    low = Math.min(low, lowestSeen(position, firstKey, masks));
    high = Math.max(high, highestSeen(position, firstKey, masks));
  }
  return [low, high];
}

function lowestSeen(position: number, firstKey: number, { left, attentionChunk }: Masks): number {
  const low = left >= 0 ? position - left : -Infinity;
  return attentionChunk > 0 ? Math.max(low, chunkStart(position, firstKey, attentionChunk)) : low;
}

function highestSeen(position: number, firstKey: number, { right, attentionChunk }: Masks): number {
  const high = right >= 0 ? position + right : Infinity;
  if (attentionChunk === 0) return high;
  return Math.min(high, chunkStart(position, firstKey, attentionChunk) + attentionChunk - 1);
}

function chunkStart(position: number, firstKey: number, attentionChunk: number): number {
  return firstKey + Math.floor((position - firstKey) / attentionChunk) * attentionChunk;
}

/** How many of a sequence's positions, which never fall, are below another. */
function countBelow({ all, start }: TokenPositions, n: number, position: number): number {
  let [first, end] = [0, n];
  while (first < end) {
    const middle = (first + end) >> 1;
    if (all[start + middle]! < position) first = middle + 1;
    else end = middle;
  }
  return first;
}
