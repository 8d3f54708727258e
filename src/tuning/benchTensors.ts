import {
  bytesPerElement,
  encode,
  hasScales,
  isQuantised,
  type DType,
  type FloatDType,
  type KvDType,
} from '../core/dtype.js';
import { DEFAULT_SCALE_DTYPE, scaleShape } from '../core/kvFormats.js';
import { elementCount, stridesOf, type Tensor } from '../core/tensor.js';
import type { KvScales } from '../problem/attentionProblem.js';
import { pagedRows } from '../problem/tokenRows.js';
import type { Runtime } from '../runtime/runtime.js';
import { writeBytes } from '../runtime/transfers.js';

/** The attention of a model, as far as it decides about kernels. */
export interface TunedModel {
  readonly nHeads: number;
  readonly nKvHeads: number;
  readonly headDim: number;
  readonly headDimV: number;
  /** Whether values are the first elements of keys. Default false. */
  readonly valuesInKeys?: boolean;
  readonly dtype: FloatDType;
  readonly kvDType: KvDType;
  /** Whether keys are in pages, of 16 tokens. */
  readonly paged: boolean;
}

/** How many tokens the tensors hold. */
export interface Room {
  readonly queries: number;
  readonly keys: number;
}

/** Tensors with random numbers to tune with. */
export interface BenchTensors {
  readonly q: Tensor;
  readonly k: Tensor;
  readonly v: Tensor;
  readonly out: Tensor;
  readonly scales: KvScales | null;
  destroy(): void;
}

export const PAGE_SIZE = 16;

/** Makes the tensors for so many tokens, whose keys are whole pages. What was made is given back where one fails. */
export function makeTensors(
  runtime: Runtime,
  caller: string,
  { nHeads, nKvHeads, headDim, headDimV, valuesInKeys, dtype, kvDType, paged }: TunedModel,
  room: Room,
): BenchTensors {
  const tokens = paged ? [room.keys / PAGE_SIZE, PAGE_SIZE] : [room.keys];
  const made: Tensor[] = [];
  const destroy = (): void => {
    for (const { buffer } of made) buffer.destroy();
  };
  const make = (name: string, shape: readonly number[], type: DType, bytes: Uint8Array): Tensor => {
    const tensor = runtime.createTensor(shape, type, `${name} to tune with`);
    made.push(tensor);
    fillTensor(runtime, tensor, bytes);
    return tensor;
  };
  const random = (name: string, shape: readonly number[], type: FloatDType | KvDType): Tensor =>
    make(name, shape, type, randomBytes(type, made.length + 1));
  /** Values may be the first elements of keys. */
  const valuesOf = (keys: Tensor, shape: readonly number[], others: () => Tensor): Tensor =>
    valuesInKeys ? { ...keys, shape, strides: stridesOf(keys) } : others();
  const scalesOf = (keys: readonly number[], values: readonly number[]): KvScales | null => {
    if (!isQuantised(kvDType)) return null;
    if (!hasScales(kvDType)) {
      const ones = new Float32Array(nKvHeads).fill(1);
      return { per: 'head', k: ones, v: ones };
    }
    // So that elements are from −1 to 1.
    const scale = kvDType === 'i8' ? 2 ** -7 : 2 ** -3;
    const bytes = bytesOf(DEFAULT_SCALE_DTYPE, new Float32Array(2).fill(scale));
    const scales = (name: string, shape: readonly number[]): Tensor =>
      make(name, scaleShape(kvDType, shape), DEFAULT_SCALE_DTYPE, bytes);
    const k = scales('scales of k', keys);
    const v = valuesOf(k, scaleShape(kvDType, values), () => scales('scales of v', values));
    return { per: 'token', k: pagedRows(k), v: pagedRows(v) };
  };
  try {
    return runtime.inNameOf(caller, () => {
      const keys = [...tokens, nKvHeads, headDim];
      const values = [...tokens, nKvHeads, headDimV];
      const k = random('k', keys, kvDType);
      return {
        q: random('q', [room.queries, nHeads, headDim], dtype),
        k,
        v: valuesOf(k, values, () => random('v', values, kvDType)),
        out: random('out', [room.queries, nHeads, headDimV], dtype),
        scales: scalesOf(keys, values),
        destroy,
      };
    });
  } catch (error) {
    destroy();
    throw error;
  }
}

/** Numbers that are the same in every run, uniformly from −1 to 1; of a quantised type any codes but NaN. */
function randomBytes(dtype: FloatDType | KvDType, seed: number): Uint8Array {
  let state = seed;
  const numbers = Float32Array.from({ length: 2 ** 16 }, () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state / 2 ** 31 - 1;
  });
  if (!isQuantised(dtype)) return bytesOf(dtype, numbers);
  // e4m3 without the highest bit of its exponent is below 2.
  const bits = dtype === 'e4m3' ? 0xbf : 0xff;
  return Uint8Array.from(numbers, (x) => Math.floor((x + 1) * 128) & bits);
}

function bytesOf(dtype: FloatDType, numbers: Float32Array): Uint8Array {
  const { buffer, byteLength } = encode(dtype, numbers);
  return new Uint8Array(buffer, 0, byteLength);
}

/** Fills a tensor with bytes, again and again. */
export function fillTensor({ device }: Runtime, { buffer, dtype, shape }: Tensor, bytes: Uint8Array): void {
  const all = Math.ceil((elementCount(shape) * bytesPerElement(dtype)) / 4) * 4;
  // Fewer writes, each of a piece that is repeated.
  const piece = new Uint8Array(Math.min(all, 2 ** 22));
  for (let at = 0; at < piece.length; at += bytes.length) piece.set(bytes.subarray(0, piece.length - at), at);
  for (let offset = 0; offset < all; offset += piece.length)
    writeBytes(device, [{ buffer, offset, bytes: piece.subarray(0, all - offset) }]);
}
