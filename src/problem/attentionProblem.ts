import { StepMemory } from '../core/stepMemory.js';
import type { Tensor } from '../core/tensor.js';
import type { ParsedMod } from '../wgsl/mods.js';
import type { Blocks } from './blockMask.js';

/** The largest size of a head of q and k that kernels take. */
export const MAX_HEAD_DIM = 576;

/** The same for v. */
export const MAX_HEAD_DIM_V = 512;

/**
 * What an attention kernel is to compute: arguments checked, defaults filled in, dimensions named.
 *
 * `AttentionProblem<null>` is one without new tokens and rotary embedding.
 */
export interface AttentionProblem<Append extends AppendProblem | null = AppendProblem | null> {
  /** The public function, for errors. */
  readonly caller: string;
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
  /** Null where the keys are not paged. */
  readonly pages: BlockTable | null;
  /** Of a quantised cache; null where k and v are floats. */
  readonly scales: KvScales | null;
  readonly masks: Masks;
  readonly softmaxScale: number;
  /** 0: none. */
  readonly softcap: number;
  readonly slopes: Slopes | null;
  readonly sinks: SmallFloats | null;
  /** u32, a bit for each key of a row: 32 keys in a word. Strides are 0 where rows share them. */
  readonly mask: TokenRows | null;
  /** What is added to the scores: a number for each key of a row, likewise. */
  readonly bias: TokenRows | null;
  /** Functions of the caller's own; null without any. */
  readonly mods: Mods | null;
  /** Which blocks of keys each block of queries sees; null: all. */
  readonly blocks: Blocks | null;
  /** How many chunks (see plan/splits.ts) to split the keys of every sequence into; 0 chooses. */
  readonly numSplits: number;
  /** New tokens to append and rotary embedding to apply before attention; null if there is neither. */
  readonly append: Append;
  /** Null where sequences share nothing. */
  readonly sharedPrefix: SharedPrefix | null;
  /** Where heads are turned: see problem/turned.ts. */
  readonly turned?: TurnedRows;
}

/** q and out of the caller, where attention has turned queries instead, and outputs that are to be turned. */
export interface TurnedRows {
  readonly q: TokenRows;
  /** Null for a call that only reads queries. */
  readonly out: TokenRows | null;
}

/** Whole pages that all sequences begin with, so that their keys can be read once for all of them. */
export interface SharedPrefix {
  /** Keys in these pages; above 0. */
  readonly nKeys: number;
  /** i32 [n], or u32 on the GPU: the pages, and maybe more. */
  readonly table: Tensor | Int32Array;
}

/** New tokens for a cache, and the rotary embedding. */
export interface AppendProblem {
  /** Null where nothing is appended. */
  readonly newK: TokenRows | null;
  readonly newV: TokenRows | null;
  readonly rotary: Rotary | null;
  /** Whether keys, values and queries need a dispatch each, since one is read from a buffer that another is written to. */
  readonly apart: boolean;
}

export interface Rotary {
  /** [positions, rotary_dim / 2], both of one type */
  readonly cos: SmallFloats;
  readonly sin: SmallFloats;
  readonly nPositions: number;
  /** rotary_dim / 2 */
  readonly pairs: number;
  /** Pairs are (2t, 2t + 1), else (t, t + rotary_dim / 2). */
  readonly interleaved: boolean;
  /** Whether query i is at position nCached + i; else all queries are at nCached. Not with positions of tokens. */
  readonly queriesAdvance: boolean;
  /** Where a token has three positions: which of them turns which pairs. */
  readonly sections?: RotarySections;
}

/** How many pairs are turned by each of three positions of a token: time, height and width. */
export interface RotarySections {
  readonly pairs: readonly [time: number, height: number, width: number];
  /** Whether pairs take turns, as in Qwen3-VL, rather than sections lie one behind the other. */
  readonly interleaved: boolean;
}

