import type { BlockMask } from './blockMask.js';
import type { KvRotation } from '../core/kvFormats.js';
import type { Floats, Ints, Tensor } from '../core/tensor.js';

/** What all attention functions take besides their tensors. */
export interface AttentionOptions {
  /** What q · k is multiplied by. Default 1/√D. */
  readonly softmaxScale?: number | undefined;
  /** Query i sees keys up to i + sk − sq: the last query sees all of them. Default false. */
  readonly causal?: boolean | undefined;
  /** Keys that a query sees before and after its own position, both ends included; −1 is unbounded. Default [−1, −1]. */
  readonly windowSize?: readonly [left: number, right: number] | undefined;
  /** c > 0 turns each score s into c·tanh(s/c). Default 0: off. */
  readonly softcap?: number | undefined;
  /** [Hq] or [B, Hq]: −slope·|distance| is added to each score. f32 on the host; f32, f16 or bf16 on the GPU. */
  readonly alibiSlopes?: Floats | undefined;
  /**
   * `[Hq]`: an attention sink for each head: one more score in the softmax's denominator; −∞ for a head without one.
   * Types as for `alibiSlopes`.
   */
  readonly sinks?: Floats | undefined;
  /**
   * c > 0: a query sees only the keys of its own chunk of c tokens. Chunks are counted from the first token after the
   * padding of `cacheLeftpad`. Default 0: off.
   */
  readonly attentionChunk?: number | undefined;
  /**
   * n: the first n keys of a sequence, those after left padding, are seen whatever window and chunks say (attention sinks as
   * of StreamingLLM); causal order, `treeMask`, `mask` and `maskMod` still hold. Default 0.
   */
  readonly firstKeys?: number | undefined;
  /**
   * u32 [B or 1, Hq or 1, Sq, words], or [Hq or 1, totalQ, words] where q is [totalQ, …]: bit j % 32 of word ⌊j / 32⌋ of a
   * row says whether it sees key j, besides the other masks. Words are at least ⌈keys of the longest sequence / 32⌉, or
   * ⌈`maxSeqlenK` / 32⌉ where lengths are on the GPU. In a cache or in pages j is the slot, left padding counted. What lies
   * beyond a sequence's keys is ignored. Dimensions of size 1, and those with a stride of 0, are shared.
   */
  readonly mask?: Tensor | undefined;
  /**
   * f32, f16 or bf16 [B or 1, Hq or 1, Sq, keys], or [Hq or 1, totalQ, keys] where q is [totalQ, …]: added to the scores
   * after softcap and ALiBi. −∞, or a number below −1e30, hides the key. Keys and sharing as for `mask`.
   */
  readonly bias?: Tensor | undefined;
  /**
   * [totalQ], or [B, Sq] where q is dense; on the host flat: the position of query i of a sequence, and of the key
   * sk − sq + i, for windows, chunks, ALiBi and rotary embedding. The keys before those stand at their index, left padding
   * counted. `causal` goes by indices all the same. Default: query i is at sk − sq + i, and every key at its index.
   */
  readonly positions?: Ints | undefined;
  /**
   * u32 [totalQ, words], or [B, Sq, words]; on the host flat: bit t % 32 of word ⌊t / 32⌋ of a query says whether it sees
   * query token t of its own sequence, which is key sk − sq + t. Among these keys there is no causal order then; windows,
   * chunks, `mask` and `bias` hold for all keys. There are as many words as the longest sequence needs, or more.
   */
  readonly treeMask?: Ints | undefined;
  /**
   * A WGSL function of your own, compiled into the kernels, that changes scores after bias and before masks:
   *
   *     fn score_mod(score: f32, b: u32, h: u32, q: i32, k: i32) -> f32
   *
   * `score` is natural, softmaxScale included; b the sequence, h the query head, q and k the positions of query and key:
   * `positions` where they are given, else i + sk − sq and the key's index, left padding counted. Below −1e30, −∞ and NaN
   * hide the key. `lse` includes it. It has to be prepared: `attnVariants` and `prepareModel` take it, too. A prefix that
   * is shared is then read by each sequence for itself.
   */
  readonly scoreMod?: ScoreMod | undefined;
  /**
   * Likewise a function that says which keys are seen, besides the other masks:
   *
   *     fn mask_mod(b: u32, h: u32, q: i32, k: i32) -> bool
   */
  readonly maskMod?: MaskMod | undefined;
  /** How many chunks to split the keys into (split-KV, as in flash-decoding) where that is faster; 0 chooses. Default 0. */
  readonly numSplits?: number | undefined;
  /** Whether to return `lse`. Default false. */
  readonly returnLse?: boolean | undefined;
  /** Where to write; a tensor of q's type. Default: a new one, whose buffer the caller destroys. */
  readonly out?: Tensor | undefined;
  /** Where to write the lse, f32; implies `returnLse`. Default: a new one if asked for. */
  readonly lse?: Tensor | undefined;
  /** A pass to record into, which the caller ends and submits. Default: the call submits its own work at once. */
  readonly pass?: GPUComputePassEncoder | undefined;
}

