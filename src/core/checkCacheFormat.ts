import { checkChoice } from './checkArguments.js';
import { hasScales, isQuantised, KV_DTYPES, type KvDType } from './dtype.js';
import { fail } from './errors.js';
import {
  canTurn,
  I4_GROUP,
  KV_ROTATIONS,
  SCALE_DTYPES,
  type KvRotation,
  type ScaleDType,
} from './kvFormats.js';

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

interface TurnedFormat extends Omit<CacheFormat, 'scaleDType'> {
  readonly kvRotation: KvRotation | undefined;
  /** Default false. */
  readonly valuesInKeys?: boolean;
}

/** Checks whether the heads of a cache can be turned, if they are to be; `name` is what the caller calls its type. */
export function checkRotationOf(
  caller: string,
  { kvRotation, kvDType, headDim, headDimV, valuesInKeys = false }: TurnedFormat,
  name = 'kvDType',
): void {
  if (kvRotation === undefined) return;
  checkChoice(caller, 'kvRotation', kvRotation, KV_ROTATIONS);
  if (!isQuantised(kvDType))
    fail(
      'argument',
      caller,
      `kvRotation is for caches of i8, i4 and e4m3, but ${name} is ${kvDType}. Leave it out.`,
    );
  for (const [size, value] of Object.entries({ headDim, headDimV }))
    if (!canTurn(value))
      fail('shape', caller, `${size} is ${value}; kvRotation needs powers of two. Leave it out.`);
  if (valuesInKeys && headDimV !== headDim)
    fail(
      'argument',
      caller,
      'kvRotation is given with valuesInKeys, but some elements of a turned key are not the turned value. Leave it out.',
    );
}
