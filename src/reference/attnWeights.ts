import { PageflashError } from '../core/errors.js';
import { modified } from './mods.js';
import { eachKey } from './masks.js';
import { gather, rowOf, scoring, slopeOf, type AttentionOptions, type Sequence } from './attend.js';
import {
  cachedSequences,
  doQueriesAdvance,
  maskOptions,
  preparedQueries,
  rotaryOf,
  tokenPositionOf,
  type CachedBatch,
} from './attnWithKvCache.js';
import { isFullFor } from './blockMask.js';
import { addedTo } from './keyRows.js';
import { elementCount } from '../core/tensor.js';
import { turnHeads } from './turned.js';
import { checkTensors, lastSizes, NO_ROW, type HostTensor } from './hostTensor.js';
import {
  denseSequences,
  varlenSequences,
  type BatchOfSequences,
  type DenseBatch,
  type RaggedBatch,
} from './sequences.js';

interface ChosenRows {
  /** Tokens of q, as if it were [totalQ, Hq, D]. */
  readonly rows: ArrayLike<number>;
  /** What attention returned. */
  readonly lse: HostTensor;
  /** Keys that a row of the result has. Default: those of the longest sequence of a row. */
  readonly nKeys?: number | undefined;
}

/** The arguments of `attnWeightsReference`. A cache holds the new tokens already; only the size of `k` counts. */
export type AttnWeightsReferenceArgs = ChosenRows &
  Omit<AttentionOptions, 'sinks' | 'storage'> &
  (DenseBatch | RaggedBatch | CachedBatch);

/**
 * Returns the attention probabilities of some rows of queries, [rows, Hq, nKeys], from their lse: exp(s_j − lse) of each key
 * j that the row sees, else 0. With sinks, which are in lse, a row sums up to less than 1. Rows that belong to no sequence
 * are 0.
 *
 * @throws PageflashError `argument`, `shape` or `length` for arguments that do not fit
 */
export function attnWeightsReference(args: AttnWeightsReferenceArgs): HostTensor {
  const { rows, lse } = args;
  const { q, k, sequences, lseShape } = batchOf(args);
  const options = 'kCache' in args ? maskOptions(args) : args;
  checkTensors('attnWeightsReference', { q, k, lse });
  if (lse.shape.join() !== lseShape.join())
    throw new PageflashError('shape', `attnWeights: lse is [${lse.shape}], but must be [${lseShape}].`);
  const [nHeads, headDim] = lastSizes(q);
  const [nKvHeads] = lastSizes(k);
  const scoreOf = scoring(headDim, args);
  const chosen = Array.from(rows, (row) => ({ row, sequence: sequenceOf(row, sequences) }));
  const nKeys = args.nKeys ?? Math.max(0, ...chosen.map(({ sequence }) => nKeysOf(sequences[sequence])));
  const weights = new Float64Array(rows.length * nHeads * nKeys);

  chosen.forEach(({ row, sequence }, index) => {
    if (sequence < 0) return;
    const { firstQuery, keyRows, lseIndex } = sequences[sequence]!;
    const i = row - firstQuery;
    const place = rowOf(sequences[sequence]!, i, options, elementCount(q.shape.slice(0, -2)));
    for (let head = 0; head < nHeads; head++) {
      const keys = gather(k, keyRows, Math.floor((head * nKvHeads) / nHeads));
      const from = (row * nHeads + head) * headDim;
      const query = Float64Array.from(q.data.subarray(from, from + headDim));
      const slope = slopeOf(args.alibiSlopes, sequence, head, nHeads);
      const total = lse.data[lseIndex(head, i)]!;
      if (total === -Infinity) continue;
      const which = { sequence, firstQuery, i, head };
      const added = addedTo(args, which);
      const isFull = isFullFor(args.blockMask, which);
      const becomes = modified(args, { sequence, head, isFull, ...place });
      const at = { p: place.p, positionOf: place.positionOf, slope };
      const of = (index * nHeads + head) * nKeys;
      eachKey(place.ranges, (j) => {
        const more = keyRows[j] === NO_ROW || !place.sees(j) ? -Infinity : added(j);
        if (more === -Infinity) return;
        const score = scoreOf(query, keys, j, at) + more;
        weights[of + j] = Math.exp(becomes(score, j) - total);
      });
    }
  });
  return { data: weights, shape: [rows.length, nHeads, nKeys] };
}

interface Batch extends BatchOfSequences {
  /** Rotated, and turned if keys are. */
  readonly q: HostTensor;
  readonly k: HostTensor;
}

function batchOf(args: AttnWeightsReferenceArgs): Batch {
  if ('kCache' in args) {
    const { q, kCache, dtype = 'f32', kvRotation } = args;
    const { sequences, lseShape } = cachedSequences(args);
    const rotary = rotaryOf(args);
    const queriesAdvance = doQueriesAdvance(args);
    const tokenPosition = tokenPositionOf(args);
    const turns = kvRotation !== undefined;
    const queries = { q, sequences, queriesAdvance, tokenPosition, dtype, turns };
    return { q: preparedQueries(queries, rotary), k: kCache, sequences, lseShape };
  }
  const { q, k } = args;
  const { kvRotation } = args as Partial<RaggedBatch>;
  return {
    q: kvRotation ? turnHeads(q) : q,
    k,
    ...('cuSeqlensQ' in args ? varlenSequences(args) : denseSequences(args)),
  };
}

/** The sequence of a row; -1 if it is of none. */
function sequenceOf(row: number, sequences: readonly Sequence[]): number {
  return sequences.findIndex(({ firstQuery, nQueries }) => row >= firstQuery && row < firstQuery + nQueries);
}

function nKeysOf(sequence: Sequence | undefined): number {
  return sequence ? sequence.keyRows.length : 0;
}