/** A tensor with its strides, in elements. */
export interface TokenRows {
  readonly tensor: Tensor;
  /** From one sequence of a dense batch to the next; 0 for ragged tokens. */
  readonly sequenceStride: number;
  readonly tokenStride: number;
  readonly headStride: number;
}

export interface PagedRows extends TokenRows {
  /** From one page to the next; 0 where there are no pages. */
  readonly pageStride: number;
}

/** Scales of a quantised cache: an element is its code times the scale. */
export type KvScales = TokenScales | HeadScales;

/** Scales of i8, one for each head of a token, and of i4, one for each 32 of its elements; f32 or f16. */
export interface TokenScales {
  readonly per: 'token';
  /** Strides of the scales: `sequenceStride` or `pageStride`, `tokenStride`, `headStride`; those of a head are neighbours. */
  readonly k: PagedRows;
  readonly v: PagedRows;
}

/** Scales of e4m3: f32, one for each kv head; on the GPU there may be one for all. They differ from layer to layer. */
export interface HeadScales {
  readonly per: 'head';
  readonly k: SmallFloats;
  readonly v: SmallFloats;
}

/** A block table that was checked: page numbers by sequence, and the sizes of the pages. */
export interface BlockTable {
  readonly pageSize: number;
  readonly nPages: number;
  /** On the host i32 [n_rows, width], row after row. */
  readonly table: Tensor | Int32Array;
  readonly nRows: number;
  /** Entries a row has. */
  readonly width: number;
  /** Entries from one row to the next. */
  readonly stride: number;
}

/** Which keys a query at position p sees; bounds are inclusive. */
export interface Masks {
  /** Keys before p; -1: all. */
  readonly left: number;
  /** Keys after p; -1: all. Causal is 0. */
  readonly right: number;
  /** Only keys of the same chunk of attention, of this size; 0: no chunks. */
  readonly attentionChunk: number;
  /** Keys after the left padding that are seen whatever window and chunks say; 0: none. */
  readonly firstKeys: number;
  /** Whether keys behind a query are hidden, by their index. `right` is 0 then, but with `tokens` that of a window alone. */
  readonly causal: boolean;
  /** Where query tokens have positions of their own, or a tree. */
  readonly tokens?: TokenLayout;
}

/** What a call says of each of its query tokens, without the numbers themselves. */
export interface TokenLayout {
  /** Query tokens of all sequences, as q has them. */
  readonly nTokens: number;
  /** Those of each sequence in a dense batch; 0 where sequences lie end to end. */
  readonly sequenceTokens: number;
  /** Positions of a token; three are those of the sections of a rotary embedding, which masks do not look at. */
  readonly positionRows: 0 | 1 | 3;
  /** Words of 32 bits for the tokens that a token sees; 0: there is no tree. */
  readonly treeWords: number;
}

/** The numbers of a step's query tokens. */
export interface TokenNumbers {
  /** i32 [positionRows, nTokens]; as a tensor [B, Sq] where that is q's shape */
  readonly positions: Tensor | Int32Array | null;
  /** u32 [nTokens, treeWords]; as a tensor [B, Sq, treeWords] */
  readonly tree: Tensor | Uint32Array | null;
}

/** Functions of the caller's own: of scores, and of which keys are seen. At least one. */
export interface Mods {
  readonly scoreMod: AttentionMod | null;
  readonly maskMod: AttentionMod | null;
  /** [2, MOD_PARAMS]: the parameters of scoreMod, then those of maskMod. In a plan, each step fills it again. */
  readonly params: Float32Array;
}

/** Tensors that the mods of a call read together, at most. */
export const MAX_MOD_TENSORS = 2;

export interface AttentionMod {
  readonly text: ParsedMod;
  /** By the names in its code. */
  readonly tensors: Readonly<Record<string, Tensor>>;
}

