import type { DeviceTraits } from '../core/deviceTraits.js';
import type { Dispatch } from '../core/dispatch.js';
import { bytesPerElement } from '../core/dtype.js';
import { UNKNOWN_PACE, type Pace } from '../core/pace.js';
import { StepMemory } from '../core/stepMemory.js';
import { stridesOf, windowOf, type Tensor } from '../core/tensor.js';
import {
  attnWeightsDispatch,
  itemsOfRow,
  packChosenRows,
  weightsTile,
  type ChosenRow,
} from '../kernels/attnWeights.js';
import type { AttentionProblem, PagedRows } from '../problem/attentionProblem.js';
import { evenCuts } from './dispatchCuts.js';
import { planAppend } from './planAppend.js';
import { planBatchInfo, type Lengths } from './planBatchInfo.js';

/** The weights that a call asks for: attention as it is elsewhere, but that chosen rows get their weights written. */
export interface WeightsProblem {
  /** Without values and outputs. With rotary embedding queries are rotated; nothing is appended. */
  readonly attention: Omit<AttentionProblem, 'v' | 'headDimV' | 'out'>;
  /** Queries of a sequence in a dense batch; 0 where sequences lie end to end. */
  readonly nQueries: number;
  /** By their numbers among the query tokens of all sequences; with the sequences that each may belong to. */
  readonly rows: readonly Pick<ChosenRow, 'row' | 'sequences'>[];
  /** f32 [rows, n_heads, n_keys], of which no size is 0 */
  readonly weights: Tensor;
}

/**
 * Plans the weights of chosen rows.
 *
 * @returns dispatches in order
 */
export function planWeights(
  { attention, nQueries, rows, weights }: WeightsProblem,
  lengths: Lengths,
  traits: DeviceTraits,
  { pace = UNKNOWN_PACE }: { readonly pace?: Pace } = {},
): readonly Dispatch[] {
  const [rowStride, headStride] = stridesOf(weights) as [number, number];
  const nKeys = weights.shape[2]!;
  const problem: AttentionProblem = {
    ...attention,
    // Values are the identity matrix, of which nothing is stored: keys stand in for them, and are not read as such.
    v: attention.k,
    headDimV: nKeys,
    out: rowCounts(weights, nQueries, headStride),
  };
  const memory = new StepMemory();
  const { maxWorkgroupsPerDimension } = traits;
  const { firstElement } = windowOf(weights);
  const items = packChosenRows(rows.map((row, i) => ({ ...row, weightsAt: firstElement + i * rowStride })));
  const { batchInfo, gathers } = planBatchInfo({ problem, lengths, items, traits, memory });
  const shared = { problem, batchInfo, maxWorkgroupsPerDimension, memory };
  const { dispatches, rotatedQ } = planAppend(shared, lengths, traits);

  const { nHeads, nKvHeads, headDim, k } = problem;
  const group = nHeads / nKvHeads;
  const tile = weightsTile(group, headDim);
  const perHead = tile.keys * headDim;
  const perItem = {
    macs: perHead * tile.heads * nKvHeads,
    bytes: (perHead * bytesPerElement(k.tensor.dtype) + tile.heads * tile.keys * 4) * nKvHeads,
  };
  const cuts = evenCuts(rows.length * itemsOfRow(tile, group, nKeys), perItem, traits, pace);
  return [
    ...gathers,
    ...dispatches,
    ...cuts.map((range) => attnWeightsDispatch({ ...shared, rotatedQ, range, weights })),
  ];
}

/** Instead of where a sequence's rows begin in the output, which has chosen rows only: how many rows are before it. */
function rowCounts(weights: Tensor, nQueries: number, headStride: number): PagedRows {
  const tensor = { ...weights, offset: 0 };
  return { tensor, pageStride: 0, sequenceStride: nQueries, tokenStride: 1, headStride };
}
