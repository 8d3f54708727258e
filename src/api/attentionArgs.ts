import type { Floats, Tensor } from '../core/tensor.js';

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
   * [Hq]: one more score a head, which joins the softmax's denominator only; −∞ for a head without one. Types as for
   * `alibiSlopes`.
   */
  readonly sinks?: Floats | undefined;
  /**
   * c > 0 lets a query see keys of its own chunk only: of c tokens, counted from the first one that `cacheLeftpad` does
   * not hide. Default 0: off.
   */
  readonly attentionChunk?: number | undefined;
  /** Into how many parts to split the keys where that is worth while; 0 chooses. Default 0. */
  readonly numSplits?: number | undefined;
  /** Whether to give `lse` back. Default false. */
  readonly returnLse?: boolean | undefined;
  /** Where to write; a tensor of q's type. Default: a new one, whose buffer the caller destroys. */
  readonly out?: Tensor | undefined;
  /** Where to write the lse, f32; implies `returnLse`. Default: a new one if asked for. */
  readonly lse?: Tensor | undefined;
  /** A pass to record into, which the caller ends and submits. Default: the call submits its own work at once. */
  readonly pass?: GPUComputePassEncoder | undefined;
}

export interface AttentionResult {
  readonly out: Tensor;
  /** f32, natural log of the summed exponentials of a row's scores; −∞ for a row that sees no key. */
  readonly lse?: Tensor;
}

export const OPTIONS: Readonly<Record<keyof AttentionOptions, true>> = {
  softmaxScale: true,
  causal: true,
  windowSize: true,
  softcap: true,
  alibiSlopes: true,
  sinks: true,
  attentionChunk: true,
  numSplits: true,
  returnLse: true,
  out: true,
  lse: true,
  pass: true,
};
