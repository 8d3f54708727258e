import { checkChoice } from '../core/checkArguments.js';
import { FLOATS, hasScales, KV_DTYPES, type KvDType } from '../core/dtype.js';
import { I4_GROUP, SCALE_DTYPES, type ScaleDType } from '../core/kvFormats.js';
import { fail } from '../core/errors.js';
import { MAX_HEAD_DIM, MAX_HEAD_DIM_V } from '../problem/attentionProblem.js';

/** Checks the head sizes of a model, by name; that they are counts is known. */
export function checkHeadDims(
  caller: string,
  { headDim, headDimV }: { readonly headDim: number; readonly headDimV: number },
): void {
  checkAtMost(caller, { headDim }, MAX_HEAD_DIM);
  checkAtMost(caller, { headDimV }, MAX_HEAD_DIM_V);
}

/** More heads than any model has. A bound, so that planning does not run out of memory. */
const MAX_HEADS = 2 ** 16;

/** Checks numbers of heads, by name; that they are counts is known. */
export function checkHeads(caller: string, counts: Readonly<Record<string, number>>): void {
  checkAtMost(caller, counts, MAX_HEADS);
}

function checkAtMost(caller: string, sizes: Readonly<Record<string, number>>, most: number): void {
  for (const [name, size] of Object.entries(sizes))
    if (size > most) fail('shape', caller, `${name} is ${size}; it must be 1 to ${most}.`);
}

/** Checks element types, by name. */
export function checkTypes(caller: string, types: Readonly<Record<string, unknown>>): void {
  for (const [name, type] of Object.entries(types)) checkChoice(caller, name, type, FLOATS);
}

/** The format of a cache, as options say it. */
interface CacheFormat {
  readonly kvDType: KvDType;
  readonly scaleDType?: ScaleDType | undefined;
  readonly headDim: number;
  readonly headDimV: number;
}

/** Checks the type of a cache, `name` being what the caller calls it, that of its scales, and whether heads suit it. */
export function checkCacheFormat(
  caller: string,
  { kvDType, scaleDType, headDim, headDimV }: CacheFormat,
  name = 'kvDType',
): void {
  checkChoice(caller, name, kvDType, KV_DTYPES);
  if (scaleDType !== undefined) {
    checkChoice(caller, 'scaleDType', scaleDType, SCALE_DTYPES);
    if (!hasScales(kvDType))
      fail(
        'argument',
        caller,
        `scaleDType is the type of the scales of i8 and i4, but ${name} is ${kvDType}. Leave it out.`,
      );
  }
  if (kvDType !== 'i4') return;
  for (const [size, value] of Object.entries({ headDim, headDimV }))
    if (value % I4_GROUP !== 0)
      fail('shape', caller, `${size} is ${value}; i4 needs a multiple of ${I4_GROUP}. Use i8.`);
}
