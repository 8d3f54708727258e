import { describe, fail } from '../core/errors.js';
import type { DeviceTraits } from '../core/deviceTraits.js';
import { bytesPerElement, type DType } from '../core/dtype.js';
import { elementCount, endBytes, isTensor, stridesOf, type Tensor } from '../core/tensor.js';
import { checkTensor, isCount } from '../check/checkTensor.js';

/** Pages to copy in order, from and to: as pairs, or flat. */
export type PagePairs = readonly (readonly [from: number, to: number])[] | Int32Array | Uint32Array;

const DTYPES: readonly DType[] = ['f32', 'f16', 'bf16', 'i32', 'u32'];

/** Checks that pages of the pools can be copied word by word. Gives the pools by the names that errors call them. */
export function checkPools(
  caller: string,
  pools: Tensor | readonly Tensor[],
  traits: DeviceTraits,
): ReadonlyMap<string, Tensor> {
  if (!isTensor(pools) && !Array.isArray(pools))
    fail('argument', caller, `pools must be a tensor or an array of tensors, not ${describe(pools)}.`);
  const byName = new Map<string, Tensor>();
  const check = (name: string, pool: Tensor): void => {
    checkTensor(caller, name, pool, { dtypes: DTYPES, dims: ['P', 'pageSize', 'Hkv', 'D'] }, traits);
    checkPages(caller, name, pool);
    byName.set(name, pool);
  };
  if (isTensor(pools)) check('pools', pools);
  else for (let i = 0; i < pools.length; i++) check(`pools[${i}]`, pools[i]!);
  checkPoolsApart(caller, [...byName]);
  return byName;
}

function checkPages(caller: string, name: string, pool: Tensor): void {
  const { dtype, shape, offset = 0 } = pool;
  const strides = stridesOf(pool);
  const [pageStride = 0, ...within] = strides;
  const pageElements = elementCount(shape.slice(1));
  if (pageElements === 0) return;
  if (!isDense(shape.slice(1), within)) {
    fail(
      'shape',
      caller,
      `each page of ${name} must be one piece of memory, but the strides of [${shape.join(', ')}] are [${strides.join(', ')}]. Only pages may have gaps between them.`,
    );
  }
  const wordElements = 4 / bytesPerElement(dtype);
  if (offset % wordElements !== 0) {
    fail(
      'shape',
      caller,
      `${name} must begin at a whole word of 4 bytes; its offset of ${offset} elements does not. Make it even.`,
    );
  }
  if (shape[0]! < 2) return;
  if (pageStride < pageElements) {
    fail(
      'shape',
      caller,
      `pages of ${name} overlap: each has ${pageElements} elements, but the next begins after ${pageStride}.`,
    );
  }
  if (pageStride % wordElements !== 0) {
    fail(
      'shape',
      caller,
      `pages of ${name} must begin at whole words of 4 bytes; its page stride of ${pageStride} elements does not let them. Pad pages to ${pageStride + 1}.`,
    );
  }
}

/** Whether elements fill their memory, in whatever order the dimensions lie. */
function isDense(shape: readonly number[], strides: readonly number[]): boolean {
  const steps = shape
    .map((size, axis) => ({ size, stride: strides[axis]! }))
    .filter(({ size }) => size > 1)
    .toSorted((a, b) => a.stride - b.stride);
  let next = 1;
  return steps.every(({ size, stride }) => {
    const isNext = stride === next;
    next *= size;
    return isNext;
  });
}

function checkPoolsApart(caller: string, pools: readonly (readonly [string, Tensor])[]): void {
  pools.forEach(([name, pool], index) => {
    for (const [earlierName, earlier] of pools.slice(0, index)) {
      if (!overlap(earlier, pool)) continue;
      fail(
        'buffer',
        caller,
        `${earlierName} and ${name} overlap. Pass each pool once; pools lie among each other only with the same page stride.`,
      );
    }
  });
}

/** Whether two pools share memory, or might: of pages with different strides it is not known. */
function overlap(a: Tensor, b: Tensor): boolean {
  if (a.buffer !== b.buffer || elementCount(a.shape) === 0 || elementCount(b.shape) === 0) return false;
  const [aPages, bPages] = [pagesOf(a), pagesOf(b)];
  if (aPages.end <= bPages.start || bPages.end <= aPages.start) return false;
  if (aPages.stride !== bPages.stride) return true;
  // The pages of b that begin nearest to one of a, before it and behind.
  const distance = bPages.start - aPages.start;
  const behind = distance - Math.floor(distance / aPages.stride) * aPages.stride;
  return behind < aPages.bytes || aPages.stride - behind < bPages.bytes;
}

/** Where the pages of a pool lie, in bytes. */
function pagesOf(pool: Tensor) {
  const elementBytes = bytesPerElement(pool.dtype);
  const bytes = elementCount(pool.shape.slice(1)) * elementBytes;
  const stride = pool.shape[0]! > 1 ? stridesOf(pool)[0]! * elementBytes : bytes;
  return { start: (pool.offset ?? 0) * elementBytes, end: endBytes(pool), bytes, stride };
}

/** Checks that the pages are in each pool. Gives (from, to) end to end, without those that change nothing. */
export function checkPairs(
  caller: string,
  name: string,
  pairs: PagePairs,
  pools: ReadonlyMap<string, Pick<Tensor, 'shape'>>,
): Uint32Array {
  const flat = flatPairs(caller, name, pairs);
  const [poolName, nPages] = fewestPages(pools);
  const moving: number[] = [];
  for (let i = 0; i < flat.length; i += 2) {
    const [from, to] = [flat[i]!, flat[i + 1]!];
    if (!isCount(from) || !isCount(to))
      fail(
        'argument',
        caller,
        `${name}[${i / 2}] must be the numbers of two pages, not ${describe([from, to])}.`,
      );
    if (from >= nPages || to >= nPages) {
      const there = nPages === 0 ? 'has no pages' : `has pages 0 to ${nPages - 1}`;
      fail(
        'length',
        caller,
        `${name}[${i / 2}] copies page ${from} to page ${to}, but ${poolName} ${there}.`,
      );
    }
    if (from !== to) moving.push(from, to);
  }
  return Uint32Array.from(moving);
}

/** Pairs end to end, each of two values. */
export function flatPairs(caller: string, name: string, pairs: PagePairs): ArrayLike<number> {
  if (pairs instanceof Int32Array || pairs instanceof Uint32Array) {
    if (pairs.length % 2 === 0) return pairs;
    fail(
      'argument',
      caller,
      `${name} must be two numbers a copy, from and to, but there are ${pairs.length}.`,
    );
  }
  if (!Array.isArray(pairs)) {
    fail(
      'argument',
      caller,
      `${name} must be [[from, to], ...], an Int32Array or a Uint32Array, not ${describe(pairs)}.`,
    );
  }
  const wrong = pairs.findIndex((pair: unknown) => !Array.isArray(pair) || pair.length !== 2);
  if (wrong >= 0)
    fail('argument', caller, `${name}[${wrong}] must be [from, to], not ${describe(pairs[wrong])}.`);
  return Array.from(pairs, ([from, to]: readonly unknown[]) => [from, to] as number[]).flat();
}

function fewestPages(pools: ReadonlyMap<string, Pick<Tensor, 'shape'>>): readonly [name: string, n: number] {
  const counts = Array.from(pools, ([name, { shape }]) => [name, shape[0]!] as const);
  return counts.reduce((fewest, next) => (next[1] < fewest[1] ? next : fewest), [
    'no pool',
    Infinity,
  ] as const);
}
