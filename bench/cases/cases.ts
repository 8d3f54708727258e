import type { FloatDType } from '../../src/core/dtype.js';
import { FEATURE_SHAPES, type CallSize, type FeatureShape } from './featureShapes.js';
import { DECODE_SHAPES, PREFILL_SHAPES, type DecodeShape, type PrefillShape } from './shapes.js';

/** What decides which cases are run, and at which size. */
export interface CaseOptions {
  /** Whether shaders run on the CPU, where shapes are scaled down. */
  readonly software: boolean;
  readonly dtype: FloatDType;
  /** Names of shapes; an empty list means all. */
  readonly shapes: readonly string[];
  readonly quick: boolean;
  /** Run the models' own sizes on software adapters too. */
  readonly full: boolean;
}

/** One row of the benchmark: a shape, perhaps scaled down. */
export type BenchCase = PrefillCase | DecodeCase | FeatureCase;

/** The kinds of cases whose peers are other ways to compute attention. */
export type ShapeKind = (PrefillCase | DecodeCase)['kind'];

/** A prompt shape at one of its lengths. */
export interface PrefillCase extends Omit<PrefillShape, 'name' | 'lengths'> {
  readonly kind: 'prefill';
  readonly shape: string;
  readonly length: number;
  readonly dtype: FloatDType;
  /** Whether there are fewer heads, and a smaller window, than in the model. */
  readonly scaled: boolean;
}

/** A decode step: every sequence has one query, which sees all of its keys. */
export interface DecodeCase extends Omit<DecodeShape, 'name'> {
  readonly kind: 'decode';
  readonly shape: string;
  readonly dtype: FloatDType;
  /** Whether there are fewer heads than in the model. */
  readonly scaled: boolean;
}

/** A call with an option, beside the same call without it. */
export interface FeatureCase extends Omit<FeatureShape, 'name' | 'size' | 'softwareSize'>, CallSize {
  readonly kind: 'feature';
  readonly shape: string;
  readonly dtype: FloatDType;
  /** Whether there are fewer heads than in the model. */
  readonly scaled: boolean;
}

/** The cases that the options select, prompts first, in the order of the shapes. */
export function benchCases(options: CaseOptions): BenchCase[] {
  return [...prefillCases(options), ...decodeCases(options), ...featureCases(options)];
}

function prefillCases(options: CaseOptions): PrefillCase[] {
  const { dtype, quick } = options;
  const scaled = isScaled(options);
  return selected(PREFILL_SHAPES, QUICK_PREFILL_SHAPES, options).flatMap((shape) => {
    const { name, lengths, ...rest } = scaled ? scaledDown(shape) : shape;
    const wanted = quick ? [scaled ? 512 : 1024] : lengths;
    return wanted.map((length): PrefillCase =>
      Object.assign({ kind: 'prefill', shape: name, length, dtype, scaled } as const, rest),
    );
  });
}

export function decodeCases(options: CaseOptions): DecodeCase[] {
  const { dtype } = options;
  const scaled = isScaled(options);
  return selected(DECODE_SHAPES, QUICK_DECODE_SHAPES, options).map((shape) => {
    const { name, ...rest } = shape;
    const heads = scaled ? fewerHeads(shape, DECODE_SOFTWARE_DIVISOR) : {};
    return Object.assign({ kind: 'decode', shape: name, dtype, scaled } as const, rest, heads);
  });
}

/** Caches of few bits are for models in halves, so their queries are halves, too. */
export function featureCases(options: CaseOptions): FeatureCase[] {
  const { shapes } = options;
  const scaled = isScaled(options);
  const named = new Set(selected(FEATURE_SHAPES, QUICK_FEATURE_SHAPES, options));
  const isWanted = (shape: FeatureShape): boolean => named.has(shape) || shapes.includes(shape.family);
  return FEATURE_SHAPES.filter(isWanted).map((shape) => {
    const { name, size, softwareSize, ...rest } = shape;
    const { nQueries, nKeys } = size;
    const divisor = nQueries === nKeys ? PREFILL_SOFTWARE_DIVISOR : DECODE_SOFTWARE_DIVISOR;
    const heads = scaled ? fewerHeads(shape, divisor) : {};
    const dtype = shape.family === 'formats' && options.dtype === 'f32' ? 'f16' : options.dtype;
    const start = { kind: 'feature', shape: name, dtype, scaled } as const;
    return Object.assign(start, rest, heads, scaled ? softwareSize : size);
  });
}

