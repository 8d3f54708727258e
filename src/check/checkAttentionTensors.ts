import { FLOATS, type DType } from '../core/dtype.js';
import { extentOf, windowOf, type Tensor } from '../core/tensor.js';
import { MAX_HEAD_DIM, MAX_HEAD_DIM_V, type AttentionProblem } from '../problem/attentionProblem.js';
import type { Call } from './call.js';
import { checkNoOverlapWithin, checkOwnBuffer } from './checkOverlap.js';
import {
  checkDims,
  checkSameType,
  checkSizedTensor,
  checkTensor,
  type SizeRule,
  type TensorRule,
} from './checkTensor.js';

/** Queries, keys and values, and what each of them is. */
interface Qkv<Dim extends string> {
  readonly q: Tensor;
  readonly k: Tensor;
  readonly v: Tensor;
  readonly dims: { readonly q: readonly Dim[]; readonly k: readonly Dim[]; readonly v: readonly Dim[] };
  /** What the caller calls keys and values. Default k and v. */
  readonly names?: { readonly k: string; readonly v: string };
  /** What to do about other numbers of dimensions. */
  readonly hints?: { readonly q?: TensorRule['hints']; readonly kv?: TensorRule['hints'] };
  /** What keys and values may be. Default floats */
  readonly kvDTypes?: readonly DType[];
}

/** Dimensions that queries, keys and values have in any layout. */
type HeadDim = 'Hq' | 'Hkv' | 'D' | 'Dv';

/** Sizes that were read from the shapes. */
interface QkvSizes<Dim extends string> {
  readonly heads: Pick<AttentionProblem, 'nHeads' | 'nKvHeads' | 'headDim' | 'headDimV'>;
  /** By the names of the dimensions. */
  readonly dims: Readonly<Record<Dim, number>>;
}

/** Checks queries, keys and values, each by itself and against each other. */
export function checkQkv<Dim extends string>(
  call: Call,
  { q, k, v, dims, names = { k: 'k', v: 'v' }, hints = {}, kvDTypes = FLOATS }: Qkv<Dim | HeadDim>,
): QkvSizes<Dim> {
  checkTensor(call, 'q', q, { dtypes: FLOATS, dims: dims.q, hints: hints.q });
  checkTensor(call, names.k, k, { dtypes: kvDTypes, dims: dims.k, hints: hints.kv });
  checkTensor(call, names.v, v, { dtypes: kvDTypes, dims: dims.v, hints: hints.kv });
  checkSameType(call, { [names.k]: k.dtype, [names.v]: v.dtype });
  const sizes = checkDims<Dim | HeadDim>(call, {
    q: [q, ...dims.q],
    [names.k]: [k, ...dims.k],
    [names.v]: [v, ...dims.v],
  });
  const { Hq, Hkv, D, Dv } = sizes as Readonly<Record<HeadDim, number>>;
  checkHeadCounts(call, { q: Hq, [names.k]: Hkv });
  checkHeadSizes(call, { q: D }, MAX_HEAD_DIM);
  checkHeadSizes(call, { [names.v]: Dv }, MAX_HEAD_DIM_V);
  return { heads: { nHeads: Hq, nKvHeads: Hkv, headDim: D, headDimV: Dv }, dims: sizes };
}

/** Queries and keys, and what each of them is. */
interface Qk<Dim extends string> {
  readonly q: Tensor;
  readonly k: Tensor;
  readonly dims: { readonly q: readonly Dim[]; readonly k: readonly Dim[] };
  /** What the caller calls keys. Default k. */
  readonly kName?: string;
  /** What keys may be. Default floats */
  readonly kDTypes?: readonly DType[];
  /** What to do about other numbers of dimensions. */
  readonly hints?: { readonly q?: TensorRule['hints']; readonly kv?: TensorRule['hints'] };
}

/** Checks queries and keys, for calls that need no values: each by itself and against each other. */
export function checkQk<Dim extends string>(
  call: Call,
  { q, k, dims, kName = 'k', hints = {}, kDTypes = FLOATS }: Qk<Dim | HeadDim>,
): { readonly heads: Omit<QkvSizes<Dim>['heads'], 'headDimV'>; readonly dims: QkvSizes<Dim>['dims'] } {
  checkTensor(call, 'q', q, { dtypes: FLOATS, dims: dims.q, hints: hints.q });
  checkTensor(call, kName, k, { dtypes: kDTypes, dims: dims.k, hints: hints.kv });
  const sizes = checkDims<Dim | HeadDim>(call, { q: [q, ...dims.q], [kName]: [k, ...dims.k] });
  const { Hq, Hkv, D } = sizes as Readonly<Record<HeadDim, number>>;
  checkHeadCounts(call, { q: Hq, [kName]: Hkv });
  checkHeadSizes(call, { q: D }, MAX_HEAD_DIM);
  return { heads: { nHeads: Hq, nKvHeads: Hkv, headDim: D }, dims: sizes };
}

/** Checks how many heads queries and keys have, given by name in this order. */
function checkHeadCounts(call: Call, counts: Readonly<Record<string, number>>): void {
  for (const [name, count] of Object.entries(counts))
    if (count === 0) call.refuse('shape', `${name} has no heads.`);
  const [[, nHeads], [k, nKvHeads]] = Object.entries(counts) as [[string, number], [string, number]];
  if (nHeads % nKvHeads !== 0)
    call.refuse(
      'shape',
      `q has ${nHeads} heads, which is not a multiple of the ${nKvHeads} key/value heads of ${k}.`,
    );
}

function checkHeadSizes(call: Call, sizes: Readonly<Record<string, number>>, most: number): void {
  for (const [name, size] of Object.entries(sizes)) {
    if (size < 1 || size > most)
      call.refuse('shape', `${name} has head size ${size}; it must be 1 to ${most}.`);
  }
}

/** What the outputs of a call look like. */
export interface OutputRules {
  readonly out: SizeRule;
  /** Of out. */
  readonly dtype: DType;
  readonly lse: SizeRule;
}

/** The tensors that the caller wants written, if any. */
export interface GivenOutputs {
  readonly out?: Tensor | undefined;
  readonly lse?: Tensor | undefined;
}

/** Checks the tensors that the caller wants written, each by itself. */
export function checkOutputs(call: Call, { out, lse }: GivenOutputs, rules: OutputRules): void {
  const check = (name: string, tensor: Tensor | undefined, rule: SizeRule, dtype: DType): void => {
    if (tensor === undefined) return;
    checkSizedTensor(call, name, tensor, { ...rule, dtypes: [dtype] });
    checkNoOverlapWithin(call, name, tensor);
  };
  check('out', out, rules.out, rules.dtype);
  check('lse', lse, rules.lse, 'f32');
}

/**
 * Checks that what is written shares no buffer with what is read, and no bytes with what else is written.
 *
 * @param read values by argument name; those that are no tensors do not matter
 */
export function checkOutputsApart(
  call: Call,
  { out, lse }: GivenOutputs,
  read: Readonly<Record<string, unknown>>,
): void {
  if (out) checkOwnBuffer(call, 'out', out, read);
  if (lse) checkOwnBuffer(call, 'lse', lse, read);
  if (!out || !lse || out.buffer !== lse.buffer || !extentOf(out) || !extentOf(lse)) return;
  const [a, b] = [windowOf(out), windowOf(lse)];
  if (a.offset < b.offset + b.size && b.offset < a.offset + a.size) {
    call.refuse(
      'buffer',
      'out and lse are too close in one buffer: put them 256 bytes apart, or in two buffers.',
    );
  }
}
