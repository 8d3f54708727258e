import { bytesPerElement, isQuantised } from '../core/dtype.js';
import { I4_GROUP, SCALE_DTYPES, scaleShape } from '../core/kvFormats.js';
import { isTensor, type Floats, type Tensor } from '../core/tensor.js';
import type { HeadScales, KvScales, SmallFloats } from '../problem/attentionProblem.js';
import { denseRows, pagedRows } from '../problem/tokenRows.js';
import type { Call } from './call.js';
import { checkFloats } from './checkNumbers.js';
import { areScalesOfView, isViewOfKeys } from './checkOverlap.js';
import { checkSameType, checkSizedTensor } from './checkTensor.js';

export interface ScaleArgs {
  readonly kScale?: Floats | undefined;
  readonly vScale?: Floats | undefined;
}

/** Keys and values of a cache, which are checked already, and what the caller calls them. */
interface CacheTensors {
  readonly k: Tensor;
  readonly v: Tensor;
  readonly names: { readonly k: string; readonly v: string };
  readonly isPaged: boolean;
}

/**
 * Checks the scales of a cache. Returns null for one of floats, which has none. Where values are a view of keys, those of keys
 * serve both unless the caller gives others.
 */
export function checkScales(
  call: Call,
  { kScale, vScale }: ScaleArgs,
  { k, v, names, isPaged }: CacheTensors,
): KvScales | null {
  const { dtype } = k;
  if (!isQuantised(dtype)) {
    const given = kScale === undefined ? 'vScale' : 'kScale';
    if (kScale !== undefined || vScale !== undefined)
      call.refuse(
        'argument',
        `${given} is given, but ${names.k} is ${dtype}: only i8, i4 and e4m3 have scales.`,
      );
    return null;
  }
  checkWords(call, names.k, k);
  checkWords(call, names.v, v);
  const areShared = vScale === undefined && isViewOfKeys(v, k);
  if (dtype === 'e4m3')
    return headScales(call, { kScale, vScale: areShared ? kScale : vScale }, k.shape.at(-2)!);
  if (dtype === 'i4') {
    checkGroups(call, names.k, k);
    checkGroups(call, names.v, v);
    const first = firstOf(v, k);
    if (areShared && first !== 0)
      call.refuse(
        'argument',
        `vScale is missing: ${names.v} begins ${first} elements after ${names.k}, so its scales do not begin with those of ${names.k}. Pass the view of kScale that it has.`,
      );
  }
  const rows = isPaged ? pagedRows : denseRows;
  const scalesOf = (name: string, scales: Floats | undefined, cache: Tensor, size: string): Tensor => {
    if (scales === undefined)
      call.refuse('argument', `${name} is missing: a cache of ${dtype} needs kScale and vScale.`);
    const dims = [...(isPaged ? ['P', 'pageSize'] : ['Bc', 'Sc']), 'Hkv'];
    if (dtype === 'i4') dims.push(`${size} / ${I4_GROUP}`);
    // Checked to be a tensor as others are; of i8 and i4, scales may be on the GPU only.
    const tensor = scales as Tensor;
    checkSizedTensor(call, name, tensor, {
      dtypes: SCALE_DTYPES,
      dims,
      sizes: scaleShape(dtype, cache.shape),
    });
    return tensor;
  };
  const ofK = scalesOf('kScale', kScale, k, 'D');
  if (areShared) return { per: 'token', k: rows(ofK), v: rows(ofK) };
  const ofV = scalesOf('vScale', vScale, v, 'Dv');
  checkSameType(call, { kScale: ofK.dtype, vScale: ofV.dtype });
  return { per: 'token', k: rows(ofK), v: rows(ofV) };
}

/** The same of keys alone, for calls that need no values: what is said of values is said of keys. */
export function checkKeyScales(
  call: Call,
  kScale: Floats | undefined,
  { k, name, isPaged }: { readonly k: Tensor; readonly name: string; readonly isPaged: boolean },
): KvScales | null {
  return checkScales(call, { kScale, vScale: kScale }, { k, v: k, names: { k: name, v: name }, isPaged });
}

