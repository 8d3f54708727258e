import { bytesPerElement, type FloatDType, type QuantisedDType } from '../../src/core/dtype.js';
import {
  fromE4m3Bits,
  I4_GROUP,
  packCodes,
  scaleBytesPerHead,
  scaleShape,
} from '../../src/core/kvFormats.js';
import { elementCount, type Floats, type Tensor } from '../../src/core/tensor.js';
import { upload, uploadCodes } from '../../tools/deviceTensor.js';
import { Random } from '../../tools/random.js';
import type { FeatureCase } from './cases.js';
import { OWN_TOKENS } from './featureShapes.js';
import { PAGE_SIZE } from './shapes.js';
import { createInput, type Input } from './workload.js';

/** Keys and values of all sequences, and the same numbers on the host. */
export interface FeatureCache {
  /** Pages [P, PAGE_SIZE, Hkv, D], or [B, Sk, Hkv, D] */
  readonly k: Input;
  readonly v: Input;
  /** Of quantised types. */
  readonly kScale?: Floats | undefined;
  readonly vScale?: Floats | undefined;
  /** Of a key and its value, for one head, scales included. */
  readonly tokenBytes: number;
}

/** What the calls of a row have in common. */
export interface FeatureInputs {
  readonly random: Random;
  /** [B, Sq, Hq, D] */
  readonly q: Input;
  /** [B, width] where keys are in pages. */
  readonly pages: { readonly blockTable: Int32Array; readonly width: number } | undefined;
  readonly cacheShape: readonly number[];
  /** Buffers to destroy with the workload. */
  readonly lent: Tensor[];
}

/** Whether keys are in pages: those of steps, and those of prompts that compare formats of a cache. */
function isPaged({ nQueries, nKeys, feature }: FeatureCase): boolean {
  return nQueries < nKeys || feature.name === 'format';
}

/** Random inputs, the same in every run. */
export function createFeatureInputs(device: GPUDevice, benchCase: FeatureCase): FeatureInputs {
  const { batch, nQueries, nKeys, nHeads, nKvHeads, headDim, dtype, feature } = benchCase;
  const random = new Random(nKeys);
  const q = createInput(device, random, [batch, nQueries, nHeads, headDim], dtype);
  const shared = feature.name === 'sharedPrefix' ? nKeys - OWN_TOKENS : 0;
  const { nPages, ...pages } = pagesOf(random, { batch, nKeys, shared });
  const rows = isPaged(benchCase) ? [nPages, PAGE_SIZE] : [batch, nKeys];
  return {
    random,
    q,
    pages: isPaged(benchCase) ? pages : undefined,
    cacheShape: [...rows, nKvHeads, headDim],
    lent: [q.tensor],
  };
}

/** Pages in random order; those of the first `shared` keys are the same for all sequences. */
function pagesOf(
  random: Random,
  { batch, nKeys, shared }: { readonly batch: number; readonly nKeys: number; readonly shared: number },
): { readonly nPages: number; readonly blockTable: Int32Array; readonly width: number } {
  const width = Math.ceil(nKeys / PAGE_SIZE);
  const nShared = shared / PAGE_SIZE;
  const nPages = nShared + batch * (width - nShared);
  const order = random.permutation(nPages);
  const blockTable = Int32Array.from({ length: batch * width }, (_, at) => {
    const [b, page] = [Math.floor(at / width), at % width];
    return order[page < nShared ? page : b * (width - nShared) + page]!;
  });
  return { nPages, blockTable, width };
}

/** A cache of normally distributed numbers. */
export function floatCache(device: GPUDevice, inputs: FeatureInputs, dtype: FloatDType): FeatureCache {
  const { random, cacheShape, lent } = inputs;
  const make = (): Input => {
    const input = createInput(device, random, cacheShape, dtype);
    lent.push(input.tensor);
    return input;
  };
  return { k: make(), v: make(), tokenBytes: 2 * cacheShape.at(-1)! * bytesPerElement(dtype) };
}

/** A cache of random codes and scales in f16, whose products spread as far as normal numbers do. */
export function quantisedCache(
  device: GPUDevice,
  inputs: FeatureInputs,
  dtype: QuantisedDType,
): FeatureCache {
  const { cacheShape, lent } = inputs;
  const headDim = cacheShape.at(-1)!;
  const make = (): { readonly input: Input; readonly scale: Floats } => {
    const { codes, scales, values } = drawCodes(inputs, dtype);
    const tensor = uploadCodes(device, dtype, cacheShape, packCodes(dtype, codes));
    lent.push(tensor);
    const input = { tensor, host: { data: values, shape: cacheShape } };
    if (dtype === 'e4m3') return { input, scale: scales };
    const scale = upload(device, 'f16', scaleShape(dtype, cacheShape), scales);
    lent.push(scale);
    return { input, scale };
  };
  const [k, v] = [make(), make()];
  const headBytes = headDim * bytesPerElement(dtype) + scaleBytesPerHead(dtype, 'f16', headDim);
  return { k: k.input, v: v.input, kScale: k.scale, vScale: v.scale, tokenBytes: 2 * headBytes };
}

/** Codes over the whole range of i8 and i4, and below 2 for e4m3; scales that f16 holds. */
function drawCodes({ random, cacheShape }: FeatureInputs, dtype: QuantisedDType) {
  const [nKvHeads, headDim] = cacheShape.slice(-2) as [number, number];
  const nElements = elementCount(cacheShape);
  const step = { i8: 1 / 64, i4: 1 / 4, e4m3: 1 }[dtype];
  const nScales = elementCount(scaleShape(dtype, cacheShape));
  const scales = Float32Array.from({ length: nScales }, () => step * (0.5 + random.int(0, 256) / 256));
  const draw = {
    i8: () => random.int(-127, 128),
    i4: () => random.int(-8, 8),
    // With the highest bit of the exponent clear.
    e4m3: () => fromE4m3Bits(random.int(0, 256) & 0xbf),
  }[dtype];
  const codes = Float32Array.from({ length: nElements }, draw);
  const perScale = dtype === 'i4' ? I4_GROUP : headDim;
  const scaleAt = (at: number): number =>
    scales[dtype === 'e4m3' ? Math.floor(at / headDim) % nKvHeads : Math.floor(at / perScale)]!;
  return { codes, scales, values: codes.map((code, at) => code * scaleAt(at)) };
}

/** The row of the host's cache, counted in tokens, of a key of a sequence. */
export function rowOfKey(
  { pages, cacheShape }: FeatureInputs,
  { sequence, key }: { readonly sequence: number; readonly key: number },
): number {
  if (!pages) return sequence * cacheShape[1]! + key;
  const page = pages.blockTable[sequence * pages.width + Math.floor(key / PAGE_SIZE)]!;
  return page * PAGE_SIZE + (key % PAGE_SIZE);
}