/** A WGSL function of your own in the kernels of attention. */
export interface Mod {
  /** By which pipelines are kept, and errors call it. In a runtime, a name stands for one code. */
  readonly name: string;
  /** WGSL: the function, and whatever functions, constants, structs and aliases it needs besides. */
  readonly code: string;
  /** Up to eight numbers, f32, which the code reads as `mod_params[i]`. They may differ from call to call. */
  readonly params?: readonly number[] | Float32Array | undefined;
  /**
   * Tensors that the code reads by their names, as `array<f32>`, `array<i32>` or `array<u32>`: contiguous, f32, i32 or
   * u32, beginning at a multiple of 256 bytes. Up to two, of both mods of a call together.
   */
  readonly tensors?: Readonly<Record<string, Tensor>> | undefined;
}

export type ScoreMod = Mod;
export type MaskMod = Mod;

/** What `attn` takes. */
export interface AttnArgs extends AttentionOptions {
  /** [B, Sq, Hq, D] in f32, f16 or bf16 */
  readonly q: Tensor;
  /** [B, Sk, Hkv, D] in f32, f16 or bf16; Hq is a multiple of Hkv */
  readonly k: Tensor;
  /** [B, Sk, Hkv, Dv] in k's type */
  readonly v: Tensor;
  /** Which blocks of keys the queries of a block see, besides the other masks: see `createBlockMask`. */
  readonly blockMask?: BlockMask | undefined;
}

/** What `attnVarlen` takes. */
export interface AttnVarlenArgs extends AttentionOptions {
  /** [totalQ, Hq, D] in f32, f16 or bf16 */
  readonly q: Tensor;
  /** [totalK, Hkv, D], or pages [P, pageSize, Hkv, D] with `blockTable`; f32, f16 or bf16, pages also i8, i4 or e4m3 */
  readonly k: Tensor;
  /** [totalK, Hkv, Dv], or pages [P, pageSize, Hkv, Dv] with `blockTable`; k's type */
  readonly v: Tensor;
  /**
   * Which blocks of keys the queries of a block see, besides the other masks: see `createBlockMask`. Sequences are of one
   * length then, known to the host.
   */
  readonly blockMask?: BlockMask | undefined;
  /**
   * Scales of quantised pages, see `attnWithKvCache`: f32 or f16, [P, pageSize, Hkv] for i8, [P, pageSize, Hkv, D / 32]
   * for i4; f32 [Hkv] or [1] for e4m3, by default 1.
   */
  readonly kScale?: Floats | undefined;
  /** Likewise of v; by default kScale where v is a view of k. */
  readonly vScale?: Floats | undefined;
  /** Whether heads of quantised pages are turned, see `attnWithKvCache`: q is, too, and out is turned back. */
  readonly kvRotation?: KvRotation | undefined;
  /** [B + 1], from 0: sequence b has the queries cuSeqlensQ[b] to cuSeqlensQ[b + 1] − 1. */
  readonly cuSeqlensQ: Ints;
  /** [B + 1], from 0: likewise the keys. With `blockTable` only the differences count. */
  readonly cuSeqlensK?: Ints | undefined;
  /** `[B]`: only that many of a sequence's keys count. With `blockTable` it may replace `cuSeqlensK`. */
  readonly sequsedK?: Ints | undefined;
  /** Upper bound of a sequence's queries; required where `cuSeqlensQ` is on the GPU. Queries beyond it are ignored. */
  readonly maxSeqlenQ?: number | undefined;
  /** Upper bound of a sequence's keys; required where their lengths are on the GPU. Keys beyond it are ignored. */
  readonly maxSeqlenK?: number | undefined;
  /**
   * [B, maxPages], on the host flat, row after row: key j is in page blockTable[b][⌊j / pageSize⌋]. Where the table or
   * a length is on the GPU, the keys of a page number outside the pool (−1 for padding) are masked. On the host such a
   * number is an error if a key needs the page.
   */
  readonly blockTable?: Ints | undefined;
}

