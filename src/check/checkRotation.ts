import { isQuantised } from '../core/dtype.js';
import { canTurn, KV_ROTATIONS, type KvRotation } from '../core/kvFormats.js';
import type { Tensor } from '../core/tensor.js';
import type { Call } from './call.js';
import { checkNoOverlapWithin, isViewOfKeys } from './checkOverlap.js';

/** What is turned, checked before, and what the caller calls it. */
interface Turned {
  readonly q: Tensor;
  readonly k: Tensor;
  /** Undefined for calls that need no values. */
  readonly v?: Tensor;
  readonly names: { readonly k: string; readonly v: string };
}

/** Checks that heads can be turned, if they are to be. Returns whether they are. */
export function checkKvRotation(
  call: Call,
  kvRotation: KvRotation | undefined,
  { q, k, v, names }: Turned,
): boolean {
  if (kvRotation === undefined) return false;
  call.memory.keep('checked rotation', [kvRotation, q, k, v], () => {
    if (!KV_ROTATIONS.includes(kvRotation)) call.refuseValue('kvRotation', "'hadamard'", kvRotation);
    if (!isQuantised(k.dtype))
      call.refuse(
        'argument',
        `kvRotation turns heads for the sake of quantised caches, but ${names.k} is ${k.dtype}. Leave it out, or use a cache of i8, i4 or e4m3.`,
      );
    for (const [name, tensor] of [
      [names.k, k],
      [names.v, v],
    ] as const) {
      const size = tensor?.shape.at(-1);
      if (size !== undefined && !canTurn(size))
        call.refuse('shape', `${name} has head size ${size}; kvRotation needs powers of two. Leave it out.`);
    }
    if (v && isViewOfKeys(v, k) && v.shape.at(-1) !== k.shape.at(-1))
      call.refuse(
        'argument',
        `kvRotation is given, but ${names.v} is a view of ${names.k}: some elements of a turned key are not the turned value. Leave it out.`,
      );
    // Turned queries are stored with the strides of q, so no two may share an element.
    checkNoOverlapWithin(call, 'q', q);
  });
  return true;
}
