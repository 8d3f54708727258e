import type { DeviceTraits } from '../core/deviceTraits.js';
import { isTensor, type Floats, type Tensor } from '../core/tensor.js';
import {
  isHostLengths,
  type AppendProblem,
  type DeviceLengths,
  type HostLengths,
  type Masks,
  type PageTable,
  type Rotary,
  type SmallFloats,
} from '../kernels/attentionProblem.js';
import type { AttnWithKvCacheArgs } from './attnWithKvCache.js';
import { checkDims } from './checkDims.js';
import { checkFloats, checkSizes, isHostArray } from './checkNumbers.js';
import { checkSameType, FLOATS } from './checkQkv.js';
import { checkNoOverlapWithin, checkTensor, describe, fail, isCount } from './checkTensor.js';
import { denseRows, raggedRows } from './rows.js';

const CALLER = 'attnWithKvCache';

interface Context {
  readonly batch: number;
  readonly lengths: HostLengths | DeviceLengths;
  readonly pages: PageTable | null;
  readonly masks: Masks;
  readonly nKvHeads: number;
  readonly headDim: number;
  readonly headDimV: number;
}

/** New tokens and rotary positions; null where there are neither. */
export function checkAppend(
  args: AttnWithKvCacheArgs,
  context: Context,
  traits: DeviceTraits,
): AppendProblem | null {
  const rotary = checkRotary(args, context, traits);
  const { k, v, kCache, vCache } = args;
  if (!k !== !v) fail('argument', CALLER, `${k ? 'v' : 'k'} is missing: new tokens need both k and v.`);
  if (!k || !v) return rotary && { newK: null, newV: null, rotary };
  checkNewTokens(args, { k, v }, context, traits);
  checkNoOverlapWithin(CALLER, 'kCache', kCache);
  checkNoOverlapWithin(CALLER, 'vCache', vCache);
  checkApart(args);
  if (isHostLengths(context.lengths)) checkWrittenOnce(context.lengths, context.pages);
  const rows = args.cuSeqlensKNew === undefined ? denseRows : raggedRows;
  return { newK: rows(k), newV: rows(v), rotary };
}

function checkNewTokens(
  { cuSeqlensKNew }: AttnWithKvCacheArgs,
  { k, v }: { readonly k: Tensor; readonly v: Tensor },
  { batch, nKvHeads, headDim, headDimV }: Context,
  traits: DeviceTraits,
): void {
  const isDense = cuSeqlensKNew === undefined;
  const tokens = isDense ? ['B', 'Snew'] : ['totalNew'];
  const dims = { k: [...tokens, 'Hkv', 'D'], v: [...tokens, 'Hkv', 'Dv'] };
  checkTensor(CALLER, 'k', k, { dtypes: FLOATS, dims: dims.k }, traits);
  checkTensor(CALLER, 'v', v, { dtypes: FLOATS, dims: dims.v }, traits);
  checkSameType(CALLER, { k, v });
  checkDims(CALLER, { k: [k, ...dims.k], v: [v, ...dims.v] });
  const sizes = isDense ? [batch, k.shape[1]!] : [k.shape[0]!];
  checkSizes(CALLER, 'k', k, { dims: dims.k, sizes: [...sizes, nKvHeads, headDim] });
  checkSizes(CALLER, 'v', v, { dims: dims.v, sizes: [...sizes, nKvHeads, headDimV] });
}

/** What a dispatch that writes to the cache reads may not be in the cache's buffer. */
function checkApart({ k, v, kCache, vCache, blockTable, rotaryCos, rotarySin }: AttnWithKvCacheArgs): void {
  const readWith = {
    kCache: { k, blockTable, rotaryCos, rotarySin },
    vCache: { v, blockTable },
  };
  for (const [name, cache] of Object.entries({ kCache, vCache }) as ['kCache' | 'vCache', Tensor][]) {
    for (const [readName, read] of Object.entries(readWith[name])) {
      if (!isTensor(read) || read.buffer !== cache.buffer) continue;
      fail(
        'buffer',
        CALLER,
        `${name} is in the same buffer as ${readName}. WebGPU cannot read and write a buffer in one dispatch: give ${readName} a buffer of its own.`,
      );
    }
  }
}

