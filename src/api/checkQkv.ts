import type { DeviceTraits } from '../core/deviceTraits.js';
import type { Tensor } from '../core/tensor.js';
import { checkTensor, fail } from './checkTensor.js';

const FLOATS = ['f32', 'f16', 'bf16'] as const;

type Qkv<T> = { readonly q: T; readonly k: T; readonly v: T };

/** Checks queries, keys and values each by itself, and that keys and values are of one type. */
export function checkQkv(
  caller: string,
  { q, k, v }: Qkv<Tensor>,
  dims: Qkv<readonly string[]>,
  traits: DeviceTraits,
): void {
  checkTensor(caller, 'q', q, { dtypes: FLOATS, dims: dims.q }, traits);
  checkTensor(caller, 'k', k, { dtypes: FLOATS, dims: dims.k }, traits);
  checkTensor(caller, 'v', v, { dtypes: FLOATS, dims: dims.v }, traits);
  if (k.dtype !== v.dtype)
    fail('dtype', caller, `k is ${k.dtype} but v is ${v.dtype}; they must be the same.`);
}
