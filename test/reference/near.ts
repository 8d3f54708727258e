import { expect } from 'vitest';
import type { AttentionResult } from '../../src/reference/attention.js';

/** Equal but for the rounding of f64. */
export function expectNear(got: ArrayLike<number>, want: ArrayLike<number>): void {
  const near = Array.from(want, (x) => (Number.isFinite(x) ? (expect.closeTo(x, 12) as number) : x));
  expect(Array.from(got)).toEqual(near);
}

export function expectAlike(got: AttentionResult, want: AttentionResult): void {
  expect(got.out.shape).toEqual(want.out.shape);
  expect(got.lse.shape).toEqual(want.lse.shape);
  expectNear(got.out.data, want.out.data);
  expectNear(got.lse.data, want.lse.data);
}
