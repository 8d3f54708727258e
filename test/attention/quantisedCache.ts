import { isQuantised, type QuantisedDType } from '../../src/core/dtype.js';
import {
  dequantiseHead,
  I4_GROUP,
  packCodes,
  quantiseHead,
  scaleShape,
  scalesPerHead,
  type ScaleDType,
} from '../../src/core/kvFormats.js';
import type { HostTensor } from '../../src/reference/attention.js';
import { elementCount, isTensor, type Floats, type Tensor } from '../../src/core/tensor.js';
import { download, downloadCodes, upload, uploadCodes } from '../../tools/deviceTensor.js';
import type { Random } from '../../tools/random.js';
import { withGaps } from './withGaps.js';

/** A cache in a quantised format. */
export interface QuantisedCache {
  readonly dtype: QuantisedDType;
  readonly scaleDType: ScaleDType;
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
    dtype,
    scaleDType,
    bytes,
    scales:
      dtype === 'e4m3'
        ? { shape: [headScales.length], data: Float32Array.from(headScales) }
        : { shape: scaleShape(dtype, shape), data: scales },
    values: { shape, data: values },
  };
}

/** Scales for e4m3, by kv head, with which normal numbers use its range. */
export function drawHeadScales(random: Random, nKvHeads: number): number[] {
  return Array.from({ length: nKvHeads }, () => random.uniforms(1, 0.01, 0.02)[0]!);
}

interface CachePlacement {
  /** Elements between heads, tokens and pages. */
  readonly gap: number;
  /** Keep scales of heads on the GPU, too. */
  readonly onGpu: boolean;
}

/** Uploads the codes of a cache, and its scales. */
export function placeQuantised(
  device: GPUDevice,
  { dtype, scaleDType, bytes, scales, values }: QuantisedCache,
  { gap, onGpu }: CachePlacement,
): { readonly cache: Tensor; readonly scale: Floats } {
  // A quantised cache begins with a whole word.
  const placement = { strides: withGaps(values.shape, gap).strides!, offset: gap && 8 };
  const cache = uploadCodes(device, dtype, values.shape, bytes, placement);
  if (dtype !== 'e4m3') {
    const gaps = withGaps(scales.shape, gap);
    return { cache, scale: upload(device, scaleDType, scales.shape, scales.data, gaps) };
  }
  const numbers = scales.data as Float32Array;
  return { cache, scale: onGpu ? upload(device, 'f32', scales.shape, numbers) : numbers };
}

/** Reads what a cache of any type stands for. */
export async function downloadCache(
  device: GPUDevice,
  cache: Tensor,
  scale: Floats | undefined,
): Promise<Float32Array> {
  if (!isQuantised(cache.dtype)) return download(device, cache);
  const codes = await downloadCodes(device, cache);
  const scales = isTensor(scale) ? await download(device, scale) : Float32Array.from(scale!);
  const [nKvHeads, headDim] = cache.shape.slice(-2) as [number, number];
  const perScale = cache.dtype === 'i4' ? I4_GROUP : headDim;
  const headScale = (at: number) => scales[(Math.floor(at / headDim) % nKvHeads) % scales.length]!;
  if (cache.dtype === 'e4m3') return codes.map((code, at) => code * headScale(at));
  // Integers have no −0.
  return codes.map((code, at) => code * scales[Math.floor(at / perScale)]! + 0);
}
