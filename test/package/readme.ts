import { roundTo } from '../../src/core/dtype.js';
import { attnVarlenReference, type HostTensor } from '../../src/reference/attention.js';
import firstPage from '../../docs/guide/first-attention.md?raw';
import kernelsPage from '../../docs/guide/kernels.md?raw';
import numericsPage from '../../docs/guide/numerics.md?raw';
import readme from '../../README.md?raw';

/** Where a whole example runs. */
export type ExampleHost = 'browser' | 'node';

/** An example of the README, for browsers, or its twin for Node on the guide's first page. It prints what came out. */
export interface Example {
  readonly host: ExampleHost;
  /** What it is about, by the function that it shows. */
  readonly shows: 'attnVarlen' | 'PagedKvCache';
  readonly code: string;
}

/** Code blocks of a page. */
function blocksOf(page: string): string[] {
  return [...page.matchAll(/```ts\n(.*?)```/gs)].map(([, code]) => code!);
}

/** The text of a section, up to the next heading. */
function sectionOf(page: string, title: string): string {
  const [, section] = page.split(`\n## ${title}\n`);
  if (section === undefined) throw new Error(`There is no section "${title}".`);
  return section.split('\n## ')[0]!;
}

/** The whole examples, as they stand. */
export const examples: readonly Example[] = [
  ...['A first call', 'With a cache'].flatMap((title) => examplesIn(sectionOf(readme, title), 'browser')),
  ...examplesIn(sectionOf(firstPage, 'In Node'), 'node'),
];

function examplesIn(section: string, host: ExampleHost): Example[] {
  return blocksOf(section).map((code) => ({
    host,
    shows: code.includes('PagedKvCache') ? 'PagedKvCache' : 'attnVarlen',
    code,
  }));
}

/** The whole examples for a host, of which there is one for each thing shown. */
export function examplesOf(host: ExampleHost): readonly Example[] {
  const found = examples.filter((example) => example.host === host);
  if (found.length < 2) throw new Error(`There are ${found.length} whole examples for ${host}.`);
  return found;
}

/** Programs of the guide that need no device, over a subpath of the package. */
export const subpathExamples: readonly string[] = [kernelsPage, numericsPage].flatMap((page) =>
  blocksOf(page).filter((code) => code.includes("from 'pageflash/")),
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
