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
