import type { Call } from '../check/call.js';
import { MAX_ELEMENTS } from '../check/checkTensor.js';
import { checkAmounts, checkCounts, checkNames, namesOf } from '../core/checkArguments.js';
import { bytesPerElement, type FloatDType } from '../core/dtype.js';
import { WINDOW_ALIGNMENT, type Tensor } from '../core/tensor.js';
import { filledCache, SHAPE_NAMES, type CacheShape } from '../sizing/modelShape.js';

/** How large a cache is to be: `pageSize`, and one of the others. */
export interface CacheSize {
  /** Tokens a page. */
  readonly pageSize: number;
  /** Pages of each layer. */
  readonly nPages?: number | undefined;
  /** Tokens that all pages together are to hold; rounded up to whole pages. */
  readonly tokens?: number | undefined;
  /** The most that all layers together may take. There are as many pages as this and the device's limits allow. */
  readonly bytes?: number | undefined;
}

/** What `PagedKvCache.create` takes, whatever a cache is. The layout does not depend on `hostPagesOf`. */
export interface CacheOptions<Cache> extends CacheShape, CacheSize {
  /**
   * A cache with the same pages whose host pages the new one takes over, as they were swapped out by `movePages`: that
   * of a lost device, before it is destroyed. It is left without any.
   */
  readonly hostPagesOf?: Cache | undefined;
}

/** The options, and all that a shape of any kind may have. */
const OPTION_NAMES = [
  ...namesOf<Omit<CacheOptions<unknown>, keyof CacheShape>>({
    pageSize: true,
    nPages: true,
    tokens: true,
    bytes: true,
    hostPagesOf: true,
  }),
  ...SHAPE_NAMES,
];

/** Where the keys and values of all layers lie. */
export interface CacheLayout {
  readonly dtype: FloatDType;
  readonly nLayers: number;
  readonly nPages: number;
  readonly pageSize: number;
  readonly nKvHeads: number;
  readonly k: PageLayout;
  readonly v: PageLayout;
  /** Of all buffers. */
  readonly bytes: number;
  /** Bytes of each buffer. */
  readonly buffers: readonly number[];
  /** Where each tensor begins: the keys of the first layer, its values, the keys of the second, ... */
  readonly locations: readonly TensorLocation[];
}

/** A page of a layer's keys or values. */
export interface PageLayout {
  readonly headDim: number;
  /** Bytes from one page to the next: a multiple of 16, so that kernels can read every page 16 bytes at a time. */
  readonly strideBytes: number;
}

/** Where a tensor begins. */
export interface TensorLocation {
  /** Which of the buffers. */
  readonly buffer: number;
  /** Bytes; a multiple of what bindings may begin at. */
  readonly offset: number;
}

const PAGE_ALIGNMENT = 16;

/** Beyond it, packing alone would take long; the deepest models have some hundred. */
const MAX_LAYERS = 4096;

/** Lays out a cache within the limits of a device. */
export function layoutCache(call: Call, options: CacheOptions<unknown>, maxBufferSize: number): CacheLayout {
  checkNames(call.name, 'options', options, OPTION_NAMES);
  const { nLayers, nKvHeads, headDim, headDimV, dtype } = filledCache(call.name, options);
  const { pageSize } = options;
  checkCounts(call.name, { pageSize });
  if (nLayers > MAX_LAYERS)
    call.refuse('limit', `nLayers must be at most ${MAX_LAYERS}, not ${nLayers}. Make several caches.`);
  const page = (dim: number): PageLayout => {
    const bytes = pageSize * nKvHeads * dim * bytesPerElement(dtype);
    return { headDim: dim, strideBytes: roundUp(bytes, PAGE_ALIGNMENT) };
  };
  const [k, v] = [page(headDim), page(headDimV)];
  const packed = (nPages: number): Packing => {
    const layer = [nPages * k.strideBytes, nPages * v.strideBytes];
    return packTensors(Array.from({ length: nLayers }, () => layer).flat(), maxBufferSize);
  };
  const bytesOf = (nPages: number): number => packed(nPages).buffers.reduce((sum, bytes) => sum + bytes, 0);
  const nPages = choosePages(call, options, {
    pageBytes: Math.max(k.strideBytes, v.strideBytes),
    allLayersBytes: nLayers * (k.strideBytes + v.strideBytes),
    bytesOf,
    limits: [
      ['maxStorageBufferBindingSize', call.traits.maxBindingBytes],
      ['maxBufferSize', maxBufferSize],
      ['2³² elements', MAX_ELEMENTS * bytesPerElement(dtype)],
    ],
  });
  const bytes = bytesOf(nPages);
  return { dtype, nLayers, nPages, pageSize, nKvHeads, k, v, bytes, ...packed(nPages) };
}

interface Pages {
  /** Of a layer's keys or values, whichever are larger. */
  readonly pageBytes: number;
  /** Of a page in all layers. */
  readonly allLayersBytes: number;
  /** Of so many pages in all layers, gaps between tensors included. */
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
    // The gaps between tensors may take the room of a few pages.
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

/** Packs tensors of so many bytes, none larger than a buffer can be, into few buffers: the largest first, where it fits. */
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

/** What the bytes of a page mean. */
export function pageFormat({ dtype, nLayers, pageSize, nKvHeads, k, v }: CacheLayout): string {
  return `${dtype} of ${nLayers} layers, [${pageSize}, ${nKvHeads}, ${k.headDim}] and [${pageSize}, ${nKvHeads}, ${v.headDim}]`;
}

/** The tensor of the keys or the values of a layer. */
export function tensorOf(
  { dtype, nPages, pageSize, nKvHeads }: CacheLayout,
  { headDim, strideBytes }: PageLayout,
  { buffer, offset }: TensorLocation,
  buffers: readonly GPUBuffer[],
): Tensor {
  const elementBytes = bytesPerElement(dtype);
  return {
    buffer: buffers[buffer]!,
    dtype,
    shape: [nPages, pageSize, nKvHeads, headDim],
    offset: offset / elementBytes,
    strides: [strideBytes / elementBytes, nKvHeads * headDim, headDim, 1],
  };
}
