import { grid2d, type Dispatch, type Scratch } from '../core/dispatch.js';
import { isTensor, stridesOf, type Tensor } from '../core/tensor.js';
import type { AttentionProblem, TokenNumbers } from '../problem/attentionProblem.js';
import gatherTokensKernel from './gather_tokens.wgsl';
import { batchInfoLayout, sequencePlaces } from './shared/batchInfo.js';
import { firstElementOf } from './shared/elements.js';

export interface GatherTokensArgs {
  readonly problem: AttentionProblem;
  readonly tokens: TokenNumbers;
  /** The first token of each sequence; null in a dense batch. */
  readonly starts: Tensor | Int32Array | null;
  readonly batchInfo: Scratch;
  readonly maxWorkgroupsPerDimension: number;
}

/** Writes positions and trees of query tokens into `batch_info`, where any of it or of the lengths is on the GPU. */
export function gatherTokensDispatch(args: GatherTokensArgs): Dispatch {
  const { problem, tokens, starts, batchInfo, maxWorkgroupsPerDimension } = args;
  const { positions, tree } = tokens;
  const { tokensAt, positionsAt, treeAt } = batchInfoLayout(problem);
  const { nTokens, sequenceTokens, positionRows, treeWords } = problem.masks.tokens!;
  const { q_len, k_len, first_key, n_cached, words } = sequencePlaces();
  const [positionsRow, positionsSequence] = strides(
    positions,
    [nTokens, sequenceTokens],
    positionRows === 3 ? 0 : 1,
  );
  const isDense = sequenceTokens > 0;
  const [treeSequence, treeToken] = strides(tree, [sequenceTokens * treeWords, treeWords], isDense ? 0 : 1);
  return {
    kernel: gatherTokensKernel,
    spec: {},
    perStep: true,
    params: {
      batch: problem.batch,
      n_tokens: nTokens,
      sequence_tokens: sequenceTokens,
      n_positions: positionRows > 0 ? (problem.append?.rotary?.nPositions ?? 0) : 0,
      tokens_at: tokensAt,
      positions_at: positionsAt,
      tree_at: treeAt,
      position_rows: positionRows,
      tree_words: treeWords,
      has_starts: starts ? 1 : 0,
      starts_base: firstElementOf(starts),
      positions_base: firstElementOf(positions),
      positions_row: positionsRow,
      positions_sequence: positionsSequence,
      tree_base: tree && isTensor(tree) ? firstElementOf(tree) : 0,
      tree_sequence: treeSequence,
      tree_token: treeToken,
      sequence_words: words,
      q_len_word: q_len,
      k_len_word: k_len,
      first_key_word: first_key,
      n_cached_word: n_cached,
    },
    bindings: { positions, trees: tree, starts, gathered: batchInfo },
    grid: grid2d(problem.batch, maxWorkgroupsPerDimension),
  };
}

/** Two strides of a tensor, of which the first `missing` are not among its own; of numbers on the host, the ones given. */
function strides(
  numbers: Tensor | Int32Array | Uint32Array | null,
  onHost: readonly [number, number],
  missing: 0 | 1,
): readonly [number, number] {
  if (!numbers || !isTensor(numbers)) return onHost;
  const own = stridesOf(numbers);
  return missing === 0 ? [own[0]!, own[1] ?? 0] : [0, own[0]!];
}
