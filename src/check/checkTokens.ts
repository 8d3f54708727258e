import { describe } from '../core/errors.js';
import { INTS } from '../core/dtype.js';
import { elementCount, isTensor, type Ints, type Tensor } from '../core/tensor.js';
import type { AttentionOptions } from '../problem/attentionArgs.js';
import {
  isHostLengths,
  type DeviceLengths,
  type HostLengths,
  type Masks,
  type TokenLayout,
  type TokenNumbers,
} from '../problem/attentionProblem.js';
import type { QueryLayout } from '../problem/tokenRows.js';
import type { Call } from './call.js';
import { longest, onHost } from './checkLengths.js';
import { checkInts, checkIsNumbers } from './checkNumbers.js';
import { WIDEST_MASK } from './checkOptions.js';
import { checkTensor, inBrackets } from './checkTensor.js';

type TokenArgs = Pick<AttentionOptions, 'windowSize' | 'firstKeys' | 'positions' | 'treeMask'> & {
  readonly q: Tensor;
};

interface Context {
  readonly layout: QueryLayout;
  /** What the options say. */
  readonly masks: Masks;
  readonly lengths: HostLengths | DeviceLengths;
  /** New tokens of a call that appends, or has appended. */
  readonly newTokens?: Tensor | undefined;
  /** Whether a token has three positions, for a rotary embedding with sections. Default false. */
  readonly hasSections?: boolean;
}

/** Masks and lengths, with what the call says of its query tokens. */
interface Tokens {
  readonly masks: Masks;
  readonly lengths: HostLengths | DeviceLengths;
}

/** Checks positions and trees of query tokens, as far as the host knows them, and adds them to masks and lengths. */
export function checkTokens(call: Call, args: TokenArgs, context: Context): Tokens {
  const { positions, treeMask, q } = args;
  const { masks, lengths } = context;
  if (positions === undefined && treeMask === undefined) return { masks, lengths };
  const { memory } = call;
  // Arrays are filled again in each step, so they do not tell whether their numbers are the same.
  const of = [positions, treeMask, q, lengths, context.newTokens, context.hasSections];
  const numbers = memory.keep('numbers of tokens', of, () => checkNumbers(call, args, context));
  const tokens = layoutOf(call, args, context, numbers);
  const own = tokens.positionRows === 1 || tokens.treeWords > 0 ? boundsByToken(args, masks) : masks;
  const { right, firstKeys } = own;
  return {
    masks: memory.keep('masks by token', [masks, tokens, right, firstKeys], () => ({
      ...masks,
      right,
      firstKeys,
      tokens,
    })),
    lengths: memory.keep('lengths with tokens', [lengths, numbers], () => ({ ...lengths, tokens: numbers })),
  };
}

/** A right window, and first keys, where causal order is not one: it goes by indices, and the window by positions. */
function boundsByToken(
  { windowSize, firstKeys = 0 }: TokenArgs,
  { left, attentionChunk }: Masks,
): Pick<Masks, 'right' | 'firstKeys'> {
  const right = Math.min(windowSize?.[1] ?? -1, WIDEST_MASK);
  const areHidden = left >= 0 || right >= 0 || attentionChunk > 0;
  return { right, firstKeys: areHidden ? Math.min(firstKeys, WIDEST_MASK) : 0 };
}

/** The sizes of q before the heads. */
function tokenSizes({ q }: TokenArgs, { layout }: Context): readonly number[] {
  return q.shape.slice(0, layout.tokens.length);
}

function layoutOf(call: Call, args: TokenArgs, context: Context, { tree }: TokenNumbers): TokenLayout {
  const sizes = tokenSizes(args, context);
  const nTokens = elementCount(sizes);
  const sequenceTokens = sizes[1] ?? 0;
  const positionRows = args.positions === undefined ? 0 : context.hasSections ? 3 : 1;
  const treeWords = tree === null ? 0 : isTensor(tree) ? tree.shape.at(-1)! : tree.length / (nTokens || 1);
  const of = [nTokens, sequenceTokens, positionRows, treeWords];
  return call.memory.keep('layout of tokens', of, () => ({
    nTokens,
    sequenceTokens,
    positionRows,
    treeWords,
  }));
}

function checkNumbers(call: Call, args: TokenArgs, context: Context): TokenNumbers {
  const { positions, treeMask } = args;
  const { layout, hasSections } = context;
  const sizes = tokenSizes(args, context);
  const rule = { dims: layout.tokens, sizes };
  const sectionRule = { dims: ['3', ...layout.tokens], sizes: [3, ...sizes] };
  const checked =
    positions === undefined
      ? null
      : checkInts(call, 'positions', positions, hasSections ? sectionRule : rule);
  if (checked) {
    checkNewTokens(call, args, context);
    if (!isTensor(checked)) checkRange(call, checked, args, context);
  }
  return { positions: checked, tree: treeMask === undefined ? null : checkTree(call, args, context) };
}