/** Checks that no two sequences write to one row of the cache, or to one page. */
function checkWrittenOnce({ kLen, nCached, row }: HostLengths, pages: PageTable | null): void {
  const writers = new Map<number, number>();
  const claim = (place: number, b: number, what: string): void => {
    const other = writers.get(place) ?? b;
    writers.set(place, b);
    if (other === b) return;
    fail(
      'length',
      CALLER,
      `sequences ${other} and ${b} both write new tokens to ${what} ${place}. Give each its own; copy a shared page first.`,
    );
  };
  kLen.forEach((length, b) => {
    if (length === nCached[b]) return;
    if (!pages) return claim(row[b]!, b, 'row');
    if (isTensor(pages.table)) return;
    const { pageSize, table, width } = pages;
    for (let column = Math.floor(nCached[b]! / pageSize); column * pageSize < length; column++) {
      claim(table[row[b]! * width + column]!, b, 'page');
    }
  });
}

function checkRotary(args: AttnWithKvCacheArgs, context: Context, traits: DeviceTraits): Rotary | null {
  const { rotaryCos, rotarySin, rotaryDim, rotaryInterleaved = true } = args;
  if (typeof rotaryInterleaved !== 'boolean')
    fail('argument', CALLER, `rotaryInterleaved must be true or false, not ${describe(rotaryInterleaved)}.`);
  if ((rotaryCos === undefined) !== (rotarySin === undefined))
    fail(
      'argument',
      CALLER,
      `rotary${rotaryCos ? 'Sin' : 'Cos'} is missing: pass rotaryCos and rotarySin together.`,
    );
  if (rotaryCos === undefined || rotarySin === undefined) {
    if (rotaryDim !== undefined)
      fail('argument', CALLER, 'rotaryDim is given, but neither rotaryCos nor rotarySin.');
    return null;
  }
  const { headDim, masks } = context;
  const pairs = rotaryPairs(rotaryCos, rotaryDim, headDim);
  const nPositions = positionsOf(rotaryCos, pairs);
  const rule = { dims: ['L', 'rotaryDim / 2'], sizes: [nPositions, pairs] };
  const cos = checkFloats(CALLER, 'rotaryCos', rotaryCos, rule, traits);
  const sin = checkFloats(CALLER, 'rotarySin', rotarySin, rule, traits);
  if (typeName(cos) !== typeName(sin))
    fail(
      'dtype',
      CALLER,
      `rotaryCos is ${typeName(cos)} but rotarySin is ${typeName(sin)}; they must be the same.`,
    );
  const queriesAdvance = masks.left >= 0 || masks.right >= 0;
  const rotary = { cos, sin, nPositions, pairs, interleaved: rotaryInterleaved, queriesAdvance };
  if (nPositions === 0) fail('length', CALLER, 'rotaryCos has no positions.');
  if (isHostLengths(context.lengths)) checkPositions(context.lengths, rotary);
  return rotary;
}

/** rotaryDim / 2 */
function rotaryPairs(rotaryCos: Floats, rotaryDim: number | undefined, headDim: number): number {
  const shown = isTensor(rotaryCos) ? 2 * (rotaryCos.shape?.[1] ?? 0) : headDim;
  const dim = rotaryDim ?? shown;
  if (isCount(dim) && dim % 2 === 0 && dim >= 2 && dim <= headDim) return dim / 2;
  fail(
    'argument',
    CALLER,
    `rotaryDim must be an even number from 2 to the head size ${headDim}, not ${describe(dim)}${rotaryDim === undefined ? ', which is what rotaryCos says' : ''}.`,
  );
}

function positionsOf(rotaryCos: Floats, pairs: number): number {
  if (isTensor(rotaryCos)) return rotaryCos.shape?.[0] ?? 0;
  return isHostArray(rotaryCos) ? Math.floor(rotaryCos.length / pairs) : 0;
}

function typeName(floats: SmallFloats): string {
  return isTensor(floats) ? floats.dtype : 'on the host';
}

function checkPositions({ qLen, kLen, nCached }: HostLengths, { nPositions, queriesAdvance }: Rotary): void {
  qLen.forEach((nQueries, b) => {
    const lastQuery = nQueries > 0 ? nCached[b]! + (queriesAdvance ? nQueries - 1 : 0) : -1;
    const lastKey = kLen[b]! > nCached[b]! ? kLen[b]! - 1 : -1;
    const last = Math.max(lastQuery, lastKey);
    if (last < nPositions) return;
    fail(
      'length',
      CALLER,
      `sequence ${b} reaches position ${last}, but rotaryCos has the positions 0 to ${nPositions - 1}.`,
    );
  });
}
