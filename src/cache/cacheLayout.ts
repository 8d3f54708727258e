import type { Call } from '../check/call.js';
import { MAX_ELEMENTS } from '../check/checkTensor.js';
import { checkAmounts, checkCounts, checkNames, namesOf } from '../core/checkArguments.js';
import { bytesPerElement, hasScales, type DType, type KvDType, type QuantisedDType } from '../core/dtype.js';
import { scaleBytesPerHead, scaleShape, type KvRotation, type ScaleDType } from '../core/kvFormats.js';
import { checkRotationOf } from '../core/checkCacheFormat.js';
import { contiguousStrides, WINDOW_ALIGNMENT, type Tensor } from '../core/tensor.js';
import { layerScales, scaleRoom, type HeadScalesOfLayers, type LayerScales } from './headScales.js';
import { filledCache, SHAPE_NAMES, type CacheShape } from '../sizing/modelShape.js';

/** The size of a cache: `pageSize`, and one of the others. */
export interface CacheSize {
  /** Tokens per page. */
  readonly pageSize: number;
  /** Pages of each layer. */
  readonly nPages?: number | undefined;
  /** Capacity of all pages together, in tokens; rounded up to whole pages. */
  readonly tokens?: number | undefined;
  /** Upper bound for all layers together. There are as many pages as this and the device's limits allow. */
  readonly bytes?: number | undefined;
}

/** Options of `PagedKvCache.create`. The layout does not depend on `hostPagesOf`. */
export interface CacheOptions<Cache> extends CacheShape, CacheSize, LayerScales {
  /**
   * Whether heads of i8, i4 or e4m3 are turned, see `attnWithKvCache`: `layer` says so to the calls that it is spread into.
   * Default: they are not.
   */
  readonly kvRotation?: KvRotation | undefined;
  /**
   * A cache whose host pages, swapped out by `movePages`, are moved to the new one: that of a lost device, before it is
   * destroyed. Both must have the same page format.
   */
  readonly hostPagesOf?: Cache | undefined;
}

/** Names of the options, and of all fields that the shape of a model may have. */
const OPTION_NAMES = [
  ...namesOf<Omit<CacheOptions<unknown>, keyof CacheShape>>({
    pageSize: true,
    nPages: true,
    tokens: true,
    bytes: true,
    hostPagesOf: true,
    kvRotation: true,
    kScale: true,
    vScale: true,
  }),
  ...SHAPE_NAMES,
];

/** Where the keys and values of all layers are stored. */
export interface CacheLayout {
  readonly dtype: KvDType;
  /** Of the scales of i8 and i4. */
  readonly scaleDType: ScaleDType;
  /** How heads are turned; null if they are not. */
  readonly kvRotation: KvRotation | null;
  readonly nLayers: number;
  readonly nPages: number;
  readonly pageSize: number;
  readonly nKvHeads: number;
  readonly k: PageLayout;
  readonly v: PageLayout;
  /**
   * What a layer stores, in the order of its memory: keys, values, and in i8 and i4 the scales of each; nothing of values
   * that are a part of keys.
   */
  readonly parts: readonly PageLayout[];
  /** Whether values are a view of keys, and have their scales. */
  readonly valuesInKeys: boolean;
  /** The given scales of e4m3, by layer; null where there are none. */
  readonly headScales: HeadScalesOfLayers | null;
  /** Sum of all buffers. */
  readonly bytes: number;
  /** Bytes of each buffer. */
  readonly buffers: readonly number[];
  /** Where each tensor begins: the parts of the first layer, those of the second, ... */
  readonly locations: readonly TensorLocation[];
}

/** Layout of a page of a layer's keys or values, or of their scales. */
export interface PageLayout {
  readonly name: 'kCache' | 'vCache' | 'kScale' | 'vScale';
  readonly dtype: DType;
  /** Elements of a head in the cache. */
  readonly headDim: number;
  /** [pageSize, Hkv, D] of a page, or the shape of its scales. */
  readonly shape: readonly number[];
  /** Bytes of a token. */
  readonly tokenBytes: number;
  /** Bytes from one page to the next: a multiple of 16, so that kernels can read every page 16 bytes at a time. */
  readonly strideBytes: number;
}

