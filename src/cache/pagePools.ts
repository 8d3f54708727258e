import type { Call } from '../check/call.js';
import { mayOverlap } from '../check/checkOverlap.js';
import { checkTensor, inBrackets } from '../check/checkTensor.js';
import type { Dispatch } from '../core/dispatch.js';
import { bytesPerElement, FLOATS, INTS, QUANTISED } from '../core/dtype.js';
import { elementCount, isTensor, stridesOf, type Tensor } from '../core/tensor.js';
import { copyPagesDispatches, type PoolGroup } from '../kernels/copyPages.js';
import { checkDispatches } from '../plan/limits.js';
import type { Runtime } from '../runtime/runtime.js';
import type { PageBounds } from './pageMoves.js';

/** Checks that pages of the pools can be copied word by word. Returns the pools by the names that errors use. */
export function checkPools(call: Call, pools: Tensor | readonly Tensor[]): ReadonlyMap<string, Tensor> {
  if (!isTensor(pools) && !Array.isArray(pools))
    call.refuseValue('pools', 'a tensor or an array of tensors', pools);
  const byName = new Map<string, Tensor>();
  const check = (name: string, pool: Tensor): void => {
    // Scales of i8 have one number a head.
    const dims = ['P', 'pageSize', 'Hkv', 'D'].slice(0, pool?.shape?.length === 3 ? 3 : 4);
    checkTensor(call, name, pool, { dtypes: [...FLOATS, ...INTS, ...QUANTISED], dims });
    checkWords(call, name, pool);
    byName.set(name, pool);
  };
  if (isTensor(pools)) check('pools', pools);
  else for (let i = 0; i < pools.length; i++) check(`pools[${i}]`, pools[i]!);
  checkPoolsApart(call, [...byName]);
  return byName;
}

/** The bounds of the smallest pool. */
export function fewestPages(pools: ReadonlyMap<string, Tensor>): PageBounds {
  const bounds = Array.from(pools, ([name, { shape }]) => ({ name, nPages: shape[0]! }));
  return bounds.reduce((fewest, next) => (next.nPages < fewest.nPages ? next : fewest), {
    name: 'no pool',
    nPages: Infinity,
  });
}

/** Checks that each page is dense and begins at a multiple of 4 bytes. */
function checkWords(call: Call, name: string, pool: Tensor): void {
  const { dtype, shape, offset = 0 } = pool;
  const strides = stridesOf(pool);
  const [pageStride = 0, ...within] = strides;
  const pageElements = elementCount(shape.slice(1));
  if (pageElements === 0) return;
  if (!isDense(shape.slice(1), within)) {
    call.refuse(
      'shape',
      `each page of ${name} must be one piece of memory, but the strides of ${inBrackets(shape)} are ${inBrackets(strides)}. Only pages may have gaps between them.`,
    );
  }
  const wordElements = 4 / bytesPerElement(dtype);
  if (offset % wordElements !== 0) {
    call.refuse(
      'shape',
      `${name} must begin at a whole word of 4 bytes; its offset of ${offset} elements does not. Make it ${wordElements === 2 ? 'even' : `a multiple of ${wordElements}`}.`,
    );
  }
  if (shape[0]! < 2) return;
  if (pageStride < pageElements) {
    call.refuse(
      'shape',
      `pages of ${name} overlap: each has ${pageElements} elements, but the next begins after ${pageStride}.`,
    );
  }
  if (pageStride % wordElements !== 0) {
    call.refuse(
      'shape',
      `pages of ${name} must begin at whole words of 4 bytes; its page stride of ${pageStride} elements does not let them. Pad pages to ${Math.ceil(pageStride / wordElements) * wordElements}.`,
    );
  }
}

/** Whether elements are without gaps, with the dimensions in any order. */
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

/** Checks that no two pools overlap. Of interleaved pages with different strides this is not known, so it is refused. */
function checkPoolsApart(call: Call, pools: readonly (readonly [string, Tensor])[]): void {
  pools.forEach(([name, pool], index) => {
    for (const [earlierName, earlier] of pools.slice(0, index)) {
      if (!mayOverlap(earlier, pool)) continue;
      call.refuse(
        'buffer',
        `${earlierName} and ${name} overlap. Pass each pool once; pools may be interleaved only with the same page stride.`,
      );
    }
  });
}

/** The dispatches that copy the pages of checked pairs. */
export function copyDispatches(
  { name, traits }: Call,
  groups: readonly PoolGroup[],
  pairs: Uint32Array,
): readonly Dispatch[] {
  const { maxWorkgroupsPerDimension } = traits;
  const dispatches = copyPagesDispatches({ groups, pairs, maxWorkgroupsPerDimension });
  checkDispatches(name, dispatches, traits);
  return dispatches;
}

/** Records the copies into the caller's pass, or submits them at once. */
export function runCopies(
  call: Call,
  runtime: Runtime,
  dispatches: readonly Dispatch[],
  pass?: GPUComputePassEncoder,
): void {
  if (dispatches.length === 0) return;
  runtime.inNameOf(call.name, () => {
    if (pass) runtime.record(dispatches, pass);
    else runtime.submit(dispatches);
  });
}
