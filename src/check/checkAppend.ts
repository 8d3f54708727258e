import { describe, fail } from '../core/errors.js';
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
} from '../problem/attentionProblem.js';
import type { AttnWithKvCacheArgs } from '../problem/attentionArgs.js';
import type { Call } from './call.js';
import { checkDims } from './checkDims.js';
import { checkFloats, checkSizes, isHostArray } from './checkNumbers.js';
import { checkSameType, FLOATS } from './checkQkv.js';
import { checkForm, checkNoOverlapWithin, checkTensor, isCount } from './checkTensor.js';
import { denseRows, raggedRows } from '../problem/rows.js';
import { mayOverlap } from './overlap.js';

interface Sizes {
  readonly batch: number;
  readonly nKvHeads: number;
  readonly headDim: number;
  readonly headDimV: number;
}

/** Checks the tensors of new tokens, if there are any. */
export function checkNewTokens(
  { name: caller, traits }: Call,
  { k, v, cuSeqlensKNew }: AttnWithKvCacheArgs,
  { batch, nKvHeads, headDim, headDimV }: Sizes,
): void {
  if ((k === undefined) !== (v === undefined))
    fail('argument', caller, `${k === undefined ? 'k' : 'v'} is missing: new tokens need both k and v.`);
  if (k === undefined || v === undefined) return;
  const isDense = cuSeqlensKNew === undefined;
  const tokens = isDense ? ['B', 'Snew'] : ['totalNew'];
  const dims = { k: [...tokens, 'Hkv', 'D'], v: [...tokens, 'Hkv', 'Dv'] };
  const hints = isDense
    ? { 3: 'If they are ragged, pass cuSeqlensKNew.' }
    : { 4: 'If each sequence has as many, leave cuSeqlensKNew out.' };
  checkTensor(caller, 'k', k, { dtypes: FLOATS, dims: dims.k, hints }, traits);
  checkTensor(caller, 'v', v, { dtypes: FLOATS, dims: dims.v, hints }, traits);
  checkSameType(caller, { k, v });
  checkDims(caller, { k: [k, ...dims.k], v: [v, ...dims.v] });
  const sizes = isDense ? [batch, k.shape[1]!] : [k.shape[0]!];
  checkSizes(caller, 'k', k, { dims: dims.k, sizes: [...sizes, nKvHeads, headDim] });
  checkSizes(caller, 'v', v, { dims: dims.v, sizes: [...sizes, nKvHeads, headDimV] });
}

interface Context {
  readonly lengths: HostLengths | DeviceLengths;
  readonly pages: PageTable | null;
  readonly masks: Masks;
  readonly headDim: number;
}

/**
 * What is to be appended and rotated, new tokens being well formed; null if nothing is. Where things lie to each other is
 * left to `checkAppendApart`.
 */
export function checkAppend(call: Call, args: AttnWithKvCacheArgs, context: Context): AppendProblem | null {
  const { name: caller } = call;
  const rotary = checkRotary(call, args, context);
  // Rotated queries are laid out like q, each at a place of its own.
  if (rotary) checkNoOverlapWithin(caller, 'q', args.q);
  const { k, v, kCache, vCache } = args;
  if (!k || !v) return rotary && { newK: null, newV: null, rotary };
  checkNoOverlapWithin(caller, 'kCache', kCache);
  checkNoOverlapWithin(caller, 'vCache', vCache);
  if (isHostLengths(context.lengths)) checkWrittenOnce(caller, context.lengths, context.pages);
  const rows = args.cuSeqlensKNew === undefined ? denseRows : raggedRows;
  return { newK: rows(k), newV: rows(v), rotary };
}

/**
 * Checks where new tokens are written: nothing that a dispatch reads which writes to a cache may be in the cache's
 * buffer, and caches may not overlap.
 */
export function checkAppendApart(caller: string, args: AttnWithKvCacheArgs): void {
  const { k, v, kCache, vCache, blockTable, rotaryCos, rotarySin } = args;
  if (mayOverlap(kCache, vCache))
    fail('buffer', caller, 'kCache and vCache overlap, so new keys and values would overwrite each other.');
  const readWith = {
    kCache: { k, blockTable, rotaryCos, rotarySin },
    vCache: { v, blockTable },
  };
  for (const [name, cache] of Object.entries({ kCache, vCache }) as ['kCache' | 'vCache', Tensor][]) {
    for (const [readName, read] of Object.entries(readWith[name])) {
      if (!isTensor(read) || read.buffer !== cache.buffer) continue;
      fail(
        'buffer',
        caller,
        `${name} is in the same buffer as ${readName}. WebGPU cannot read and write a buffer in one dispatch: give ${readName} a buffer of its own.`,
      );
    }
  }
}

