import { parseArgs } from 'node:util';
import type { FloatDType } from '../../src/core/dtype.js';
import { DECODE_SOFTWARE_DIVISOR, PREFILL_SOFTWARE_DIVISOR } from '../cases/cases.js';
import { FAMILIES, FEATURE_SHAPES } from '../cases/featureShapes.js';
import { SHAPES } from '../cases/shapes.js';

const ADAPTERS = ['chrome', 'node'] as const;
export type Adapter = (typeof ADAPTERS)[number];

const DTYPES = ['f32', 'f16', 'bf16'] as const satisfies readonly FloatDType[];

export interface BenchOptions {
  readonly adapter: Adapter;
  readonly dtype: FloatDType;
  /** Names of shapes, of options or their families, or `RECORDING`; an empty list means all. */
  readonly shapes: readonly string[];
  readonly quick: boolean;
  readonly full: boolean;
  /** Whether to measure every candidate of every kernel, instead of pageflash against its peers. */
  readonly sweep: boolean;
  /** Whether shapes and the cost of recording are measured, besides what the next two add. */
  readonly rows: boolean;
  /** Beside onnxruntime-web. */
  readonly peers: boolean;
  /** One model at many lengths. */
  readonly scale: boolean;
  /** Path of the results, without `.json` and `.html`. */
  readonly out: string;
}

/** The name that `--shape` takes for the cost of recording. */
export const RECORDING = 'recording';
const OPTION_NAMES = [...FAMILIES, ...FEATURE_SHAPES.map(({ name }) => name)];
const NAMES = [...SHAPES.map(({ name }) => name), ...OPTION_NAMES, RECORDING];

/** Options that say what else is measured than a sweep. */
const NOT_FOR_SWEEPS = ['shape', 'dtype', 'full', 'peers', 'scale', 'all'] as const;

/** An option that is unknown or has a wrong value; the message says what is allowed. */
export class UsageError extends Error {}

/**
 * Parses the command line. Returns undefined if it asks for help.
 *
 * @param adapters those that the program offers, its default first
 * @throws UsageError
 */
export function parseOptions(
  args: readonly string[],
  adapters: readonly Adapter[],
): BenchOptions | undefined {
  const values = parse(args);
  if (values.help) return undefined;
  const ignored = values.sweep ? NOT_FOR_SWEEPS.find((name) => values[name] !== undefined) : undefined;
  if (ignored)
    throw new UsageError(`--sweep measures all shapes and types, and no peers: leave out --${ignored}`);
  const { shape = [], all = false } = values;
  const peers = values.peers ?? all;
  const scale = values.scale ?? all;
  return {
    adapter: oneOf('--adapter', values.adapter ?? adapters[0]!, adapters),
    dtype: oneOf('--dtype', values.dtype ?? 'f32', DTYPES),
    shapes: shape.map((name) => oneOf('--shape', name, NAMES)),
    quick: values.quick ?? false,
    full: values.full ?? false,
    rows: all || shape.length > 0 || !(peers || scale),
    peers,
    scale,
    sweep: values.sweep ?? false,
    out: outPath(values.out ?? (values.sweep ? 'sweep' : 'latest')),
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
        sweep: { type: 'boolean' },
        peers: { type: 'boolean' },
        scale: { type: 'boolean' },
        all: { type: 'boolean' },
        out: { type: 'string' },
        help: { type: 'boolean', short: 'h' },
      },
    }).values;
  } catch (error) {
    // The rest of the message explains positional arguments, of which there are none.
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

/** The text of `--help`. */
export function help(command: string, adapters: readonly Adapter[]): string {
  const adapterLines =
    adapters.length > 1
      ? `  --adapter ${adapters.join('|')}   where to run: headless Chrome, or Dawn in Node (${adapters[0]})\n`
      : '';
  return `Times pageflash against naive attention, which keeps all scores in memory: prompts, decode steps over a paged
cache (against pageflash's prefill kernel, too); options of a call beside the plain call; and what it costs the host
to record a planned layer.

  ${command} [options]

${adapterLines}  --quick                 few shapes, lengths and rounds: two minutes on a software adapter, most of them for the cost of recording
  --shape NAME            only this shape, option or family of options; may be repeated
  --dtype ${DTYPES.join('|')}    how q, k, v and out are stored (f32)
  --full                  the models' own sizes on a software adapter too; without it, prompts have heads and
                          windows divided by ${PREFILL_SOFTWARE_DIVISOR} and at most 512 to 2048 tokens there, and decode steps
                          have heads divided by ${DECODE_SOFTWARE_DIVISOR}
  --sweep                 measure instead every candidate of every kernel, and print the best tiles and chunks for
                          the device: under four minutes, with --quick one; writes bench/results/sweep.json
  --peers                 beside onnxruntime-web, which is installed first and compiles for minutes on software
                          adapters: whole calls of its GroupQueryAttention and PagedAttention
  --scale                 one model at many lengths, and what the device reads and multiplies at most; about a
                          minute on a software adapter
  --all                   all shapes, --peers and --scale; without it, these two leave out shapes not named
  --out NAME              write bench/results/NAME.json and .html (latest); with a slash, NAME is a path
  --help                  this text

Shapes: ${[...SHAPES.map(({ name }) => name), RECORDING].join(', ')}.
Families of options: ${FAMILIES.join(', ')}.
Options: ${FEATURE_SHAPES.map(({ name }) => name).join(', ')}.
Exits with 1 if a shape failed, with 2 if an option is wrong.
`;
}