/** Whether all tokens of a case are new, as those of a prompt are. */
export function isPrompt(benchCase: BenchCase): boolean {
  if (benchCase.kind === 'feature') return benchCase.nQueries === benchCase.nKeys;
  return benchCase.kind === 'prefill';
}

/** The only shapes of a quick run on a software adapter. */
const QUICK_PREFILL_SHAPES = ['llama-3-8b', 'encoder-base'];
const QUICK_DECODE_SHAPES = ['decode-small'];
const QUICK_FEATURE_SHAPES = ['kv-i8'];

/** The shapes that were named, else all; in a quick run on a software adapter, else the quick ones. */
function selected<S extends { readonly name: string }>(
  all: readonly S[],
  quick: readonly string[],
  options: CaseOptions,
): readonly S[] {
  const few = options.quick && isScaled(options);
  if (options.shapes.length === 0 && !few) return all;
  const names = options.shapes.length > 0 ? options.shapes : quick;
  return all.filter(({ name }) => names.includes(name));
}

/** Whether shapes get fewer heads than the models that they are taken from. */
function isScaled({ software, full }: CaseOptions): boolean {
  return software && !full;
}

/** Divisor of kv heads (at least one is left) and windows of prompts on software adapters. */
export const PREFILL_SOFTWARE_DIVISOR = 8;
/** Divisor of kv heads (at least one is left) of decode steps on software adapters; sequences keep their lengths. */
export const DECODE_SOFTWARE_DIVISOR = 4;

/** Prompt lengths on software adapters, where a call takes seconds. One shape goes on to 2048, to show naive's memory. */
const SOFTWARE_LENGTHS: Readonly<Record<string, readonly number[]>> = {
  'llama-3-8b': [512, 1024],
  // Long enough for the window to hide keys.
  'gemma-2-9b': [1024],
  'llama-3.2-1b': [512, 1024, 2048],
  'encoder-base': [512, 1024],
};
const OTHER_SOFTWARE_LENGTHS = [512];

/** The shape with fewer heads, a smaller window and shorter prompts. */
function scaledDown(shape: PrefillShape): PrefillShape {
  return {
    ...shape,
    ...fewerHeads(shape, PREFILL_SOFTWARE_DIVISOR),
    window: shape.window / PREFILL_SOFTWARE_DIVISOR,
    lengths: SOFTWARE_LENGTHS[shape.name] ?? OTHER_SOFTWARE_LENGTHS,
  };
}

type HeadCounts = Pick<PrefillShape, 'nHeads' | 'nKvHeads'>;

/** The kv heads divided, at least one left, with as many query heads per kv head as before. */
function fewerHeads({ nHeads, nKvHeads }: HeadCounts, divisor: number): HeadCounts {
  const fewer = Math.max(1, Math.round(nKvHeads / divisor));
  return { nHeads: (nHeads / nKvHeads) * fewer, nKvHeads: fewer };
}

/** `windowSize` of a prompt: how many keys left and right of its own position a query sees; −1: no bound. */
export function windowOf({
  causal,
  window,
}: Pick<PrefillShape, 'causal' | 'window'>): readonly [left: number, right: number] {
  return [window > 0 ? window - 1 : -1, causal ? 0 : -1];
}

/** The name of a row, such as `llama-7b 512` or `decode-mha`. */
export function caseName(benchCase: BenchCase): string {
  return benchCase.kind === 'prefill' ? `${benchCase.shape} ${benchCase.length}` : benchCase.shape;
}

/** Query heads, kv heads and head size, such as `32/8×128`. */
export function headsOf({ nHeads, nKvHeads, headDim }: BenchCase): string {
  return `${nHeads}/${nKvHeads}×${headDim}`;
}

/** Tokens of a prompt, such as `512`; sequences × keys of a decode step, such as `8 × ≤ 4000`. */
export function lengthOf(benchCase: BenchCase): string {
  if (benchCase.kind === 'prefill') return String(benchCase.length);
  if (benchCase.kind === 'feature') {
    const { batch, nKeys } = benchCase;
    return isPrompt(benchCase) ? String(nKeys) : `${batch} × ${nKeys}`;
  }
  const { keys } = benchCase;
  const longest = Math.max(...keys);
  return `${keys.length} × ${keys.every((n) => n === longest) ? '' : '≤ '}${longest}`;
}