/** Checks that no row of the cache and no page is written for two sequences, or for two places of one. */
function checkWrittenOnce(
  caller: string,
  { kLen, nCached, row }: HostLengths,
  pages: PageTable | null,
): void {
  const writers = new Map<number, number>();
  kLen.forEach((length, b) => {
    if (length === nCached[b]) return;
    if (!pages) {
      const other = writers.get(row[b]!);
      if (other !== undefined) {
        fail(
          'length',
          caller,
          `sequences ${other} and ${b} both write new tokens to row ${row[b]} of kCache. Give each sequence its own row.`,
        );
      }
      writers.set(row[b]!, b);
      return;
    }
    if (isTensor(pages.table)) return;
    const { pageSize, table, width } = pages;
    for (let column = Math.floor(nCached[b]! / pageSize); column * pageSize < length; column++) {
      const page = table[row[b]! * width + column]!;
      const other = writers.get(page);
      if (other !== undefined) {
        const who =
          other === b
            ? `sequence ${b} writes new tokens twice`
            : `sequences ${other} and ${b} both write new tokens`;
        fail('length', caller, `${who} to page ${page}. Copy a shared page first.`);
      }
      writers.set(page, b);
    }
  });
}

function checkRotary(
  { name: caller, traits }: Call,
  args: AttnWithKvCacheArgs,
  context: Context,
): Rotary | null {
  const { rotaryCos, rotarySin, rotaryDim, rotaryInterleaved = true } = args;
  if (typeof rotaryInterleaved !== 'boolean')
    fail('argument', caller, `rotaryInterleaved must be true or false, not ${describe(rotaryInterleaved)}.`);
  if ((rotaryCos === undefined) !== (rotarySin === undefined))
    fail(
      'argument',
      caller,
      `rotary${rotaryCos ? 'Sin' : 'Cos'} is missing: pass rotaryCos and rotarySin together.`,
    );
  if (rotaryCos === undefined || rotarySin === undefined) {
    if (rotaryDim !== undefined)
      fail('argument', caller, 'rotaryDim is given, but neither rotaryCos nor rotarySin.');
    return null;
  }
  const { headDim, masks } = context;
  if (isTensor(rotaryCos))
    checkForm(caller, 'rotaryCos', rotaryCos, { dtypes: FLOATS, dims: ['L', 'rotaryDim / 2'] });
  const pairs = rotaryPairs(caller, rotaryCos, rotaryDim, headDim);
  const nPositions = positionsOf(caller, rotaryCos, pairs);
  const rule = { dims: ['L', 'rotaryDim / 2'], sizes: [nPositions, pairs] };
  const cos = checkFloats(caller, 'rotaryCos', rotaryCos, rule, traits);
  const sin = checkFloats(caller, 'rotarySin', rotarySin, rule, traits);
  if (isTensor(cos) !== isTensor(sin))
    fail('argument', caller, 'pass rotaryCos and rotarySin both on the GPU or both on the host.');
  if (typeName(cos) !== typeName(sin))
    fail(
      'dtype',
      caller,
      `rotaryCos is ${typeName(cos)} but rotarySin is ${typeName(sin)}; they must be the same.`,
    );
  const queriesAdvance = masks.left >= 0 || masks.right >= 0;
  const rotary = { cos, sin, nPositions, pairs, interleaved: rotaryInterleaved, queriesAdvance };

  if (isHostLengths(context.lengths)) checkPositions(caller, context.lengths, rotary);
  return rotary;
}

/** rotaryDim / 2 */
function rotaryPairs(
  caller: string,
  rotaryCos: Floats,
  rotaryDim: number | undefined,
  headDim: number,
): number {
  const shown = isTensor(rotaryCos) ? 2 * rotaryCos.shape[1]! : headDim;
  const dim = rotaryDim === undefined ? shown : rotaryDim;
  const reason = isTensor(rotaryCos)
    ? ', which is what the shape of rotaryCos says'
    : ', which is the head size. Pass rotaryDim';
  if (isCount(dim) && dim % 2 === 0 && dim >= 2 && dim <= headDim) return dim / 2;
  fail(
    'argument',
    caller,
    `rotaryDim must be an even number from 2 to the head size ${headDim}, not ${describe(dim)}${rotaryDim === undefined ? reason : ''}.`,
  );
}

function positionsOf(caller: string, rotaryCos: Floats, pairs: number): number {
  if (isTensor(rotaryCos)) {
    const nPositions = rotaryCos.shape[0]!;
    if (nPositions > 0) return nPositions;
    fail('shape', caller, 'rotaryCos has no rows: pass one for each position.');
  }
  const length = isHostArray(rotaryCos) ? rotaryCos.length : 0;
  if (length > 0 && length % pairs === 0) return length / pairs;
  fail(
    'shape',
    caller,
    `rotaryCos must be a tensor, or an array of numbers, ${pairs} (rotaryDim / 2) for each position, not ${isHostArray(rotaryCos) ? `${length} numbers. Pass rotaryDim if fewer elements are rotated` : describe(rotaryCos)}.`,
  );
}

function typeName(floats: SmallFloats): string {
  return isTensor(floats) ? floats.dtype : 'f32';
}

function checkPositions(
  caller: string,
  { qLen, kLen, nCached }: HostLengths,
  { nPositions, queriesAdvance }: Rotary,
): void {
  qLen.forEach((nQueries, b) => {
    const lastQuery = nQueries > 0 ? nCached[b]! + (queriesAdvance ? nQueries - 1 : 0) : -1;
    const lastKey = kLen[b]! > nCached[b]! ? kLen[b]! - 1 : -1;
    const last = Math.max(lastQuery, lastKey);
    if (last < nPositions) return;
    fail(
      'length',
      caller,
      `sequence ${b} reaches position ${last}, but rotaryCos has the positions 0 to ${nPositions - 1}. Pass a longer table.`,
    );
  });
}
