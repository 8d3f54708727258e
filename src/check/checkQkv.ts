import { fail } from '../core/errors.js';
import type { Tensor } from '../core/tensor.js';
import type { Call } from './call.js';
import { checkDims } from './checkDims.js';
import { checkTensor, type TensorRule } from './checkTensor.js';

export const FLOATS = ['f32', 'f16', 'bf16'] as const;

export const MAX_HEAD_DIM = 256;

/** Names of queries, keys and values, and what each of them is. */
interface Qkv<Dim extends string> {
  readonly q: Tensor;
  readonly k: Tensor;
  readonly v: Tensor;
  readonly dims: { readonly q: readonly Dim[]; readonly k: readonly Dim[]; readonly v: readonly Dim[] };
  /** What the caller calls keys and values. Default k and v. */
  readonly names?: { readonly k: string; readonly v: string };
  /** What to do about other numbers of dimensions. */
  readonly hints?: { readonly q?: TensorRule['hints']; readonly kv?: TensorRule['hints'] };
}

/** Dimensions that queries, keys and values have in any layout. */
type HeadDim = 'Hq' | 'Hkv' | 'D' | 'Dv';

/**
 * Checks queries, keys and values, each by itself and against each other.
 *
 * @returns the size of every dimension named in `dims`
 */
export function checkQkv<Dim extends string>(
  { name: caller, traits }: Call,
  { q, k, v, dims, names = { k: 'k', v: 'v' }, hints = {} }: Qkv<Dim | HeadDim>,
): Readonly<Record<Dim | HeadDim, number>> {
  checkTensor(caller, 'q', q, { dtypes: FLOATS, dims: dims.q, hints: hints.q }, traits);
  checkTensor(caller, names.k, k, { dtypes: FLOATS, dims: dims.k, hints: hints.kv }, traits);
  checkTensor(caller, names.v, v, { dtypes: FLOATS, dims: dims.v, hints: hints.kv }, traits);
  checkSameType(caller, { [names.k]: k, [names.v]: v });
  const sizes = checkDims<Dim | HeadDim>(caller, {
    q: [q, ...dims.q],
    [names.k]: [k, ...dims.k],
    [names.v]: [v, ...dims.v],
  });
  checkHeads(caller, sizes, names);
  return sizes;
}

/** Checks that two tensors have the same type. */
export function checkSameType(caller: string, tensors: Readonly<Record<string, Tensor>>): void {
  const [[firstName, first], [secondName, second]] = Object.entries(tensors) as [
    [string, Tensor],
    [string, Tensor],
  ];
  if (first.dtype === second.dtype) return;
  fail(
    'dtype',
    caller,
    `${firstName} is ${first.dtype} but ${secondName} is ${second.dtype}; they must be the same.`,
  );
}

function checkHeads(
  caller: string,
  { Hq, Hkv, D, Dv }: Readonly<Record<HeadDim, number>>,
  { k, v }: { readonly k: string; readonly v: string },
): void {
  if (Hq === 0) fail('shape', caller, 'q has no heads.');
  if (Hkv === 0) fail('shape', caller, `${k} has no heads.`);
  if (Hq % Hkv !== 0) {
    fail(
      'shape',
      caller,
      `q has ${Hq} heads, which is not a multiple of the ${Hkv} key/value heads of ${k}.`,
    );
  }
  for (const [name, headDim] of Object.entries({ q: D, [v]: Dv })) {
    if (headDim < 1 || headDim > MAX_HEAD_DIM)
      fail('shape', caller, `${name} has head size ${headDim}; it must be 1 to ${MAX_HEAD_DIM}.`);
  }
}
