import { checkChoice } from './checkArguments.js';
import { hasScales, KV_DTYPES, type KvDType } from './dtype.js';
import { fail } from './errors.js';
import { I4_GROUP, SCALE_DTYPES, type ScaleDType } from './kvFormats.js';

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
