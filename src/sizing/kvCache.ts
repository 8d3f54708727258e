import { checkAmounts, checkCounts, checkNames, namesOf } from '../core/checkArguments.js';
import { bytesPerElement } from '../core/dtype.js';
import { wholeWords } from '../core/tensor.js';
import { bytesPerToken, checkCache, tokenParts, type CacheShape } from './modelShape.js';

/** The tokens that a KV cache is to hold. */
export interface CacheLoad {
  /** Default 1. */
  readonly nSequences?: number | undefined;
  /** Tokens of prompt and answer. */
  readonly tokensPerSequence: number;
  /** Tokens per page. The last page of a sequence takes a whole page, however few tokens it holds. Default 1. */
  readonly pageSize?: number | undefined;
}

const LOAD_NAMES = namesOf<CacheLoad>({ nSequences: true, tokensPerSequence: true, pageSize: true });

/**
 * Returns the bytes that one token takes in the KV cache of all layers: nLayers·nKvHeads·(headDim +
 * headDimV)·bytesPerElement, and in i8 and i4 the scales; with `valuesInKeys` of keys alone.
 *
 * @throws PageflashError `argument`
 * @example
 * kvBytesPerToken({ nLayers: 32, nKvHeads: 8, headDim: 128, dtype: 'f16' }); // 131 072, Llama 3 8B
 * kvBytesPerToken({ nLayers: 32, nKvHeads: 8, headDim: 128, dtype: 'i4' }); // 36 864
 * kvBytesPerToken({ nLayers: 61, nKvHeads: 1, headDim: 576, headDimV: 512, valuesInKeys: true, dtype: 'f16' }); // 70 272, MLA
 */
export function kvBytesPerToken(cache: CacheShape): number {
  return bytesPerToken(checkCache('kvBytesPerToken', cache));
}

/**
 * Returns the bytes of the KV cache of some sequences: nSequences · ⌈tokensPerSequence / pageSize⌉ · pageSize ·
 * `kvBytesPerToken`. Count layers with a sliding window as a cache of their own, with no more tokens than the window and
 * one page.
 *
 * @throws PageflashError `argument`
 * @example
 * kvCacheBytes({ ...llama3, dtype: 'f16' }, { nSequences: 4, tokensPerSequence: 8192 }); // 4 GiB
 */
export function kvCacheBytes(cache: CacheShape, load: CacheLoad): number {
  const filled = checkCache('kvCacheBytes', cache);
  checkNames('kvCacheBytes', load, LOAD_NAMES, { of: 'load' });
  const { nSequences = 1, tokensPerSequence, pageSize = 1 } = load;
  checkCounts('kvCacheBytes', { nSequences, tokensPerSequence }, 0);
  checkCounts('kvCacheBytes', { pageSize });
  return nSequences * Math.ceil(tokensPerSequence / pageSize) * pageSize * bytesPerToken(filled);
}

/** The memory and the lengths that a cache is planned for. */
export interface CacheRoom {
  /**
   * Bytes that the cache may take. A browser does not report how much memory there is: subtract the weights from a
   * guess.
   */
  readonly budgetBytes: number;
  /** `device.limits`. Default: no limits. */
  readonly limits?: DeviceLimits | undefined;
  /** The expected length of a sequence, prompt and answer. Default 512. */
  readonly tokensPerSequence?: number | undefined;
  /** Tokens per page. Default: 16, 32 or 64, by the expected length. */
  readonly pageSize?: number | undefined;
}

const ROOM_NAMES = namesOf<CacheRoom>({
  budgetBytes: true,
  limits: true,
  tokensPerSequence: true,
  pageSize: true,
});

/** The limits of a device, in bytes, that bound a cache. */
export interface DeviceLimits {
  readonly maxBufferSize: number;
  readonly maxStorageBufferBindingSize: number;
}

/**
 * The size of a cache that fits. Each layer has its keys [nPages, pageSize, Hkv, D] in one buffer and its values
 * [nPages, pageSize, Hkv, Dv] in another; scales of keys and of values have a buffer each. Values that are a part of keys
 * have none.
 */
export interface CacheFit {
  /** Tokens per page. */
  readonly pageSize: number;
  /** 0 if not even one page fits. */
  readonly nPages: number;
  /** nPages · pageSize. */
  readonly tokens: number;
  /** Sequences of `tokensPerSequence` that the cache holds at once. */
  readonly nSequences: number;
  /** Bytes of all buffers. */
  readonly bytes: number;
  /** Two per layer; four where there are scales. Half as many with `valuesInKeys`. */
  readonly nBuffers: number;
  readonly keyBufferBytes: number;
  readonly valueBufferBytes: number;
  /** Of the scales of an i8 or i4 cache. */
  readonly keyScaleBufferBytes?: number;
  readonly valueScaleBufferBytes?: number;
  /** The limit that rules out one more page; `indices` if kernels could not index its elements. */
  readonly limitedBy: 'budgetBytes' | 'maxBufferSize' | 'maxStorageBufferBindingSize' | 'indices';
}

