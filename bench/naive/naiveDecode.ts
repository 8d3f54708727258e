import type { Dispatch } from '../../src/core/dispatch.js';
import { bytesPerElement } from '../../src/core/dtype.js';
import { elementCount, type Tensor } from '../../src/core/tensor.js';
import { naive, scoresBytes, type Made } from './naive.js';
import gatherKernel from './naive_gather.wgsl';

export interface NaiveDecodeArgs {
  /** [B, 1, Hq, D], D a multiple of 4 */
  readonly q: Tensor;
  /** Pages [P, pageSize, Hkv, D], contiguous, Hkv · D a multiple of 8 */
  readonly kCache: Tensor;
  readonly vCache: Tensor;
  /** [B, 1, Hq, D] */
  readonly out: Tensor;
  /** [B, width], row after row: key j of a sequence lies in page table[⌊j / pageSize⌋] of its row. */
  readonly table: Int32Array;
  /** [B]: keys of each sequence */
  readonly kLens: Uint32Array;
}

/**
 * A step of decoding as one would write it first: keys and values gathered out of their pages, then naive attention, with
 * as much room for each sequence as the longest one needs.
 */
export function naiveDecode({ q, kCache, vCache, out, table, kLens }: NaiveDecodeArgs): readonly Dispatch[] {
  const [batch, , nHeads, headDim] = q.shape as [number, number, number, number];
  const k = room('gathered k', kCache, kLens);
  const v = room('gathered v', vCache, kLens);
  const flat = ({ buffer, dtype }: Tensor): Tensor => ({ buffer, dtype, shape: [batch, nHeads, headDim] });
  return [
    gather(kCache, { table, kLens, into: k }),
    gather(vCache, { table, kLens, into: v }),
    ...naive({ q: flat(q), k, v, out: flat(out), batch, kLens, windowSize: [-1, 0], softcap: 0 }),
  ];
}

/** Bytes of the largest binding that it needs. */
export function naiveDecodeBinding({
  q,
  kCache,
  kLens,
}: Pick<NaiveDecodeArgs, 'q' | 'kCache' | 'kLens'>): number {
  const kLen = Math.max(...kLens);
  const scores = scoresBytes({ batch: kLens.length, nHeads: q.shape[2]!, qLen: 1, kLen });
  return Math.max(scores, room('k', kCache, kLens).memory.bytes);
}

/** [batch · longest, Hkv, D] */
function room(name: string, { dtype, shape }: Tensor, kLens: Uint32Array): Made {
  const rows = [kLens.length * Math.max(...kLens), ...shape.slice(2)];
  return { shape: rows, memory: { scratch: name, bytes: elementCount(rows) * bytesPerElement(dtype) } };
}

interface GatherArgs extends Pick<NaiveDecodeArgs, 'table' | 'kLens'> {
  readonly into: Made;
}

function gather(pages: Tensor, { table, kLens, into }: GatherArgs): Dispatch {
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
      table_width: table.length / batch,
      k_len: kLen,
    },
    bindings: { pages, block_table: table, k_lens: kLens, rows: into.memory },
    grid: [Math.ceil((kLen * tokenUnits) / 64), batch, 1],
  };
}
