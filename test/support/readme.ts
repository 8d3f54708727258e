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

/** The other blocks: each goes on from the variables of the cache's example. */
export const snippets: readonly string[] = blocks.filter((code) => !code.includes('requestDevice('));
