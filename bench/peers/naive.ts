import type { Dispatch, Scratch } from '../../src/core/dispatch.js';
import { bytesPerElement } from '../../src/core/dtype.js';
import { elementCount, type Tensor } from '../../src/core/tensor.js';
import gatherKernel from './naive_gather.wgsl';
import scoresKernel from './naive_scores.wgsl';
import softmaxKernel from './naive_softmax.wgsl';
import valuesKernel from './naive_values.wgsl';

export interface NaiveArgs {
  /** [batch · qLen, Hq, D], contiguous, D a multiple of 4 */
  readonly q: Tensor;
  /** [batch · kLen, Hkv, D] */
  readonly k: Tensor | ScratchRows;
  /** [batch · kLen, Hkv, Dv], Dv a multiple of 4 */
  readonly v: Tensor | ScratchRows;
  /** [batch · qLen, Hq, Dv] */
  readonly out: Tensor;
  readonly batch: number;
  /** [batch]: the number of keys of each sequence, at most kLen. Default: kLen for all. */
  readonly kLens?: Uint32Array | undefined;
  /** How many keys left and right of its own position a query sees; −1: no bound. Causal means 0 to the right. */
  readonly windowSize: readonly [left: number, right: number];
  /** 0: none */
  readonly softcap: number;
}

/** Rows that an earlier dispatch has written to the runtime's scratch memory. */
export interface ScratchRows {
  readonly shape: readonly number[];
  readonly memory: Scratch;
}

/** Naive attention, as one would write it first: scores, softmax, values. The scores of all heads are kept in memory. */
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

/** What to bind for rows. */
function bound(rows: Tensor | ScratchRows): Tensor | Scratch {
  return 'memory' in rows ? rows.memory : rows;
}

export interface ScoresSize {
  readonly batch: number;
  readonly nHeads: number;
  readonly qLen: number;
  readonly kLen: number;
}

/** The bytes of the scores of all heads, which naive attention needs in one binding. */
export function scoresBytes({ batch, nHeads, qLen, kLen }: ScoresSize): number {
  return batch * nHeads * qLen * kLen * 4;
}

export interface NaiveDecodeArgs {
  /** [B, 1, Hq, D], D a multiple of 4 */
  readonly q: Tensor;
  /** Pages [P, pageSize, Hkv, D], contiguous, Hkv · D a multiple of 8 */
  readonly kCache: Tensor;
  readonly vCache: Tensor;
  /** [B, 1, Hq, D] */
  readonly out: Tensor;
  /** [B, width], row after row */
  readonly blockTable: Int32Array;
  /** [B]: the number of keys of each sequence */
  readonly kLens: Uint32Array;
}

/**
 * A naive decode step: gather keys and values from their pages into rows, padded to the longest sequence, then run naive
 * attention over the rows.
 */
export function naiveDecode({
  q,
  kCache,
  vCache,
  out,
  blockTable,
  kLens,
}: NaiveDecodeArgs): readonly Dispatch[] {
  const [batch, , nHeads, headDim] = q.shape as [number, number, number, number];
  const k = paddedRows('gathered k', kCache, kLens);
  const v = paddedRows('gathered v', vCache, kLens);
  const flat = ({ buffer, dtype }: Tensor): Tensor => ({ buffer, dtype, shape: [batch, nHeads, headDim] });
  return [
    gather(kCache, { blockTable, kLens, into: k }),
    gather(vCache, { blockTable, kLens, into: v }),
    ...naive({ q: flat(q), k, v, out: flat(out), batch, kLens, windowSize: [-1, 0], softcap: 0 }),
  ];
}

/** The bytes of the largest binding that `naiveDecode` needs. */
export function naiveDecodeBinding({
  q,
  kCache,
  kLens,
}: Pick<NaiveDecodeArgs, 'q' | 'kCache' | 'kLens'>): number {
  const kLen = Math.max(...kLens);
  const scores = scoresBytes({ batch: kLens.length, nHeads: q.shape[2]!, qLen: 1, kLen });
  return Math.max(scores, paddedRows('k', kCache, kLens).memory.bytes);
}

/** Scratch rows [batch · longest, Hkv, D]. */
function paddedRows(name: string, { dtype, shape }: Tensor, kLens: Uint32Array): ScratchRows {
  const rows = [kLens.length * Math.max(...kLens), ...shape.slice(2)];
  return { shape: rows, memory: { scratch: name, bytes: elementCount(rows) * bytesPerElement(dtype) } };
}

interface GatherArgs extends Pick<NaiveDecodeArgs, 'blockTable' | 'kLens'> {
  readonly into: ScratchRows;
}

function gather(pages: Tensor, { blockTable, kLens, into }: GatherArgs): Dispatch {
  const [, pageSize, nKvHeads, headDim] = pages.shape as [number, number, number, number];
  const batch = kLens.length;
  const kLen = Math.max(...kLens);
  const tokenUnits = (nKvHeads * headDim * bytesPerElement(pages.dtype)) / 16;
  return {
    kernel: gatherKernel,
    spec: {},
    params: {
      token_units: tokenUnits,
      page_size: pageSize,
      table_width: blockTable.length / batch,
      k_len: kLen,
    },
    bindings: { pages, block_table: blockTable, k_lens: kLens, rows: into.memory },
    grid: [Math.ceil((kLen * tokenUnits) / 64), batch, 1],
  };
}
