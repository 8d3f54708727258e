import { roundTo } from '../../src/core/dtype.js';
import { attnVarlenReference, type HostTensor } from '../../src/reference/attention.js';
import readme from '../../README.md?raw';

/** Where a whole example of the README runs. */
export type ExampleHost = 'browser' | 'node';

/** A block of the README that is a program of its own: it makes a device, and prints what came out. */
export interface Example {
  readonly host: ExampleHost;
  /** What it is about, by the function that it shows. */
  readonly shows: 'attnVarlen' | 'PagedKvCache';
  readonly code: string;
}

const blocks = [...readme.matchAll(/```(?:ts|js)\n(.*?)```/gs)].map(([, code]) => code!);

/** The whole examples, as they stand. */
export const examples: readonly Example[] = blocks
  .filter((code) => code.includes('requestDevice('))
  .map((code) => ({
    host: code.includes("from 'webgpu'") ? 'node' : 'browser',
    shows: code.includes('PagedKvCache') ? 'PagedKvCache' : 'attnVarlen',
    code,
  }));

/** The whole examples for a host, of which the README has one for each thing shown. */
export function examplesOf(host: ExampleHost): readonly Example[] {
  const found = examples.filter((example) => example.host === host);
  if (found.length < 2) throw new Error(`The README has ${found.length} whole examples for ${host}.`);
  return found;
}

const others = blocks.filter((code) => !code.includes('requestDevice('));

/** Programs that need no device, over a subpath of the package. */
export const subpathExamples: readonly string[] = others.filter((code) => code.includes("from 'pageflash/"));

/** Blocks that go on from the variables of the cache's example. */
export const snippets: readonly string[] = others.filter((code) => !subpathExamples.includes(code));

/** Blocks of what programs print. */
export const printouts: readonly string[] = [...readme.matchAll(/```text\n(.*?)```/gs)].map(
  ([, text]) => text!,
);

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
