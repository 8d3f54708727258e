import { roundTo } from '../../src/core/dtype.js';
import { attnVarlenReference, type HostTensor } from '../../src/reference/attention.js';
import type { Example } from './readme.js';

/** What an example prints of a step: the shape of out, and the last numbers of it. */
const LINE = /out \[([\d,]+)\]: (\S+) (\S+) (\S+) (\S+)/g;

/** Numbers of the examples: sin i, stored as f16. */
function waves(shape: readonly [number, number, number], first = 0): HostTensor {
  const data = Float64Array.from({ length: shape[0] * shape[1] * shape[2] }, (_, i) =>
    roundTo('f16', Math.fround(Math.sin(first + i))),
  );
  return { data, shape };
}

/** The rows of a tensor that are named, in that order. */
function rowsOf({ data, shape }: HostTensor, rows: readonly number[]): HostTensor {
  const size = shape[1]! * shape[2]!;
  const picked = rows.flatMap((row) => Array.from(data.subarray(row * size, (row + 1) * size)));
  return { data: Float64Array.from(picked), shape: [rows.length, ...shape.slice(1)] };
}

/** The steps of an example: which rows of the waves its sequences query with, and which they have as keys by then. */
const STEPS = {
  attnVarlen: [
    { queries: [0, 1, 2, 3, 4, 5, 6, 7], keys: [0, 1, 2, 3, 4, 5, 6, 7], q: [0, 3, 8], k: [0, 3, 8] },
  ],
  PagedKvCache: [
    { queries: [0, 1, 2, 3, 4, 5, 6, 7], keys: [0, 1, 2, 3, 4, 5, 6, 7], q: [0, 3, 8], k: [0, 3, 8] },
    { queries: [0, 1], keys: [0, 1, 2, 0, 3, 4, 5, 6, 7, 1], q: [0, 1, 2], k: [0, 4, 10] },
  ],
} as const;

/** Checks the text that an example prints against the reference. */
export function checkPrinted(shows: Example['shows'], text: string): void {
  const printed = [...text.matchAll(LINE)];
  const steps = STEPS[shows];
  if (printed.length !== steps.length)
    throw new Error(`The example of ${shows} should print ${steps.length} results, but printed:\n${text}`);
  steps.forEach(({ queries, keys, q, k }, step) => {
    const { out } = attnVarlenReference({
      q: rowsOf(waves([8, 4, 16]), queries),
      k: rowsOf(waves([8, 2, 16]), keys),
      v: rowsOf(waves([8, 2, 16], 256), keys),
      cuSeqlensQ: q,
      cuSeqlensK: k,
      causal: true,
    });
    const [, shape, ...numbers] = printed[step]!;
    const want = Array.from(out.data.subarray(-4));
    const isRight =
      shape === String(out.shape) && want.every((x, i) => Math.abs(Number(numbers[i]) - x) < 2e-3);
    if (!isRight)
      throw new Error(
        `Step ${step} of the example of ${shows} printed "${printed[step]![0]}", but out is [${String(out.shape)}] and ends with ${want.join(' ')}.`,
      );
  });
}
