import { bytesPerElement } from '../core/dtype.js';
import { extentOf, windowOf } from '../core/tensor.js';
import type { AttentionProblem, TokenRows, TurnedRows } from './attentionProblem.js';

/**
 * A problem whose heads are turned (`kvRotation`): attention reads turned queries from memory of the runtime, and leaves its
 * output there, both f32 and laid out as the caller's are.
 */
export function turnedProblem<Problem extends Pick<AttentionProblem, 'q' | 'out'>>(
  problem: Problem,
): Problem {
  const { q, out } = problem;
  return { ...problem, q: roomFor(q), out: roomFor(out), turned: { q, out } };
}

/** The same for a call that only reads queries. */
export function turnedQueries<Problem extends Pick<AttentionProblem, 'q'>>(
  problem: Problem,
): Problem & { readonly turned: TurnedRows } {
  const { q } = problem;
  return { ...problem, q: roomFor(q), turned: { q, out: null } };
}

/** Rows as the caller's, but of f32. Their tensor is never bound. */
function roomFor<Rows extends TokenRows>(rows: Rows): Rows {
  const { tensor } = rows;
  return { ...rows, tensor: { ...tensor, dtype: 'f32', offset: windowOf(tensor).firstElement } };
}

/** Bytes of the memory in which rows of f32 are laid out as the caller's. */
export function turnedBytes({ tensor }: TokenRows): number {
  return Math.max(1, windowOf(tensor).firstElement + extentOf(tensor)) * bytesPerElement('f32');
}
