import type { FloatDType } from '../../src/core/dtype.js';

/** A type that is not the one given. */
export function otherType(dtype: FloatDType): FloatDType {
  return ({ f32: 'f16', f16: 'bf16', bf16: 'f32' } as const)[dtype];
}