/** Positions, and bounds of windows around them, stay within 32 bits below it. */
const MAX_POSITION = 2 ** 30 - 1;

/** Checks the positions of all tokens that are of a sequence, as far as the host knows which. */
function checkRange(call: Call, positions: Int32Array, args: TokenArgs, context: Context): void {
  const { lengths, hasSections } = context;
  if (!isHostLengths(lengths)) return;
  const sizes = tokenSizes(args, context);
  const rows = hasSections ? 3 : 1;
  lengths.qLen.forEach((qLen, b) => {
    const start = lengths.qStart[b]! + b * (sizes[1] ?? 0);
    for (let row = 0; row < rows; row++)
      for (let i = row * elementCount(sizes) + start, end = i + qLen; i < end; i++)
        if (Math.abs(positions[i]!) > MAX_POSITION)
          call.refuse(
            'limit',
            `positions[${i}] must be −${MAX_POSITION} to ${MAX_POSITION}, not ${positions[i]}.`,
          );
  });
}

/** Checks that each new token is a query, whose position its key has. */
function checkNewTokens(call: Call, { q }: TokenArgs, { layout, lengths, newTokens }: Context): void {
  if (!newTokens) return;
  const refuse = (b: number, queries: number, fresh: number): never =>
    call.refuse(
      'length',
      `sequence ${b} has ${queries} queries but ${fresh} new tokens in k; with positions, each new token must be a query. Pass as many of both.`,
    );
  if (isHostLengths(lengths)) {
    const { qLen, kLen, nCached } = lengths;
    qLen.forEach((n, b) => n === kLen[b]! - nCached[b]! || refuse(b, n, kLen[b]! - nCached[b]!));
    return;
  }
  const { cuSeqlensQ, cuSeqlensKNew } = lengths;
  if (!cuSeqlensQ && !cuSeqlensKNew && layout.tokens.length === 2 && q.shape[1] !== newTokens.shape[1])
    refuse(0, q.shape[1]!, newTokens.shape[1]!);
  if (!onHost(cuSeqlensQ) || !onHost(cuSeqlensKNew)) return;
  for (let b = 0; b + 1 < cuSeqlensQ.length; b++) {
    const queries = cuSeqlensQ[b + 1]! - cuSeqlensQ[b]!;
    const fresh = cuSeqlensKNew[b + 1]! - cuSeqlensKNew[b]!;
    if (queries !== fresh) refuse(b, queries, fresh);
  }
}

/** Checks that each query has a bit for each query token of a sequence. */
function checkTree(call: Call, args: TokenArgs, context: Context): Tensor | Uint32Array {
  const treeMask = args.treeMask!;
  const { layout, lengths } = context;
  const sizes = tokenSizes(args, context);
  const nTokens = elementCount(sizes);
  const mostQueries = isHostLengths(lengths) ? longest(lengths.qLen) : lengths.maxSeqlenQ;
  const words = Math.ceil(mostQueries / 32);
  const dims = [...layout.tokens, 'words'];
  const refuse = (given: string): never =>
    call.refuse(
      'shape',
      `treeMask must be ${inBrackets(dims)} = ${inBrackets([...sizes, words])}, or with more words, since sequences have up to ${mostQueries} queries, not ${given}.`,
    );
  if (isTensor(treeMask)) {
    checkTensor(call, 'treeMask', treeMask, { dtypes: INTS, dims });
    const { shape } = treeMask;
    if (sizes.some((size, axis) => shape[axis] !== size) || shape.at(-1)! < words) refuse(inBrackets(shape));
    return treeMask;
  }
  checkIsNumbers(call, 'treeMask', treeMask);
  const { length } = treeMask;
  if (length % (nTokens || 1) !== 0 || length / (nTokens || 1) < words) refuse(`${length} numbers`);
  return wordsOf(call, treeMask);
}

function wordsOf(call: Call, ints: Exclude<Ints, Tensor>): Uint32Array {
  if (Array.isArray(ints))
    call.each(
      'argument',
      ints,
      (word: unknown) =>
        Number.isInteger(word) && (word as number) >= -(2 ** 31) && (word as number) < 2 ** 32,
      (i) => `treeMask[${i}] must be a whole number of 32 bits, not ${describe(ints[i])}.`,
    );
  const words = call.memory.words('treeMask', ints.length);
  words.set(ints);
  return words;
}