type SharedScales = ScaleArgs & { readonly kCache: Tensor; readonly vCache: Tensor };

/** Checks that new keys, whose values are a view of them, are read as values with the scales they are stored with. */
export function checkSharedScales(call: Call, { kScale, vScale, kCache, vCache }: SharedScales): void {
  const { dtype } = kCache;
  if (!isQuantised(dtype)) return;
  const first = firstOf(vCache, kCache);
  if (dtype === 'i4' && first % I4_GROUP !== 0)
    call.refuse(
      'shape',
      `vCache begins ${first} elements after kCache; in i4, values that are a view of keys begin with a multiple of ${I4_GROUP}, whose elements share a scale.`,
    );
  if (vScale === undefined) return;
  const isSame = isTensor(vScale)
    ? isTensor(kScale) && areScalesOfView(vScale, kScale, dtype === 'i4' ? first / I4_GROUP : 0)
    : areSameNumbers(vScale, kScale);
  if (!isSame)
    call.refuse(
      'argument',
      'v is left out, so values have the scales of new keys: leave vScale out, or pass the view of kScale that goes with vCache.',
    );
}

/** Whether numbers of e4m3 scales are the same, 1 being the default. */
function areSameNumbers(vScale: Floats | undefined, kScale: Floats = [1]): boolean {
  if (vScale === undefined || isTensor(vScale) || isTensor(kScale)) return false;
  const [ofV, ofK] = [Array.from(vScale), Array.from(kScale)];
  const size = Math.max(ofV.length, ofK.length);
  const at = (numbers: number[], head: number) => numbers[numbers.length === 1 ? 0 : head];
  return Array.from({ length: size }, (_, head) => at(ofV, head) === at(ofK, head)).every(Boolean);
}

/** The element of a key with which its value begins, if that is a part of it. */
function firstOf(v: Tensor, k: Tensor): number {
  return (v.offset ?? 0) - (k.offset ?? 0);
}

/** Checks that a quantised cache begins with a whole word. */
function checkWords(call: Call, name: string, { dtype, offset = 0 }: Tensor): void {
  const perWord = 4 / bytesPerElement(dtype);
  if (offset % perWord !== 0)
    call.refuse(
      'shape',
      `the offset of ${name} must be a multiple of ${perWord}, since quantised caches begin with a whole word, not ${offset}.`,
    );
}

function checkGroups(call: Call, name: string, { shape }: Tensor): void {
  const size = shape.at(-1)!;
  if (size % I4_GROUP !== 0)
    call.refuse(
      'shape',
      `${name} has head size ${size}; i4 needs a multiple of ${I4_GROUP}, whose elements share a scale. Use i8.`,
    );
}

function headScales(call: Call, { kScale, vScale }: ScaleArgs, nKvHeads: number): HeadScales {
  const scalesOf = (name: string, scales: Floats | undefined): SmallFloats => {
    if (scales === undefined) return new Float32Array(nKvHeads).fill(1);
    const size = (isTensor(scales) ? scales.shape?.[0] : scales?.length) === 1 ? 1 : nKvHeads;
    const rule = { dims: size === 1 ? ['1'] : ['Hkv'], sizes: [size] };
    if (isTensor(scales)) {
      checkSizedTensor(call, name, scales, { ...rule, dtypes: ['f32'] });
      return scales;
    }
    const numbers = checkFloats(call, name, scales, rule) as Float32Array;
    // Devices divide only by such numbers.
    call.each(
      'argument',
      numbers,
      (scale) => scale >= 2 ** -126 && scale <= 2 ** 126,
      (i) => `${name}[${i}] must be a number from 2⁻¹²⁶ to 2¹²⁶, not ${numbers[i]}.`,
    );
    return size === nKvHeads ? numbers : new Float32Array(nKvHeads).fill(numbers[0]!);
  };
  return { per: 'head', k: scalesOf('kScale', kScale), v: scalesOf('vScale', vScale) };
}
