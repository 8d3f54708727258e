import { encode, type QuantisedDType } from '../../src/core/dtype.js';
import {
  dequantiseHead,
  packCodes,
  quantiseHead,
  scaleShape,
  scalesPerHead,
  type ScaleDType,
} from '../../src/core/kvFormats.js';
import type { HostTensor } from '../../src/reference/attention.js';
import { elementCount } from '../../src/core/tensor.js';

/** A cache in a quantised format. */
export interface QuantisedCache {
  /** As they are stored, contiguous; for i4 two elements each. Of slots that hold nothing, all bits are set: NaN in e4m3. */
  readonly bytes: Uint8Array<ArrayBuffer>;
  /** NaN in slots that hold nothing. */
  readonly scales: HostTensor;
  /** What codes and scales stand for; NaN in slots that hold nothing. */
  readonly values: HostTensor;
}

export interface CacheScaling {
  /** Of i8 and i4. */
  readonly scaleDType?: ScaleDType | undefined;
  /** Of e4m3, by kv head, or one for all. */
  readonly headScales?: readonly number[] | undefined;
}

/** Quantises a cache [..., Hkv, D] head by head. A head whose first number is NaN holds nothing. */
export function quantiseCache(
  dtype: QuantisedDType,
  { shape, data }: HostTensor,
  { scaleDType = 'f32', headScales = [1] }: CacheScaling = {},
): QuantisedCache {
  const headDim = shape.at(-1)!;
  const nKvHeads = shape.at(-2)!;
  const perHead = scalesPerHead(dtype, headDim);
  const nHeads = elementCount(shape) / headDim;
  const headBytes = dtype === 'i4' ? headDim / 2 : headDim;
  const bytes = new Uint8Array(nHeads * headBytes).fill(0xff);
  const scales = new Float32Array(nHeads * perHead).fill(NaN);
  const values = new Float32Array(data.length).fill(NaN);
  for (let head = 0; head < nHeads; head++) {
    const numbers = data.subarray(head * headDim, (head + 1) * headDim);
    if (Number.isNaN(numbers[0]!)) continue;
    const scale = headScales[headScales.length === 1 ? 0 : head % nKvHeads]!;
    const quantised = quantiseHead(dtype, numbers, { scaleDType, scale });
    bytes.set(packCodes(dtype, quantised.codes), head * headBytes);
    // Integers have no −0.
    const stoodFor = dequantiseHead(quantised).map((x) => (dtype === 'e4m3' ? x : x + 0));
    values.set(stoodFor, head * headDim);
    if (perHead > 0) scales.set(quantised.scales, head * perHead);
  }
  return {
    bytes,
    scales:
      dtype === 'e4m3'
        ? { shape: [headScales.length], data: Float32Array.from(headScales) }
        : { shape: scaleShape(dtype, shape), data: scales },
    values: { shape, data: values },
  };
}

/** Scales as they are stored. */
export function scaleBytes({ data }: HostTensor, dtype: ScaleDType): Uint8Array<ArrayBuffer> {
  return new Uint8Array(encode(dtype, data).buffer);
}
