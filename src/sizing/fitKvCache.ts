import { namesOf } from '../core/checkNames.js';
import { bytesPerElement } from '../core/dtype.js';
import { wholeWords } from '../core/tensor.js';
import { checkAmounts, checkCounts, checkObject } from './check.js';
import { checkCache, type CacheShape } from './kvCache.js';
import { choosePageSize } from './pageSize.js';

export interface CacheRoom {
  /** What the cache may take. A browser does not tell how much memory there is: start from a guess, less the weights. */
  readonly budgetBytes: number;
  /** `device.limits`. Default: none. */
  readonly limits?: DeviceLimits | undefined;
  /** The expected length, prompt and answer. Default 512. */
  readonly tokensPerSequence?: number | undefined;
  /** Tokens a page. Default: 16, 32 or 64, by the expected length. */
  readonly pageSize?: number | undefined;
}

const ROOM_NAMES = namesOf<CacheRoom>({
  budgetBytes: true,
  limits: true,
  tokensPerSequence: true,
  pageSize: true,
});

/** The limits of a device, in bytes, that a cache meets. */
export interface DeviceLimits {
  readonly maxBufferSize: number;
  readonly maxStorageBufferBindingSize: number;
}

/** Pages of all layers, k and v of each in a buffer of its own, [nPages, pageSize, Hkv, D] and [..., Dv]. */
export interface CacheFit {
  /** Tokens a page. */
  readonly pageSize: number;
  /** 0 where not even one fits. */
  readonly nPages: number;
  /** nPages · pageSize. */
  readonly tokens: number;
  /** Sequences of `tokensPerSequence` that are in the cache at once. */
  readonly nSequences: number;
  /** Of all buffers. */
  readonly bytes: number;
  /** Two a layer. */
  readonly nBuffers: number;
  readonly keyBufferBytes: number;
  readonly valueBufferBytes: number;
  /** What there would have to be more of for one more page; `indices` if kernels could not count its elements. */
  readonly limitedBy: 'budgetBytes' | 'maxBufferSize' | 'maxStorageBufferBindingSize' | 'indices';
}

/** The mean of ShareGPT's conversations, 161 tokens of prompt and 338 of answer (the vLLM paper), made round. */
const USUAL_TOKENS = 512;

/** Kernels count the elements of a tensor in 32 bits. */
const MAX_ELEMENTS = 2 ** 32;

/**
 * The KV cache that fits a budget and a device: how large pages are to be, and how many there are. The keys of a layer
 * fit one buffer and one binding, and so do its values; that nothing fits is an answer and no error.
 *
 * @throws PageflashError `argument`
 * @example
 * const cache = { nLayers: 32, nKvHeads: 8, headDim: 128, dtype: 'f16' } as const; // Llama 3 8B
 * fitKvCache(cache, { budgetBytes: 2 ** 31, limits: device.limits, tokensPerSequence: 4096 });
 * // pageSize 64, nPages 256: 16 384 tokens, or 4 sequences, in 64 buffers of 32 MiB
 */
export function fitKvCache(cache: CacheShape, room: CacheRoom): CacheFit {
  const { nLayers, nKvHeads, headDim, headDimV, dtype } = checkCache('fitKvCache', cache);
  checkObject('fitKvCache', 'room', room, ROOM_NAMES);
  const { budgetBytes, limits, tokensPerSequence = USUAL_TOKENS } = room;
  checkAmounts('fitKvCache', { budgetBytes });
  checkCounts('fitKvCache', { tokensPerSequence });
  const { pageSize = choosePageSize(tokensPerSequence) } = room;
  checkCounts('fitKvCache', { pageSize });
  const { maxBufferSize, maxStorageBufferBindingSize } = checkLimits(limits);

  const elementBytes = bytesPerElement(dtype);
  const keyPageBytes = pageSize * nKvHeads * headDim * elementBytes;
  const valuePageBytes = pageSize * nKvHeads * headDimV * elementBytes;
  const largerPageBytes = Math.max(keyPageBytes, valuePageBytes);
  const bytesOf = (nPages: number): number =>
    nLayers * (bufferBytes(nPages, keyPageBytes) + bufferBytes(nPages, valuePageBytes));
  const withinBuffer = (bytes: number): number => Math.floor((Math.floor(bytes / 4) * 4) / largerPageBytes);

  let withinBudget = Math.floor(budgetBytes / (nLayers * (keyPageBytes + valuePageBytes)));
  // An odd number of halves is rounded up to words, which may be a page too much.
  if (bytesOf(withinBudget) > budgetBytes) withinBudget--;
  const mostPages: readonly (readonly [CacheFit['limitedBy'], number])[] = [
    ['budgetBytes', withinBudget],
    ['maxStorageBufferBindingSize', withinBuffer(maxStorageBufferBindingSize)],
    ['maxBufferSize', withinBuffer(maxBufferSize)],
    ['indices', withinBuffer(MAX_ELEMENTS * elementBytes)],
  ];
  const [limitedBy, nPages] = mostPages.reduce((least, next) => (next[1] < least[1] ? next : least));
  return {
    pageSize,
    nPages,
    tokens: nPages * pageSize,
    nSequences: Math.floor(nPages / Math.ceil(tokensPerSequence / pageSize)),
    bytes: bytesOf(nPages),
    nBuffers: 2 * nLayers,
    keyBufferBytes: bufferBytes(nPages, keyPageBytes),
    valueBufferBytes: bufferBytes(nPages, valuePageBytes),
    limitedBy,
  };
}

/** A buffer of so many pages; none for no page. */
function bufferBytes(nPages: number, pageBytes: number): number {
  return nPages === 0 ? 0 : wholeWords(nPages * pageBytes);
}

function checkLimits(limits: DeviceLimits | undefined): DeviceLimits {
  if (limits === undefined) return { maxBufferSize: Infinity, maxStorageBufferBindingSize: Infinity };
  // Those of a device have many more names.
  checkObject('fitKvCache', 'limits', limits);
  const { maxBufferSize, maxStorageBufferBindingSize } = limits;
  checkCounts('fitKvCache', { maxBufferSize, maxStorageBufferBindingSize });
  return { maxBufferSize, maxStorageBufferBindingSize };
}
