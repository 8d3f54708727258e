import type { FloatDType } from '../../src/core/dtype.js';
import {
  hostLengths,
  NO_MASKS,
  type AppendProblem,
  type AttentionProblem,
  type HostLengths,
  type Masks,
  type PagedRows,
  type Rotary,
  type TokenLayout,
} from '../../src/problem/attentionProblem.js';
import { fakeTensor } from '../runtime/fakeDevice.js';

export interface BatchOptions {
  /** Query and kv heads. Default [1, 1]. */
  readonly heads?: readonly [nHeads: number, nKvHeads: number];
  /** Default 64. */
  readonly headDim?: number;
  /** Of queries, outputs and new tokens. Default f32. */
  readonly dtype?: FloatDType;
  /** Default `dtype`. */
  readonly kvDType?: FloatDType;
  /** Keys in pages of this size, the last page first. */
  readonly pageSize?: number;
  readonly masks?: Partial<Masks>;
  readonly numSplits?: number;
  /** New tokens of each sequence, which are the last of its keys. */
  readonly newTokens?: readonly number[];
  readonly rotary?: Rotary;
  /** Of query tokens, one behind the other: positions, three after each other with sections, and rows of a tree. */
  readonly tokens?: {
    readonly positions?: Int32Array;
    readonly tree?: Uint32Array;
  };
}

/** A problem with the lengths of its sequences. */
export interface Batch {
  readonly problem: AttentionProblem;
  readonly lengths: HostLengths;
}

/** Sequences with so many queries and keys, end to end, in tensors without contents. */
export function batchOf(
  sequences: readonly (readonly [nQueries: number, nKeys: number])[],
  options: BatchOptions = {},
): Batch {
  const { heads = [1, 1], headDim = 64, dtype = 'f32', kvDType = dtype, pageSize, newTokens } = options;
  const [nHeads, nKvHeads] = heads;
  const queries = endToEnd(sequences.map(([nQueries]) => nQueries));
  const keys = endToEnd(sequences.map(([, nKeys]) => nKeys));
  const fresh = endToEnd(newTokens ?? []);
  const rowsOf = (type: FloatDType, nTokens: number, n: number): PagedRows => ({
    tensor: fakeTensor(type, [nTokens, n, headDim]),
    sequenceStride: 0,
    pageStride: 0,
    tokenStride: n * headDim,
    headStride: headDim,
  });
  const width = pageSize ? Math.max(0, ...keys.lengths.map((length) => Math.ceil(length / pageSize))) : 0;
  const nPages = width * sequences.length;
  const keyRows = (): PagedRows => {
    const rows = rowsOf(kvDType, keys.total, nKvHeads);
    if (!pageSize) return rows;
    const tensor = fakeTensor(kvDType, [nPages, pageSize, nKvHeads, headDim]);
    return { ...rows, tensor, pageStride: pageSize * rows.tokenStride };
  };
  const append: AppendProblem = {
    newK: newTokens ? rowsOf(dtype, fresh.total, nKvHeads) : null,
    newV: newTokens ? rowsOf(dtype, fresh.total, nKvHeads) : null,
    rotary: options.rotary ?? null,
    apart: false,
  };
  const problem: AttentionProblem = {
    caller: 'test',
    batch: sequences.length,
    nHeads,
    nKvHeads,
    headDim,
    headDimV: headDim,
    q: rowsOf(dtype, queries.total, nHeads),
    k: keyRows(),
    v: keyRows(),
    out: rowsOf(dtype, queries.total, nHeads),
    lse: {
      tensor: fakeTensor('f32', [nHeads, queries.total]),
      sequenceStride: 0,
      tokenStride: 1,
      headStride: queries.total,
    },
    scales: null,
    pages: pageSize
      ? {
          pageSize,
          nPages,
          table: Int32Array.from({ length: nPages }, (_, i) => nPages - 1 - i),
          nRows: sequences.length,
          width,
          stride: width,
        }
      : null,
    masks: {
      ...NO_MASKS,
      ...options.masks,
      ...(options.tokens && { tokens: tokenLayout(options, queries.total) }),
    },
    softmaxScale: 0.3,
    softcap: 0,
    slopes: null,
    sinks: null,
    mask: null,
    bias: null,
    mods: null,
    blocks: null,
    numSplits: options.numSplits ?? 0,
    append: newTokens || options.rotary ? append : null,
    sharedPrefix: null,
  };
  const lengths = hostLengths({
    qStart: queries.starts,
    qLen: queries.lengths,
    kLen: keys.lengths,
    ...(!pageSize && { kStart: keys.starts }),
    ...(newTokens && {
      nCached: keys.lengths.map((length, b) => length - newTokens[b]!),
      newStart: fresh.starts,
    }),
    ...(options.tokens && {
      tokens: { positions: options.tokens.positions ?? null, tree: options.tokens.tree ?? null },
    }),
  });
  return { problem, lengths };
}

function tokenLayout({ tokens, rotary }: BatchOptions, nTokens: number): TokenLayout {
  const { positions, tree } = tokens!;
  const positionRows = positions ? (rotary?.sections ? 3 : 1) : 0;
  return { nTokens, sequenceTokens: 0, positionRows, treeWords: tree ? tree.length / nTokens : 0 };
}

function endToEnd(counts: readonly number[]) {
  const lengths = Int32Array.from(counts);
  let total = 0;
  const starts = lengths.map((length) => (total += length) - length);
  return { lengths, starts, total };
}