/** The mean of ShareGPT's conversations, 161 tokens of prompt and 338 of answer (the vLLM paper), rounded up. */
const USUAL_TOKENS = 512;

/** Kernels index the elements of a tensor in 32 bits. */
const MAX_ELEMENTS = 2 ** 32;

/**
 * Returns the size of the KV cache that fits a budget and a device: how large its pages are, and how many there are. The
 * keys of a layer fit one buffer and one binding, and so do its values. If not even one page fits, `nPages` is 0; that
 * is no error.
 *
 * @throws PageflashError `argument`
 * @example
 * const cache = { nLayers: 32, nKvHeads: 8, headDim: 128, dtype: 'f16' } as const; // Llama 3 8B
 * fitKvCache(cache, { budgetBytes: 2 ** 31, limits: device.limits, tokensPerSequence: 4096 });
 * // pageSize 64, nPages 256: 16 384 tokens, or 4 sequences, in 64 buffers of 32 MiB
 */
export function fitKvCache(cache: CacheShape, room: CacheRoom): CacheFit {
  const filled = checkCache('fitKvCache', cache);
  const { nLayers, dtype } = filled;
  checkNames('fitKvCache', room, ROOM_NAMES, { of: 'room' });
  const { budgetBytes, limits, tokensPerSequence = USUAL_TOKENS } = room;
  checkAmounts('fitKvCache', { budgetBytes });
  checkCounts('fitKvCache', { tokensPerSequence });
  const { pageSize = choosePageSize(tokensPerSequence) } = room;
  checkCounts('fitKvCache', { pageSize });
  const { maxBufferSize, maxStorageBufferBindingSize } = checkLimits(limits);

  const elementBytes = bytesPerElement(dtype);
  const [keyPageBytes, valuePageBytes, keyScaleBytes, valueScaleBytes] = tokenParts(filled).map(
    (bytes) => pageSize * bytes,
  ) as [number, number, number, number];
  const pageBytes = [keyPageBytes, valuePageBytes, keyScaleBytes, valueScaleBytes].filter(
    (bytes) => bytes > 0,
  );
  // Those of scales are the smallest.
  const largerPageBytes = Math.max(keyPageBytes, valuePageBytes);
  const bytesOf = (nPages: number): number =>
    nLayers * pageBytes.reduce((sum, bytes) => sum + bufferBytes(nPages, bytes), 0);
  const withinBuffer = (bytes: number): number => Math.floor((Math.floor(bytes / 4) * 4) / largerPageBytes);

  let withinBudget = Math.floor(budgetBytes / (nLayers * pageBytes.reduce((sum, bytes) => sum + bytes, 0)));
  // Elements of less than a word are rounded up to words, which may make it a page or two too many.
  while (bytesOf(withinBudget) > budgetBytes) withinBudget--;
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
    nBuffers: pageBytes.length * nLayers,
    keyBufferBytes: bufferBytes(nPages, keyPageBytes),
    valueBufferBytes: bufferBytes(nPages, valuePageBytes),
    ...(keyScaleBytes > 0 && {
      keyScaleBufferBytes: bufferBytes(nPages, keyScaleBytes),
      valueScaleBufferBytes: bufferBytes(nPages, valueScaleBytes),
    }),
    limitedBy,
  };
}

/** Returns the bytes of a buffer of pages; without pages, or with nothing in them, there is no buffer. */
function bufferBytes(nPages: number, pageBytes: number): number {
  return nPages * pageBytes === 0 ? 0 : wholeWords(nPages * pageBytes);
}

function checkLimits(limits: DeviceLimits | undefined): DeviceLimits {
  if (limits === undefined) return { maxBufferSize: Infinity, maxStorageBufferBindingSize: Infinity };
  // The limits of a device have many more names.
  checkNames('fitKvCache', limits, undefined, { of: 'limits' });
  const { maxBufferSize, maxStorageBufferBindingSize } = limits;
  checkCounts('fitKvCache', { maxBufferSize, maxStorageBufferBindingSize });
  return { maxBufferSize, maxStorageBufferBindingSize };
}

const PAGE_SIZES = [64, 32, 16] as const;

/** A sequence may waste one token in this many. */
const WASTED_ONE_IN = 32;

/**
 * Returns the tokens per page for sequences of an expected length: the largest of 64, 32 and 16 that wastes no more than
 * a 32nd of a sequence, or else 16.
 *
 * A sequence wastes half a page on average. In return, larger pages save lookups in the block table and work of the page
 * manager. Beyond 64 tokens there is little of either left to save, while the waste keeps growing, and so does the part
 * of a common prefix that sequences cannot share, since only full pages are shared. The size of the block table does not
 * matter: an entry has 4 bytes, a page many kilobytes in every layer. (The vLLM paper found 16 to 128 equally good for
 * conversations of 500 tokens, and no more than 32 for prompts and answers of 80.)
 */
function choosePageSize(tokensPerSequence: number): number {
  return PAGE_SIZES.find((pageSize) => pageSize / 2 <= tokensPerSequence / WASTED_ONE_IN) ?? 16;
}
