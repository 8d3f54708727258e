import { parseArgs } from 'node:util';
import type { FloatDType } from '../src/core/dtype.js';
import { SHAPES } from './cases.js';
import { DECODE_SOFTWARE_DIVISOR } from './decode/shapes.js';
import { PREFILL_SOFTWARE_DIVISOR } from './prefill/shapes.js';

export const ADAPTERS = ['chrome', 'node'] as const;
export type Adapter = (typeof ADAPTERS)[number];

const DTYPES = ['f32', 'f16', 'bf16'] as const satisfies readonly FloatDType[];

export interface BenchOptions {
  readonly adapter: Adapter;
  readonly dtype: FloatDType;
  /** Also `RECORDING`; none means all. */
  readonly shapes: readonly string[];
  readonly quick: boolean;
  readonly full: boolean;
  /** Where the results go, without `.json` and `.html`. */
  readonly out: string;
}

/** What to call the cost of recording where names of shapes are asked for. */
export const RECORDING = 'recording';
const NAMES = [...SHAPES.map(({ name }) => name), RECORDING];

/** The user asked for something that is not there; the message says what is. */
export class UsageError extends Error {}

/**
 * @param adapters those that the program has, its default first
 * @returns undefined if only help is wanted
 * @throws UsageError
 */
export function parseOptions(
  args: readonly string[],
  adapters: readonly Adapter[],
): BenchOptions | undefined {
  const values = parse(args);
  if (values.help) return undefined;
  return {
    adapter: oneOf('--adapter', values.adapter ?? adapters[0]!, adapters),
    dtype: oneOf('--dtype', values.dtype ?? 'f32', DTYPES),
    shapes: (values.shape ?? []).map((name) => oneOf('--shape', name, NAMES)),
    quick: values.quick ?? false,
    full: values.full ?? false,
    out: outPath(values.out ?? 'latest'),
  };
}

function parse(args: readonly string[]) {
  try {
    return parseArgs({
      args: [...args],
      options: {
        adapter: { type: 'string' },
        dtype: { type: 'string' },
        shape: { type: 'string', multiple: true },
        quick: { type: 'boolean' },
        full: { type: 'boolean' },
        out: { type: 'string' },
        help: { type: 'boolean', short: 'h' },
      },
    }).values;
  } catch (error) {
    // It goes on about how to pass positional arguments, which there are none of.
    throw new UsageError((error as Error).message.split('. ')[0], { cause: error });
  }
}

function oneOf<T extends string>(option: string, value: string, allowed: readonly T[]): T {
  const found = allowed.find((candidate) => candidate === value);
  if (found === undefined) {
    throw new UsageError(`${option} must be one of ${allowed.join(', ')}, not ${JSON.stringify(value)}`);
  }
  return found;
}

function outPath(name: string): string {
  const stem = name.replace(/\.(json|html)$/, '');
  if (stem === '') throw new UsageError('--out needs a name');
  return /[/\\]/.test(stem) ? stem : `bench/results/${stem}`;
}

export function help(command: string, adapters: readonly Adapter[]): string {
  const adapterLines =
    adapters.length > 1
      ? `  --adapter ${adapters.join('|')}   where to run: headless Chrome, or Dawn in Node (${adapters[0]})\n`
      : '';
  return `Times pageflash against naive attention, which keeps all scores in memory: prompts, steps of decoding over a cache
in pages (against pageflash's kernel for prompts, too), and what it costs the host to record a planned layer.

  ${command} [options]

${adapterLines}  --quick                 few lengths and rounds: half a minute on a software adapter
  --shape NAME            only this shape; may be repeated
  --dtype ${DTYPES.join('|')}    how q, k, v and out are stored (f32)
  --full                  the models' own sizes on a software adapter too, where prompts otherwise have heads
                          and windows divided by ${PREFILL_SOFTWARE_DIVISOR} and end at 512 to 2048, and decoding has
                          heads divided by ${DECODE_SOFTWARE_DIVISOR}
  --out NAME              write bench/results/NAME.json and .html (latest); with a slash, a path
  --help                  this text

Shapes: ${NAMES.join(', ')}.
Exits with 1 if a shape failed, with 2 if the options make no sense.
`;
}