/** What `attnWithKvCache` takes. */
export interface AttnWithKvCacheArgs extends AttentionOptions {
  /** [B, Sq, Hq, D], or [totalQ, Hq, D] with `cuSeqlensQ`; f32, f16 or bf16 */
  readonly q: Tensor;
  /** [Bc, Sc, Hkv, D], or pages [P, pageSize, Hkv, D] with `blockTable`; f32, f16, bf16, i8, i4 or e4m3 */
  readonly kCache: Tensor;
  /**
   * [Bc, Sc, Hkv, Dv], or pages [P, pageSize, Hkv, Dv] with `blockTable`; kCache's type. It may be a view of kCache: some of
   * the elements of each key, as in MLA, whose values are the first 512 of 576. New tokens are then `k` alone.
   */
  readonly vCache: Tensor;
  /**
   * Scales of a quantised kCache, by which its elements are multiplied. Of i8: a tensor f32 or f16 of the cache's shape
   * without D; of i4 with D / 32 in its place, one for each 32 elements. New tokens are quantised with scales of their own:
   * max |x| / 127 of a head for i8, the element of largest magnitude / −8 for i4. Of e4m3: f32 [Hkv] or [1], by which new
   * tokens are divided; default 1.
   */
  readonly kScale?: Floats | undefined;
  /**
   * Likewise of vCache, with Dv. Where vCache is a view of kCache it is a view of kScale: of i8 and e4m3 the same scales, of
   * i4 those of the elements that values have. Default there: kScale.
   */
  readonly vScale?: Floats | undefined;
  /**
   * Whether heads of a quantised cache are turned by a Hadamard matrix, which spreads outliers over all elements of a head, so
   * that fewer digits say as much: new keys (after rotary embedding) are multiplied by H of D before they are quantised, new
   * values by H of Dv, queries by H of D, and the output is turned back; H[i][j] = (−1)^popcount(i & j) / √n. What is in the
   * cache is taken as already turned. D and Dv are powers of two. Default: they are not.
   */
  readonly kvRotation?: KvRotation | undefined;
  /**
   * New tokens [B, Snew, Hkv, D], or [totalNew, Hkv, D] with `cuSeqlensKNew`, written to the cache first; f32, f16 or
   * bf16
   */
  readonly k?: Tensor | undefined;
  /**
   * New tokens [B, Snew, Hkv, Dv], or [totalNew, Hkv, Dv] with `cuSeqlensKNew`; k's type. Left out where vCache is a view of
   * kCache: values are then what is written of `k`, rotated if that is.
   */
  readonly v?: Tensor | undefined;
  /** [B], or one number for all: tokens in the cache before the new ones. It is not changed. */
  readonly cacheSeqlens: number | Ints;
  /** [B + 1], from 0: sequence b has the queries cuSeqlensQ[b] to cuSeqlensQ[b + 1] − 1. */
  readonly cuSeqlensQ?: Ints | undefined;
  /**
   * [B + 1], from 0: sequence b has the new tokens cuSeqlensKNew[b] to cuSeqlensKNew[b + 1] − 1. Without k and v
   * it is not used, and may only equal `cuSeqlensQ`, as in a batch.
   */
  readonly cuSeqlensKNew?: Ints | undefined;
  /** Upper bound of a sequence's queries; required where `cuSeqlensQ` is on the GPU. Queries beyond it are ignored. */
  readonly maxSeqlenQ?: number | undefined;
  /** Upper bound of a sequence's keys, new ones included. Default, where lengths are on the GPU: the cache's capacity. */
  readonly maxSeqlenK?: number | undefined;
  /**
   * [B, maxPages], on the host flat, row after row: key j is in page blockTable[b][⌊j / pageSize⌋]. Where the table or
   * a length is on the GPU, nothing is written to a page number outside the pool (−1 for padding), and its keys are
   * masked. On the host such a number is an error if a key needs the page.
   */
  readonly blockTable?: Ints | undefined;
  /**
   * `[B]`: the row of the cache, or of `blockTable`, of each sequence. On the GPU, a sequence whose row is out of range
   * (−1 for padding) has no keys, and nothing is written for it. Default 0, 1, …
   */
  readonly cacheBatchIdx?: Ints | undefined;
  /** `[B]`: left padding: the first n slots are ignored. They count as positions, but not in chunks of attention. */
  readonly cacheLeftpad?: Ints | undefined;
  /**
   * Pages that all sequences begin with, such as those of a system prompt: their keys are read once for all sequences,
   * where that saves memory traffic. `blockTable` and `cacheSeqlens` of each sequence include them, as without it, and the
   * results are the same but for rounding. Where lengths are on the GPU, and with windows, chunks of attention, ALiBi or
   * left padding, each sequence reads its own.
   */
  readonly sharedPrefix?: SharedPrefixArgs | undefined;
  /**
   * `[L, rotaryDim / 2]`: cosines by position; on the host flat, row after row. New keys and queries are rotated by them.
   * A sequence beyond position L − 1 is an error; where only the GPU knows its length, or its `positions`, it has no keys,
   * and nothing is written.
   */
  readonly rotaryCos?: Floats | undefined;
  /** `[L, rotaryDim / 2]`: sines, on the same side as the cosines and of the same type. */
  readonly rotarySin?: Floats | undefined;
  /** Elements of a head that are rotated. Default: twice the width of rotaryCos; D if it is on the host. */
  readonly rotaryDim?: number | undefined;
  /** Whether pairs are elements (2t, 2t + 1), as in GPT-J; else (t, t + rotaryDim / 2), as in GPT-NeoX. Default true. */
  readonly rotaryInterleaved?: boolean | undefined;
  /**
   * [time, height, width], which sum up to rotaryDim / 2: M-RoPE, as in Qwen2-VL. A token has three positions, and
   * `positions` is [3, totalQ] or [3, B, Sq]: its first one turns as many pairs as the first number says, and so on.
   * Windows, chunks and ALiBi go by indices then, as without `positions`.
   */
  readonly rotarySections?: readonly [time: number, height: number, width: number] | undefined;
  /**
   * Whether the pairs of `rotarySections` take turns, as in Qwen3-VL: pair 3n + 1 is one of height, 3n + 2 of width, as
   * long as there are any, and all others are of time. Default false: first those of time, then height, then width.
   */
  readonly rotarySectionsInterleaved?: boolean | undefined;
}

/** The first tokens of all sequences of a batch, where these are in the same pages. */
export interface SharedPrefixArgs {
  /** `[n]`: the pages, in order. On the GPU i32 or u32. */
  readonly blockTable: Ints;
  /** Tokens in these pages, a multiple of the page size; 0: nothing is shared. */
  readonly length: number;
}

export interface AttentionResult {
  readonly out: Tensor;
  /** f32: log-sum-exp of each row's scores, natural log; −∞ for a row that sees no key. */
  readonly lse?: Tensor;
}
