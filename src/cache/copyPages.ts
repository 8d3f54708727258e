import { Call, checkPass, readArgs, type ArgNames } from '../check/call.js';
import { namesOf } from '../core/checkArguments.js';
import type { Tensor } from '../core/tensor.js';
import { groupPools } from '../kernels/copyPages.js';
import type { Runtime } from '../runtime/runtime.js';
import { checkPairs, type PagePairs } from './pageMoves.js';
import { checkPools, copyDispatches, fewestPages, runCopies } from './pagePools.js';

export interface CopyPagesArgs {
  /**
   * [P, pageSize, Hkv, D] of any type: the keys or the values of a layer, or several of them; scales of a quantised cache
   * are pools of their own, [P, pageSize, Hkv] for i8.
   */
  readonly pools: Tensor | readonly Tensor[];
  /** Pages to copy, [[from, to], ...] or flat, in every pool. */
  readonly pairs: PagePairs;
  /** A pass to record into, which the caller ends and submits. Default: the call submits its own work at once. */
  readonly pass?: GPUComputePassEncoder | undefined;
}

const NAMES: ArgNames<CopyPagesArgs> = {
  used: namesOf<CopyPagesArgs>({ pools: true, pairs: true, pass: true }),
  unused: [],
};

/**
 * Copies whole pages within each pool, one pair after the other: a page that was read may be written by a later pair, and
 * a page that was written may be read. So the copies that a page manager asks for can be passed as they are.
 *
 * Pages begin at multiples of 4 bytes and are dense, with tokens and heads in any order; there may be gaps between pages.
 * Only the pages named second in a pair change. Pools may share a buffer and may be interleaved page by page, but they
 * may not overlap.
 *
 * @throws PageflashError before anything is recorded or written
 * @example
 * const copies = allocator.append(chat, 1); // a page shared with a fork is copied before it is written
 * if (copies !== 'full') copyPages(runtime, { pools: [kCache, vCache], pairs: copies });
 */
export function copyPages(runtime: Runtime, args: CopyPagesArgs): void {
  const call = Call.on(runtime, 'copyPages');
  const given = readArgs(call, args, NAMES);
  const pools = checkPools(call, given.pools);
  const pairs = checkPairs(call, 'pairs', given.pairs, fewestPages(pools));
  checkPass(call, given.pass);
  const groups = groupPools([...pools.values()], call.traits.maxBindingBytes);
  runCopies(call, runtime, copyDispatches(call, groups, pairs), given.pass);
}
