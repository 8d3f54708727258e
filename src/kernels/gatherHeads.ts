import { grid2d, type Dispatch, type Scratch } from '../core/dispatch.js';
import { isTensor, stridesOf } from '../core/tensor.js';
import type { AttentionProblem } from '../problem/attentionProblem.js';
import { tablesLayout } from './shared/batchInfo.js';
import gatherHeadsKernel from './gather_heads.wgsl';
import { firstOf, typeOf } from './shared/numberType.js';

export interface GatherHeadsArgs {
  readonly problem: AttentionProblem;
  /** Where the host knows all lengths. */
  readonly sequences: Uint32Array | null;
  readonly tables: Scratch;
  readonly maxWorkgroupsPerDimension: number;
}

const WG_SIZE = 64;

/** Write the slopes and sinks of an attention kernel's tables where any of them is on the GPU. */
export function gatherHeads(args: GatherHeadsArgs): Dispatch {
  const { problem, sequences, tables, maxWorkgroupsPerDimension } = args;
  const { nHeads, slopes, sinks } = problem;
  const { slopesAt, nSlopes, nSinks, words } = tablesLayout(problem);
  return {
    kernel: gatherHeadsKernel,
    spec: {},
    params: {
      has_sequences: sequences ? 1 : 0,
      slopes_at: slopesAt,
      n_heads: nHeads,
      n_slopes: nSlopes,
      slopes_base: firstOf(slopes?.values),
      slopes_row: slopes?.perSequence && isTensor(slopes.values) ? stridesOf(slopes.values)[0]! : nHeads,
      slopes_type: typeOf(slopes?.values),
      n_sinks: nSinks,
      sinks_base: firstOf(sinks),
      sinks_type: typeOf(sinks),
    },
    bindings: { slopes: slopes?.values ?? null, sinks, sequences, tables },
    grid: grid2d(Math.ceil(words / WG_SIZE), maxWorkgroupsPerDimension),
  };
}

export { gatherHeadsKernel };
