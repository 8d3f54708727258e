import { grid2d, type Dispatch } from '../core/dispatch.js';
import { bytesPerElement } from '../core/dtype.js';
import { elementCount, stridesOf, windowOf, type Tensor } from '../core/tensor.js';
import { Records } from '../wgsl/records.js';
import { constantOf, structOf } from '../wgsl/reflection.js';
import copyPagesKernel from './copy_pages.wgsl';

/** Pools for one dispatch: they fit into one binding, and their pages lie alike. */
export interface PoolGroup extends PageShape {
  readonly buffer: GPUBuffer;
  /** The binding, in bytes; it begins where a binding may. */
  readonly start: number;
  readonly end: number;
  /** First byte of each pool. */
  readonly pools: readonly number[];
}

/** How the pages of a pool lie in memory, in bytes. */
interface PageShape {
  readonly pageBytes: number;
  readonly pageStride: number;
  /** Whether pages begin and end at multiples of 16. */
  readonly isWide: boolean;
}

/**
 * Groups pools [P, ...] for as few dispatches as possible. Pages begin at whole words and are dense; no two pools overlap.
 */
export function groupPools(pools: readonly Tensor[], maxBindingBytes: number): PoolGroup[] {
  const groups: PoolGroup[] = [];
  for (const pool of pools) {
    // A single page could only be copied to itself.
    if (pool.shape[0]! < 2 || elementCount(pool.shape) === 0) continue;
    const alone = groupOf(pool);
    const index = groups.findIndex((group) => canJoin(group, alone, maxBindingBytes));
    if (index < 0) groups.push(alone);
    else groups[index] = joined(groups[index]!, alone);
  }
  return groups;
}

function groupOf(pool: Tensor): PoolGroup {
  const elementBytes = bytesPerElement(pool.dtype);
  const { offset: start, size, firstElement } = windowOf(pool);
  const first = start + firstElement * elementBytes;
  const pageBytes = elementCount(pool.shape.slice(1)) * elementBytes;
  const pageStride = stridesOf(pool)[0]! * elementBytes;
  return {
    buffer: pool.buffer,
    start,
    end: start + size,
    pools: [first],
    pageBytes,
    pageStride,
    isWide: [first, pageBytes, pageStride].every((bytes) => bytes % 16 === 0),
  };
}

function canJoin(a: PoolGroup, b: PoolGroup, maxBindingBytes: number): boolean {
  const { start, end } = joined(a, b);
  return (
    a.buffer === b.buffer &&
    a.pageBytes === b.pageBytes &&
    a.pageStride === b.pageStride &&
    a.isWide === b.isWide &&
    end - start <= Math.min(maxBindingBytes, MAX_BYTES)
  );
}

/** 2³² words: kernels index words by u32. */
const MAX_BYTES = 4 * 2 ** 32;

function joined(a: PoolGroup, b: PoolGroup): PoolGroup {
  const [start, end] = [Math.min(a.start, b.start), Math.max(a.end, b.end)];
  return { ...a, start, end, pools: [...a.pools, ...b.pools] };
}

export interface CopyPagesArgs {
  readonly groups: readonly PoolGroup[];
  /** (from, to), one after the other. */
  readonly pairs: Uint32Array;
  readonly maxWorkgroupsPerDimension: number;
}

/** Copies pages within each pool of each group. */
export function copyPagesDispatches({ groups, pairs, maxWorkgroupsPerDimension }: CopyPagesArgs): Dispatch[] {
  if (pairs.length === 0) return [];
  const nPairs = pairs.length / 2;
  const records = new Records(structOf(copyPagesKernel, 'PagePair'), nPairs);
  for (let i = 0; i < nPairs; i++) records.set(i, { source: pairs[2 * i]!, destination: pairs[2 * i + 1]! });
  return groups.map(({ buffer, start, end, pools, pageBytes, pageStride, isWide }) => {
    const unitBytes = isWide ? 16 : 4;
    const pageUnits = Math.ceil(pageBytes / unitBytes);
    const memory: Tensor = { buffer, dtype: 'u32', shape: [(end - start) / 4], offset: start / 4 };
    return {
      kernel: copyPagesKernel,
      spec: copyPagesSpec(isWide),
      params: {
        n_pairs: nPairs,
        n_pools: pools.length,
        page_units: pageUnits,
        page_stride: pageStride / unitBytes,
        part_unit: pageBytes % 4 === 0 ? pageUnits : pageUnits - 1,
        part_mask: 2 ** (8 * (pageBytes % 4)) - 1,
      },
      bindings: {
        pairs: records.words,
        bases: Uint32Array.from(pools, (first) => (first - start) / unitBytes),
        memory,
      },
      grid: grid2d(
        Math.ceil((pools.length * pageUnits) / constantOf(copyPagesKernel, 'WG_SIZE')),
        maxWorkgroupsPerDimension,
      ),
    };
  });
}

export function copyPagesSpec(isWide: boolean) {
  return { WIDE: isWide };
}

/** What copies the pages of a `PagedKvCache`, which begin and end at multiples of 16 bytes. */
export function cachePagesVariant() {
  return { kernel: copyPagesKernel, spec: copyPagesSpec(true) };
}
