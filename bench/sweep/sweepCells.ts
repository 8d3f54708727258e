import type { FloatDType } from '../../src/core/dtype.js';

/** What is swept together: every candidate of a kernel for one shape, or every rule about chunks. */
export interface SweepCell {
  readonly kind: 'prefill' | 'decode' | 'chunks' | 'merge';
  readonly headDim: number;
  readonly dtype: FloatDType;
  /** Query heads of a kv head. */
  readonly group: number;
  readonly nKvHeads: number;
  /** Tokens that the tensors hold; prompts are at most as long as there are queries. */
  readonly room: { readonly queries: number; readonly keys: number };
}

/** Bytes of keys on a GPU, and as many of values: more than any cache holds. */
const KEY_BYTES = 2 ** 28;

interface SweepOptions {
  readonly software: boolean;
  readonly quick: boolean;
}

/** What matters most comes first, since a run ends when its time is up. */
export function sweepCells({ software, quick }: SweepOptions): SweepCell[] {
  const headDims = software ? [64] : quick ? [128] : [128, 64, 256];
  const dtypes: readonly FloatDType[] = quick ? ['f16'] : software ? ['f32', 'f16'] : ['f16', 'bf16', 'f32'];
  const groups = quick || software ? [4] : [4, 1, 8, 16];
  const cellOf = (kind: SweepCell['kind'], dtype: FloatDType, headDim: number, group: number): SweepCell => {
    const nKvHeads = software ? 2 : 8;
    const bytesPerKey = nKvHeads * headDim * (dtype === 'f32' ? 4 : 2);
    const keys = software ? 8192 : Math.min(2 ** 17, KEY_BYTES / bytesPerKey);
    return { kind, headDim, dtype, group, nKvHeads, room: { queries: software ? 128 : 4096, keys } };
  };
  const cells = dtypes.flatMap((dtype) =>
    headDims.flatMap((headDim) => [
      ...groups.map((group) => cellOf('decode', dtype, headDim, group)),
      cellOf('prefill', dtype, headDim, 4),
    ]),
  );
  const [dtype] = dtypes;
  const chunks = headDims.flatMap((headDim) =>
    groups
      .filter((group) => group >= 4 && group <= 8)
      .map((group) => cellOf('chunks', dtype!, headDim, group)),
  );
  const [first, second] = [cells.slice(0, groups.length + 1), cells.slice(groups.length + 1)];
  return [
    ...first,
    ...chunks.slice(0, 1),
    cellOf('merge', dtype!, headDims[0]!, 4),
    ...second,
    ...chunks.slice(1),
  ];
}

/** Such as `decode 32/8×128 f16`. */
export function sweepCellName({ kind, headDim, dtype, group, nKvHeads }: SweepCell): string {
  return `${kind} ${group * nKvHeads}/${nKvHeads}×${headDim} ${dtype}`;
}