/** Where a tensor begins in the cache's buffers. */
export interface TensorLocation {
  /** Index of the buffer. */
  readonly buffer: number;
  /** Bytes; a multiple of `WINDOW_ALIGNMENT`. */
  readonly offset: number;
}

const PAGE_ALIGNMENT = 16;

/** More layers would take long to pack; the deepest models have a few hundred. */
const MAX_LAYERS = 4096;

/** Lays out a cache within the limits of a device. */
export function layoutCache(call: Call, options: CacheOptions<unknown>, maxBufferSize: number): CacheLayout {
  checkNames(call.name, options, OPTION_NAMES);
  const { nLayers, nKvHeads, headDim, headDimV, valuesInKeys, dtype, scaleDType } = filledCache(
    call.name,
    options,
  );
  const { pageSize, kvRotation } = options;
  checkRotationOf(call.name, { kvRotation, kvDType: dtype, headDim, headDimV, valuesInKeys }, 'dtype');
  checkCounts(call.name, { pageSize });
  if (nLayers > MAX_LAYERS)
    call.refuse('limit', `nLayers must be at most ${MAX_LAYERS}, not ${nLayers}. Make several caches.`);
  const headScales = layerScales(call, options, { dtype, nLayers, nKvHeads, valuesInKeys });
  const page = (name: PageLayout['name'], dim: number): PageLayout => {
    const cache = [pageSize, nKvHeads, dim];
    const elements = { dtype, shape: cache, tokenBytes: nKvHeads * dim * bytesPerElement(dtype) };
    const isCache = name === 'kCache' || name === 'vCache';
    const part = isCache ? elements : scalesOfPage(dtype, scaleDType, cache);
    return {
      name,
      headDim: dim,
      ...part,
      strideBytes: roundUp(pageSize * part.tokenBytes, PAGE_ALIGNMENT),
    };
  };
  const k = page('kCache', headDim);
  const v = { ...page('vCache', headDimV), ...(valuesInKeys && { strideBytes: k.strideBytes }) };
  const codes = valuesInKeys ? [k] : [k, v];
  const scales = [page('kScale', headDim), page('vScale', headDimV)].slice(0, codes.length);
  const parts = hasScales(dtype) ? [...codes, ...scales] : codes;
  const packed = (nPages: number): Packing => {
    const layer = parts.map(({ strideBytes }) => nPages * strideBytes);
    return packTensors(Array.from({ length: nLayers }, () => layer).flat(), maxBufferSize);
  };
  const headScaleBytes = headScales?.bytes.length ?? 0;
  const bytesOf = (nPages: number): number =>
    packed(nPages).buffers.reduce((sum, bytes) => sum + bytes, headScaleBytes);
  const nPages = choosePages(call, options, {
    pageBytes: Math.max(k.strideBytes, v.strideBytes),
    allLayersBytes: layersBytes({ nLayers, parts }),
    bytesOf,
    limits: [
      ['maxStorageBufferBindingSize', call.traits.maxBindingBytes],
      ['maxBufferSize', maxBufferSize],
      ['2³² elements', MAX_ELEMENTS * bytesPerElement(dtype)],
    ],
  });
  const { buffers, locations } = packed(nPages);
  // In a buffer of their own, since they are read while the others are written.
  const all = headScales ? [...buffers, headScaleBytes] : buffers;
  const shape = {
    dtype,
    scaleDType,
    kvRotation: kvRotation ?? null,
    nLayers,
    nPages,
    pageSize,
    nKvHeads,
    k,
    v,
    parts,
    valuesInKeys,
    headScales,
  };
  return { ...shape, bytes: bytesOf(nPages), buffers: all, locations };
}

/** Bytes of a page in all layers. */
export function layersBytes({ nLayers, parts }: Pick<CacheLayout, 'nLayers' | 'parts'>): number {
  return nLayers * parts.reduce((sum, { strideBytes }) => sum + strideBytes, 0);
}

function scalesOfPage(dtype: KvDType, scaleDType: ScaleDType, cache: readonly number[]) {
  const [, nKvHeads, dim] = cache as [number, number, number];
  return {
    dtype: scaleDType,
    shape: scaleShape(dtype as QuantisedDType, cache),
    tokenBytes: nKvHeads * scaleBytesPerHead(dtype, scaleDType, dim),
  };
}

