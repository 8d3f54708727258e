import { elementCount } from '../../src/core/tensor.js';
import type { HostTensor } from '../../src/reference/attention.js';
import type { Random } from '../../tools/random.js';

export function tensor(shape: readonly number[], data: ArrayLike<number>): HostTensor {
  if (data.length !== elementCount(shape))
    throw new Error(`A tensor of shape [${shape.join(', ')}] was given ${data.length} numbers.`);
  return { shape, data: Float64Array.from(data) };
}

/** The unit matrix under any shape whose last size is its own: as values, they make `out` show the weights. */
export function unitMatrix(shape: readonly number[]): HostTensor {
  const size = shape.at(-1)!;
  return tensor(
    shape,
    Array.from({ length: size * size }, (_, i) => (i % (size + 1) === 0 ? 1 : 0)),
  );
}

/** What a tensor holds, by its last index. */
export function rowsOf({ data, shape }: HostTensor): number[][] {
  const size = shape.at(-1)!;
  return Array.from({ length: data.length / size }, (_, row) => [
    ...data.subarray(row * size, (row + 1) * size),
  ]);
}

export interface DenseSizes {
  readonly b: number;
  readonly sq: number;
  readonly sk: number;
  readonly nHeads: number;
  readonly nKvHeads: number;
  readonly d: number;
  readonly dv: number;
}

/** q [b, sq, nHeads, d], k [b, sk, nKvHeads, d], v [b, sk, nKvHeads, dv] */
export interface Dense {
  readonly q: HostTensor;
  readonly k: HostTensor;
  readonly v: HostTensor;
}

export function randomDense(random: Random, { b, sq, sk, nHeads, nKvHeads, d, dv }: DenseSizes): Dense {
  return {
    q: randomTensor(random, [b, sq, nHeads, d]),
    k: randomTensor(random, [b, sk, nKvHeads, d]),
    v: randomTensor(random, [b, sk, nKvHeads, dv]),
  };
}

/** N(0, 1) in any shape. */
export function randomTensor(random: Random, shape: readonly number[]): HostTensor {
  return { shape, data: random.normals(elementCount(shape)) };
}

/** Keys from ≤ j < to of [B, Sk, Hkv, D]. */
export function keysOf({ data, shape }: HostTensor, from: number, to: number): HostTensor {
  const [b, sk, nKvHeads, d] = shape as [number, number, number, number];
  const perKey = nKvHeads * d;
  const kept = Array.from({ length: b }, (_, row) => [
    ...data.subarray((row * sk + from) * perKey, (row * sk + to) * perKey),
  ]);
  return tensor([b, to - from, nKvHeads, d], kept.flat());
}

export interface PagedSizes extends Pick<DenseSizes, 'sq' | 'nHeads' | 'nKvHeads' | 'd'> {
  /** Keys of each sequence. */
  readonly lengths: readonly number[];
  readonly pageSize: number;
}

/** The arguments of attnWithKvCache. */
export interface Paged {
  readonly q: HostTensor;
  readonly kCache: HostTensor;
  readonly vCache: HostTensor;
  readonly cacheSeqlens: readonly number[];
  readonly blockTable: Int32Array;
}

/** Sequences on random pages among three times as many; slots that hold no key are NaN. */
export function randomPaged(
  random: Random,
  { lengths, pageSize, sq, nHeads, nKvHeads, d }: PagedSizes,
): Paged {
  const width = Math.ceil(Math.max(...lengths) / pageSize);
  const nPages = 3 * width * lengths.length;
  const blockTable = random.permutation(nPages).subarray(0, width * lengths.length);
  const shape = [nPages, pageSize, nKvHeads, d];
  const kCache = new Float32Array(nPages * pageSize * nKvHeads * d).fill(NaN);
  const vCache = kCache.slice();
  lengths.forEach((length, b) => {
    for (let j = 0; j < length; j++) {
      const page = blockTable[b * width + Math.floor(j / pageSize)]!;
      const slot = (page * pageSize + (j % pageSize)) * nKvHeads * d;
      kCache.set(random.normals(nKvHeads * d), slot);
      vCache.set(random.normals(nKvHeads * d), slot);
    }
  });
  return {
    q: randomTensor(random, [lengths.length, sq, nHeads, d]),
    kCache: { shape, data: kCache },
    vCache: { shape, data: vCache },
    cacheSeqlens: lengths,
    blockTable,
  };
}