/** Every key is seen. */
export const NO_MASKS: Masks = { left: -1, right: -1, attentionChunk: 0, firstKeys: 0, causal: false };

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
  /** New keys included. */
  readonly kLen: Int32Array;
  /** Keys that were there before the new ones. */
  readonly nCached: Int32Array;
  /** The first new token among those of all sequences. */
  readonly newStart: Int32Array;
  /** Left padding: keys before it are ignored. */
  readonly firstKey: Int32Array;
  /** The row of each sequence in a dense batch, a cache or a block table. */
  readonly row: Int32Array;
  readonly tokens?: TokenNumbers;
}

/** Lengths of which at least some are known to the GPU only, with upper bounds for all of them. */
export interface DeviceLengths {
  /** Null where every sequence has `maxSeqlenQ` queries. */
  readonly cuSeqlensQ: Tensor | Int32Array | null;
  /** Required for ragged keys; for pages only the differences count. */
  readonly cuSeqlensK: Tensor | Int32Array | null;
  /** Keys before the new ones. */
  readonly nCached: Tensor | Int32Array | null;
  readonly cuSeqlensKNew: Tensor | Int32Array | null;
  readonly cacheBatchIdx: Tensor | Int32Array | null;
  readonly cacheLeftpad: Tensor | Int32Array | null;
  readonly totalQ: number;
  /** Whether each sequence has a row for its keys, in a cache or in a block table; else keys are ragged. */
  readonly keysInRows: boolean;
  /** Keys of all sequences, or the capacity of a row. */
  readonly totalK: number;
  /** New tokens of all sequences. */
  readonly totalNew: number;
  /** New tokens of a sequence, at most. */
  readonly maxNew: number;
  /** Rows of a cache or a block table. */
  readonly nRows: number;
  readonly maxSeqlenQ: number;
  readonly maxSeqlenK: number;
  readonly tokens?: TokenNumbers;
}

export function isHostLengths(lengths: HostLengths | DeviceLengths): lengths is HostLengths {
  return 'qLen' in lengths;
}

/** Lengths known to the host. Starts and padding not given are zero, all keys are cached, rows are in order. */
export function hostLengths(
  known: Pick<HostLengths, 'qLen' | 'kLen'> & Partial<HostLengths>,
  memory = new StepMemory(),
): HostLengths {
  const batch = known.qLen.length;
  const zeros = memory.keep('zeros', [batch], () => new Int32Array(batch));
  const row = known.row ?? memory.keep('rows in order', [batch], () => zeros.map((_, b) => b));
  return {
    qStart: zeros,
    kStart: zeros,
    newStart: zeros,
    firstKey: zeros,
    nCached: known.kLen,
    ...known,
    row,
  };
}

/** Lengths known to the GPU only. Those not given are null, and there are no new tokens. */
export function deviceLengths(
  known: Omit<DeviceLengths, OptionalLengths> & Partial<DeviceLengths>,
): DeviceLengths {
  return {
    cuSeqlensQ: null,
    cuSeqlensK: null,
    nCached: null,
    cuSeqlensKNew: null,
    cacheBatchIdx: null,
    cacheLeftpad: null,
    totalNew: 0,
    maxNew: 0,
    ...known,
  };
}

type OptionalLengths =
  | 'cuSeqlensQ'
  | 'cuSeqlensK'
  | 'nCached'
  | 'cuSeqlensKNew'
  | 'cacheBatchIdx'
  | 'cacheLeftpad'
  | 'totalNew'
  | 'maxNew';

/** Factors that kernels multiply scores by. */
export interface ScoreScale {
  /** From q · k to scores in base 2; with a softcap to scores / softcap. */
  readonly factor: number;
  /** softcap · log₂e */
  readonly capLog2: number;
}

export function scoreScale(softmaxScale: number, softcap: number): ScoreScale {
  return {
    factor: softcap > 0 ? softmaxScale / softcap : softmaxScale * Math.LOG2E,
    capLog2: softcap * Math.LOG2E,
  };
}
