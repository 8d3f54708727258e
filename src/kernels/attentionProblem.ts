import type { Tensor } from '../core/tensor.js';

/** What an attention kernel is to compute: arguments checked, defaults filled in, dimensions named. */
export interface AttentionProblem {
  readonly batch: number;
  readonly nHeads: number;
  readonly nKvHeads: number;
  readonly headDim: number;
  readonly headDimV: number;
  readonly q: TokenRows;
  readonly k: PagedRows;
  readonly v: PagedRows;
  readonly out: TokenRows;
  readonly lse: TokenRows | null;
  /** Null for keys that lie end to end. */
  readonly pages: PageTable | null;
  readonly masks: Masks;
  readonly softmaxScale: number;
  /** 0: none. */
  readonly softcap: number;
  readonly slopes: Slopes | null;
  readonly sinks: SmallFloats | null;
}

/** A tensor with its strides, in elements, by what they step over. */
export interface TokenRows {
  readonly tensor: Tensor;
  /** From one sequence of a dense batch to the next; 0 where tokens lie end to end. */
  readonly sequence: number;
  readonly token: number;
  readonly head: number;
}

export interface PagedRows extends TokenRows {
  /** From one page to the next; 0 where there are no pages. */
  readonly page: number;
}

export interface PageTable {
  readonly pageSize: number;
  readonly nPages: number;
  /** On the host i32 [batch, width], row after row. */
  readonly table: Tensor | Int32Array;
  /** Entries a row has. */
  readonly width: number;
  /** Entries from one row to the next. */
  readonly stride: number;
}

/** Which keys a query at position p sees, each bound included. */
export interface Masks {
  /** Keys before p; -1: all. */
  readonly left: number;
  /** Keys after p; -1: all. Causal is 0. */
  readonly right: number;
  /** Only keys of the same chunk of this size; 0: no chunks. */
  readonly attentionChunk: number;
}

/** A few numbers, on the GPU or on the host. */
export type SmallFloats = Tensor | Float32Array;

export interface Slopes {
  readonly values: SmallFloats;
  /** [batch, n_heads] rather than [n_heads]. */
  readonly perSequence: boolean;
}

/** Lengths and starts of the sequences, in tokens, known to the host. */
export interface HostLengths {
  readonly qStart: Int32Array;
  readonly qLen: Int32Array;
  readonly kStart: Int32Array;
  readonly kLen: Int32Array;
}

/** Lengths that only the GPU knows, or partly; what they may be at most is known. */
export interface DeviceLengths {
  readonly cuSeqlensQ: Tensor | Int32Array;
  /** Needed for keys that lie end to end; for pages only differences count. */
  readonly cuSeqlensK: Tensor | Int32Array | null;
  readonly sequsedK: Tensor | Int32Array | null;
  readonly totalQ: number;
  readonly totalK: number;
  readonly maxSeqlenQ: number;
  readonly maxSeqlenK: number;
}

export function isHostLengths(lengths: HostLengths | DeviceLengths): lengths is HostLengths {
  return 'qLen' in lengths;
}
