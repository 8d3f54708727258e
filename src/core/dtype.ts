/** Element type of a tensor. `bf16` and `f16` need no device feature: kernels read them as packed words. */
export type DType = 'f32' | 'f16' | 'bf16' | 'i32' | 'u32';

/** The types that queries, keys, values and outputs may have. */
export type FloatDType = 'f32' | 'f16' | 'bf16';

const BYTES: Readonly<Record<DType, number>> = { f32: 4, f16: 2, bf16: 2, i32: 4, u32: 4 };

export function bytesPerElement(dtype: DType): number {
  return BYTES[dtype];
}

export function isDType(value: unknown): value is DType {
  return typeof value === 'string' && Object.hasOwn(BYTES, value);
}
