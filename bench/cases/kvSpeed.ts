import { bytesPerElement, isQuantised, type KvDType } from '../../src/core/dtype.js';
import { scaleShape } from '../../src/core/kvFormats.js';
import { elementCount, type Tensor } from '../../src/core/tensor.js';
import { attnWithKvCache, type AttnWithKvCacheArgs, type Runtime } from '../../src/index.js';
import { Random } from '../../tools/random.js';

// Calls over caches of each format, and the bytes of the cache that they read.

export interface FormatCase {
  readonly name: string;
  readonly kvDType: KvDType;
  readonly kvRotation?: AttnWithKvCacheArgs['kvRotation'];
}

export const FORMAT_CASES: readonly FormatCase[] = [
  { name: 'f16', kvDType: 'f16' },
  { name: 'i8', kvDType: 'i8' },
  { name: 'i8, turned', kvDType: 'i8', kvRotation: 'hadamard' },
  { name: 'e4m3', kvDType: 'e4m3' },
  { name: 'i4', kvDType: 'i4' },
  { name: 'i4, turned', kvDType: 'i4', kvRotation: 'hadamard' },
];

export interface CallShape {
  readonly name: string;
  readonly batch: number;
  readonly nQueries: number;
  readonly nKeys: number;
  readonly nHeads: number;
  readonly nKvHeads: number;
  readonly headDim: number;
}

export interface FormatCall {
  /** Of keys, values and scales. */
  readonly bytes: number;
  readonly run: () => void;
  readonly destroy: () => void;
}

/** A call without new tokens, in pages of 16. */
export function formatCall(
  runtime: Runtime,
  shape: CallShape,
  { kvDType, kvRotation }: FormatCase,
): FormatCall {
  const { batch, nQueries, nKeys, nHeads, nKvHeads, headDim } = shape;
  const { device } = runtime;
  const random = new Random(1);
  const made: Tensor[] = [];
  const make = (dtype: Tensor['dtype'], sizes: readonly number[], byte: () => number): Tensor => {
    const tensor = runtime.createTensor(sizes, dtype, 'formats');
    device.queue.writeBuffer(tensor.buffer, 0, Uint8Array.from({ length: tensor.buffer.size }, byte));
    made.push(tensor);
    return tensor;
  };
  const pages = (batch * nKeys) / 16;
  const cache = [pages, 16, nKvHeads, headDim];
  // Small numbers in every type.
  const any = () => random.int(0, 48);
  const scale = () =>
    isQuantised(kvDType) && kvDType !== 'e4m3' ? make('f16', scaleShape(kvDType, cache), any) : undefined;
  const [kCache, vCache] = [make(kvDType, cache, any), make(kvDType, cache, any)];
  const [kScale, vScale] = [scale(), scale()];
  const stored = [kCache, vCache, kScale, vScale].filter((tensor) => tensor !== undefined);
  const args: AttnWithKvCacheArgs = {
    q: make('f16', [batch, nQueries, nHeads, headDim], any),
    kCache,
    vCache,
    kScale,
    vScale,
    kvRotation,
    cacheSeqlens: nKeys,
    blockTable: random.permutation(pages),
    causal: true,
    out: make('f16', [batch, nQueries, nHeads, headDim], any),
  };
  return {
    bytes: stored.reduce(
      (sum, { dtype, shape: sizes }) => sum + elementCount(sizes) * bytesPerElement(dtype),
      0,
    ),
    run: () => void attnWithKvCache(runtime, args),
    destroy() {
      for (const { buffer } of made) buffer.destroy();
    },
  };
}