interface Pages {
  /** Bytes of a page of a layer's keys or values, whichever are larger. */
  readonly pageBytes: number;
  /** Bytes of a page in all layers. */
  readonly allLayersBytes: number;
  /** Bytes of n pages in all layers, gaps between tensors included. */
  readonly bytesOf: (nPages: number) => number;
  /** Bytes that the keys or the values of a layer may take, by the name of the limit. */
  readonly limits: readonly (readonly [name: string, bytes: number])[];
}

function choosePages(call: Call, size: CacheSize, pages: Pages): number {
  const { pageBytes, allLayersBytes, bytesOf, limits } = pages;
  const [limitName, limit] = limits.reduce((least, next) => (next[1] < least[1] ? next : least));
  const mostPages = Math.floor(limit / pageBytes);
  const asked = checkSize(call, size);

  if (mostPages === 0) {
    call.refuse(
      'limit',
      `a page of a layer's keys or values takes ${pageBytes} bytes, but this device allows ${limit} (${limitName}). Put fewer tokens on a page.`,
    );
  }
  if ('bytes' in asked) {
    let nPages = Math.min(mostPages, Math.floor(asked.bytes / allLayersBytes));
    // The gaps between tensors may take the memory of a few pages.
    while (bytesOf(nPages) > asked.bytes) nPages--;
    if (nPages > 0) return nPages;
    call.refuse('argument', `bytes must be at least ${bytesOf(1)} for one page, not ${asked.bytes}.`);
  }
  if (asked.nPages > mostPages) {
    call.refuse(
      'limit',
      `${asked.nPages} pages of a layer's keys or values take ${asked.nPages * pageBytes} bytes, but this device allows ${limit} (${limitName}): ${mostPages} pages. Ask for fewer, or make the device with a higher limit, as requestDevice() does.`,
    );
  }
  return asked.nPages;
}

/** Checks that one size is given. */
function checkSize(
  call: Call,
  { pageSize, nPages, tokens, bytes }: CacheSize,
): { readonly nPages: number } | { readonly bytes: number } {
  const given = Object.entries({ nPages, tokens, bytes }).filter(([, value]) => value !== undefined);
  if (given.length !== 1) {
    const names = given.length === 0 ? 'none of them' : given.map(([name]) => name).join(' and ');
    call.refuse('argument', `pass one of nPages, tokens and bytes, not ${names}.`);
  }
  if (bytes !== undefined) {
    checkAmounts(call.name, { bytes });
    return { bytes };
  }
  checkCounts(call.name, Object.fromEntries(given));
  return { nPages: nPages ?? Math.ceil(tokens! / pageSize) };
}

export interface Packing {
  /** Bytes of each buffer. */
  readonly buffers: readonly number[];
  /** Where each tensor begins. */
  readonly locations: readonly TensorLocation[];
}

/** Packs tensors into few buffers: first fit, the largest tensor first. None may be larger than a buffer. */
export function packTensors(tensorBytes: readonly number[], maxBufferSize: number): Packing {
  const buffers: number[] = [];
  const locations: TensorLocation[] = [];
  const largestFirst = tensorBytes
    .map((bytes, tensor) => ({ bytes, tensor }))
    .toSorted((a, b) => b.bytes - a.bytes);
  for (const { bytes, tensor } of largestFirst) {
    const found = buffers.findIndex((used) => roundUp(used, WINDOW_ALIGNMENT) + bytes <= maxBufferSize);
    const buffer = found < 0 ? buffers.length : found;
    const offset = roundUp(buffers[buffer] ?? 0, WINDOW_ALIGNMENT);
    locations[tensor] = { buffer, offset };
    buffers[buffer] = offset + bytes;
  }
  return { buffers, locations };
}

function roundUp(bytes: number, step: number): number {
  return Math.ceil(bytes / step) * step;
}

