import type { Tensor } from '../core/tensor.js';
import type { AttnArgs, AttnVarlenArgs, AttnWithKvCacheArgs } from './attentionArgs.js';

/** What `attnWeights` takes besides the arguments of an attention call. */
export interface ChosenRows {
  /**
   * The query tokens whose weights are asked for, in any order, as indices into q [totalQ, …]; into q [B, Sq, …], token i
   * of sequence b is b · Sq + i. On the host.
   */
  readonly rows: readonly number[] | Int32Array | Uint32Array;
  /** f32 [Hq, totalQ], or [B, Hq, Sq] with q [B, Sq, …]: what the attention call gave with `returnLse: true`. */
  readonly lse: Tensor;
  /**
   * Where to write, f32 [rows, Hq, n]. n is at least the number of keys of the longest sequence among those of the rows, or
   * `maxSeqlenK` where lengths are on the GPU. Default: a new tensor with the smallest n, whose buffer the caller destroys.
   */
  readonly weights?: Tensor | undefined;
  /** A pass to record into, which the caller ends and submits. Default: the call submits its own work at once. */
  readonly pass?: GPUComputePassEncoder | undefined;
}

/** Arguments of attention without which weights are the same; they may be passed all the same. */
export type NotOfWeights = 'v' | 'vCache' | 'vScale' | 'sinks' | 'numSplits' | 'returnLse' | 'sharedPrefix';

/** The arguments of an attention call that decide about its weights. */
type WeightsOf<Args extends object> = Omit<Args, NotOfWeights | 'out' | 'lse' | 'pass'> &
  Partial<Pick<Args, NotOfWeights & keyof Args>>;

/** What `attnWeights` takes: the arguments of `attn`, `attnVarlen` or `attnWithKvCache`, and which rows. */
export type AttnWeightsArgs = ChosenRows &
  (WeightsOf<AttnArgs> | WeightsOf<AttnVarlenArgs> | WeightsOf<AttnWithKvCacheArgs>);

/** Arguments of each kind, as they are used. */
export type DenseWeightsArgs = ChosenRows & Omit<WeightsOf<AttnArgs>, NotOfWeights>;
export type VarlenWeightsArgs = ChosenRows & Omit<WeightsOf<AttnVarlenArgs>, NotOfWeights>;
export type CacheWeightsArgs = ChosenRows & Omit<WeightsOf<AttnWithKvCacheArgs>, NotOfWeights>;

/** What `attnWeights` returns. */
export interface AttnWeightsResult {
  /** f32 [rows, Hq, keys] */
  readonly weights: Tensor;
}
