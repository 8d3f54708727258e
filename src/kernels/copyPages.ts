import type { Dispatch } from '../core/dispatch.js';
import { bytesPerElement } from '../core/dtype.js';
import { grid2d } from '../core/grid.js';
import { elementCount, stridesOf, type Tensor } from '../core/tensor.js';
import { windowOf } from '../core/tensorWindow.js';
import copyPagesKernel from './copy_pages.wgsl';

const WG_SIZE = 64;

export interface CopyPagesArgs {
  /** [P, ...]: pages that begin with whole words, and are contiguous in themselves. */
  readonly pool: Tensor;
  /** (from, to), none of which depends on another. */
  readonly pairs: Uint32Array;
  readonly maxWorkgroupsPerDimension: number;
}

/** Copy pages within a pool. */
export function copyPages({ pool, pairs, maxWorkgroupsPerDimension }: CopyPagesArgs): Dispatch {
  const nPairs = pairs.length / 2;
  const wordsOf = (elements: number): number => (elements * bytesPerElement(pool.dtype)) / 4;
  // A last half word is followed by padding, or else pages would not begin with whole words.
  const pageWords = Math.ceil(wordsOf(elementCount(pool.shape.slice(1))));
  return {
    kernel: copyPagesKernel,
    spec: {},
    params: {
      n_pairs: nPairs,
      page_words: pageWords,
      base: wordsOf(windowOf(pool).firstElement),
      page_stride: wordsOf(stridesOf(pool)[0]!),
    },
    bindings: { pairs, pool },
    grid: grid2d(Math.ceil((nPairs * pageWords) / WG_SIZE), maxWorkgroupsPerDimension),
  };
}

export { copyPagesKernel };
