import type { DeviceTraits } from '../core/deviceTraits.js';
import type { Tensor } from '../core/tensor.js';
import { checkDims } from './checkDims.js';
import { checkTensor, fail } from './checkTensor.js';

const FLOATS = ['f32', 'f16', 'bf16'] as const;

const MAX_HEAD_DIM = 256;

type Qkv<T> = { readonly q: T; readonly k: T; readonly v: T };

/** Dimensions that queries, keys and values have in any layout. */
type HeadDim = 'Hq' | 'Hkv' | 'D' | 'Dv';

/**
 * Checks queries, keys and values, each by itself and against each other.
 *
 * @returns the size of every dimension named in `dims`
 */
export function checkQkv<Dim extends string>(
  caller: string,
  { q, k, v }: Qkv<Tensor>,
  dims: Qkv<readonly (Dim | HeadDim)[]>,
  traits: DeviceTraits,
): Readonly<Record<Dim | HeadDim, number>> {
  checkTensor(caller, 'q', q, { dtypes: FLOATS, dims: dims.q }, traits);
  checkTensor(caller, 'k', k, { dtypes: FLOATS, dims: dims.k }, traits);
  checkTensor(caller, 'v', v, { dtypes: FLOATS, dims: dims.v }, traits);
  if (k.dtype !== v.dtype)
    fail('dtype', caller, `k is ${k.dtype} but v is ${v.dtype}; they must be the same.`);
  const sizes = checkDims<Dim | HeadDim>(caller, {
    q: [q, ...dims.q],
    k: [k, ...dims.k],
    v: [v, ...dims.v],
  });
  checkHeads(caller, sizes);
  return sizes;
}

function checkHeads(caller: string, { Hq, Hkv, D, Dv }: Readonly<Record<HeadDim, number>>): void {
  if (Hq === 0) fail('shape', caller, 'q has no heads.');
  if (Hkv === 0) fail('shape', caller, 'k has no heads.');
  if (Hq % Hkv !== 0) {
    fail('shape', caller, `q has ${Hq} heads, which is not a multiple of the ${Hkv} key/value heads of k.`);
  }
  for (const [name, headDim] of Object.entries({ q: D, v: Dv })) {
    if (headDim < 1 || headDim > MAX_HEAD_DIM)
      fail('shape', caller, `${name} has head size ${headDim}; it must be 1 to ${MAX_HEAD_DIM}.`);
  }
}
