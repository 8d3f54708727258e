import type { Dispatch, Scratch } from '../../src/core/dispatch.js';
import type { Tensor } from '../../src/core/tensor.js';
import scoresKernel from './naive_scores.wgsl';
import softmaxKernel from './naive_softmax.wgsl';
import valuesKernel from './naive_values.wgsl';

export interface NaiveArgs {
  /** [batch · qLen, Hq, D], contiguous, D a multiple of 4 */
  readonly q: Tensor;
  /** [batch · kLen, Hkv, D] */
  readonly k: Tensor | Made;
  /** [batch · kLen, Hkv, Dv], Dv a multiple of 4 */
  readonly v: Tensor | Made;
  /** [batch · qLen, Hq, Dv] */
  readonly out: Tensor;
  readonly batch: number;
  /** [batch]: keys that each sequence has, at most kLen. Default: kLen. */
  readonly kLens?: Uint32Array | undefined;
  /** How many keys to the left and right of its own a query sees; −1: all. Causal means 0 to the right. */
  readonly windowSize: readonly [left: number, right: number];
  /** 0: none */
  readonly softcap: number;
}

/** What an earlier dispatch has written to memory of the runtime. */
export interface Made {
  readonly shape: readonly number[];
  readonly memory: Scratch;
}

/** Attention as one would write it first: three dispatches, with the scores of all heads in memory between them. */
export function naive(args: NaiveArgs): readonly Dispatch[] {
  const { q, k, v, out, batch, kLens = null, windowSize, softcap } = args;
  const [nHeads, headDim] = q.shape.slice(1) as [number, number];
  const [nKvHeads, headDimV] = v.shape.slice(1) as [number, number];
  const qLen = q.shape[0]! / batch;
  const kLen = k.shape[0]! / batch;
  const scores = { scratch: 'scores', bytes: scoresBytes({ batch, nHeads, qLen, kLen }) };
  const dtype = { F16: q.dtype === 'f16', BF16: q.dtype === 'bf16' };
  const ragged = { RAGGED: kLens !== null };
  const lengths = { q_len: qLen, k_len: kLen };
  const mask = { window_left: windowSize[0], window_right: windowSize[1] };
  const heads = { n_heads: nHeads, group: nHeads / nKvHeads };
  return [
    {
      kernel: scoresKernel,
      spec: { ...dtype, ...ragged, SOFTCAP: softcap > 0, HEAD_QUADS: headDim / 4 },
      params: { ...lengths, ...mask, ...heads, scale: 1 / Math.sqrt(headDim), softcap },
      bindings: { q, k: bound(k), scores, k_lens: kLens },
      grid: [Math.ceil(kLen / 8), Math.ceil(qLen / 8), batch * nHeads],
    },
    {
      kernel: softmaxKernel,
      spec: ragged,
      params: { ...lengths, n_heads: nHeads },
      bindings: { scores, k_lens: kLens },
      grid: [qLen, batch * nHeads, 1],
    },
    {
      kernel: valuesKernel,
      spec: { ...dtype, ...ragged, HEAD_QUADS: headDimV / 4 },
      params: { ...lengths, ...heads },
      bindings: { weights: scores, v: bound(v), k_lens: kLens, out },
      grid: [Math.ceil(headDimV / 32), Math.ceil(qLen / 8), batch * nHeads],
    },
  ];
}

function bound(rows: Tensor | Made): Tensor | Scratch {
  return 'memory' in rows ? rows.memory : rows;
}

export interface ScoresSize {
  readonly batch: number;
  readonly nHeads: number;
  readonly qLen: number;
  readonly kLen: number;
}

/** Bytes of the scores of all heads, which naive attention needs in one binding. */
export function scoresBytes({ batch, nHeads, qLen, kLen }: ScoresSize): number {
  return batch * nHeads * qLen * kLen * 4;
}
