import {
  planAttnWithKvCache,
  type AttentionPlan,
  type AttnWithKvCacheArgs,
  type Ints,
  type Runtime,
  type Tensor,
} from '../../src/index.js';
import type { TinyLlama } from './tinyLlama.js';

export interface CachedLlamaArgs {
  readonly runtime: Runtime;
  readonly model: TinyLlama;
  /** The cache of each layer. */
  readonly layers: readonly { readonly kCache: Tensor; readonly vCache: Tensor }[];
  readonly numSplits: number;
}

/** The sequences of a step: which of its tokens are theirs, and where the tokens before lie. */
export interface StepSequences {
  /** [B + 1]: running sums of the tokens */
  readonly cuSeqlensQ: Ints;
  readonly cacheSeqlens: Ints;
  readonly blockTable?: Ints | undefined;
}

/** TinyLlama over a cache: attention is planned once a step, and recorded once a layer. */
export class CachedLlama {
  readonly #args: CachedLlamaArgs;
  #plan: AttentionPlan<AttnWithKvCacheArgs> | undefined;

  constructor(args: CachedLlamaArgs) {
    this.#args = args;
  }

  /** Compute the next tokens of some sequences, end to end. */
  step(tokens: ArrayLike<number>, { cuSeqlensQ, cacheSeqlens, blockTable }: StepSequences): void {
    const { runtime, model, layers, numSplits } = this.#args;
    const tensors = model.tensors(tokens.length);
    const changes = { ...tensors, cuSeqlensQ, cuSeqlensKNew: cuSeqlensQ, cacheSeqlens, blockTable };
    if (this.#plan) {
      this.#plan.update(changes);
    } else {
      const { rotaryCos, rotarySin } = model;
      const rotary = { rotaryCos, rotarySin, rotaryInterleaved: false };
      const always = { ...layers[0]!, ...rotary, causal: true, numSplits };
      this.#plan = planAttnWithKvCache(runtime, { ...changes, ...always });
    }
    const plan = this.#plan;
    model.step(tokens, (layer, pass) => plan.record({ ...layers[layer], pass }));
  }

  destroy(): void {
    this.#plan?.destroy();
  }
}
