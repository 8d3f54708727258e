import { namesOf } from '../core/checkArguments.js';
import type { Tensor } from '../core/tensor.js';
import { groupPools } from '../kernels/copyPages.js';
import type { Runtime } from '../runtime/runtime.js';
import { checkPairs, checkPools, type PagePairs } from './checkCopyPages.js';
import { checkPass } from '../check/checkOptions.js';
import { checkRuntime } from '../check/checkRuntime.js';
import { readArgs } from '../check/readArgs.js';
import { copyDispatches, runCopies } from './runCopies.js';

export interface CopyPagesArgs {
  /** [P, pageSize, Hkv, D] of any type: the keys or the values of a layer, or several of them. */
  readonly pools: Tensor | readonly Tensor[];
  /** Pages to copy, [[from, to], ...] or flat, in every pool. */
  readonly pairs: PagePairs;
  /** A pass to record into, which the caller ends and submits. Default: the call submits its own work at once. */
  readonly pass?: GPUComputePassEncoder | undefined;
}

const CALLER = 'copyPages';

const NAMES = { used: namesOf<CopyPagesArgs>({ pools: true, pairs: true, pass: true }), unused: [] };

/**
 * Copy whole pages within each pool, one pair after the other: a page may be written after it was read, and what was
 * just copied may be copied on. So the copies that a page manager asks for can be passed as they come.
 *
 * Pages begin at whole words of 4 bytes and have no gaps, in whatever order their tokens and heads lie; between one page
 * and the next there may be anything. Nothing but the pages named second changes. Pools may share a buffer, even page by
 * page, but no elements.
 *
 * @throws PageflashError before anything is recorded or written
 * @example
 * const copies = allocator.append(chat, 1); // a page shared with a fork is copied before it is written
 * if (copies !== 'full') copyPages(runtime, { pools: [kCache, vCache], pairs: copies });
 */
export function copyPages(runtime: Runtime, args: CopyPagesArgs): void {
  checkRuntime(CALLER, runtime);
  const given = readArgs(CALLER, args, NAMES);
  const { traits } = runtime;
  const pools = checkPools(CALLER, given.pools, traits);
  const pairs = checkPairs(CALLER, 'pairs', given.pairs, pools);
  checkPass(CALLER, given.pass);
  const groups = groupPools([...pools.values()], traits.maxBindingBytes);
  runCopies(CALLER, runtime, copyDispatches(CALLER, runtime, groups, pairs), given.pass);
}