/** A description of a page's format: equal for caches whose pages can be exchanged. */
export function pageFormat(layout: CacheLayout): string {
  const { dtype, nLayers, pageSize, nKvHeads, k, v, valuesInKeys, kvRotation } = layout;
  const scales = scalesInWords(layout);
  const format = `${dtype}${scales && ` with scales ${scales}`}${kvRotation ? `, turned (${kvRotation}),` : ''}`;
  const keys = `${format} of ${nLayers} layers, [${pageSize}, ${nKvHeads}, ${k.headDim}]`;
  if (valuesInKeys) return `${keys} with values of ${v.headDim} in them`;
  return `${keys} and [${pageSize}, ${nKvHeads}, ${v.headDim}]`;
}

/** The type of scales that lie beside pages, or a checksum of those of e4m3; empty where there are none. */
export function scalesInWords({ dtype, scaleDType, headScales }: CacheLayout): string {
  if (hasScales(dtype)) return scaleDType;
  return headScales ? headScales.checksum : '';
}

/** The pages of one layer, to be spread into the arguments of `attnWithKvCache`. */
export interface CacheLayer {
  /** [P, pageSize, Hkv, D] */
  readonly kCache: Tensor;
  /** [P, pageSize, Hkv, Dv]; with `valuesInKeys` a view of kCache */
  readonly vCache: Tensor;
  /** i8: [P, pageSize, Hkv]; i4: [P, pageSize, Hkv, D / 32]; e4m3, if scales were given: [Hkv] */
  readonly kScale?: Tensor;
  /** Likewise of values; with `valuesInKeys` a view of kScale */
  readonly vScale?: Tensor;
  /** If the cache was made with it */
  readonly kvRotation?: KvRotation;
}

/** The tensors of each layer. */
export function layersOf(layout: CacheLayout, buffers: readonly GPUBuffer[]): CacheLayer[] {
  const { nLayers, nPages, nKvHeads, parts, locations, headScales, valuesInKeys, kvRotation } = layout;
  return Array.from({ length: nLayers }, (_, i) => {
    const stored = Object.fromEntries(
      parts.map((part, j) => [part.name, tensorOf(nPages, part, locations[i * parts.length + j]!, buffers)]),
    ) as unknown as CacheLayer;
    const tensors = valuesInKeys ? withValuesInKeys(layout, stored) : stored;
    const layer = { ...tensors, ...(kvRotation && { kvRotation }) };
    if (!headScales) return layer;
    const scale = (side: number): Tensor => ({
      buffer: buffers.at(-1)!,
      dtype: 'f32',
      shape: [nKvHeads],
      offset: ((headScales.nSides * i + side) * scaleRoom(nKvHeads)) / Float32Array.BYTES_PER_ELEMENT,
    });
    return { ...layer, kScale: scale(0), vScale: scale(headScales.nSides - 1) };
  });
}

/** Values as the first elements of stored keys, with the scales of these. */
function withValuesInKeys({ dtype, v }: CacheLayout, { kCache, kScale }: CacheLayer): CacheLayer {
  const values = [...kCache.shape.slice(0, -1), v.headDim];
  const layer = { kCache, vCache: { ...kCache, shape: values } };
  if (!kScale) return layer;
  const vScale = { ...kScale, shape: scaleShape(dtype as QuantisedDType, values) };
  return { ...layer, kScale, vScale };
}

/** All parts of all layers as words [P, a page with its padding], in the order of the locations. */
export function poolsOf({ nPages, parts, locations }: CacheLayout, buffers: readonly GPUBuffer[]): Tensor[] {
  return locations.map(({ buffer, offset }, i) => ({
    buffer: buffers[buffer]!,
    dtype: 'u32',
    shape: [nPages, parts[i % parts.length]!.strideBytes / 4],
    offset: offset / 4,
  }));
}

/** The tensor of a part of a layer. */
function tensorOf(
  nPages: number,
  { dtype, shape, strideBytes }: PageLayout,
  { buffer, offset }: TensorLocation,
  buffers: readonly GPUBuffer[],
): Tensor {
  const elementBytes = bytesPerElement(dtype);
  return {
    buffer: buffers[buffer]!,
    dtype,
    shape: [nPages, ...shape],
    offset: offset / elementBytes,
    strides: [strideBytes / elementBytes, ...contiguousStrides(shape)],
  };
}
