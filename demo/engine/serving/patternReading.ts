import type { Gpu } from '../gpu/gpu.js';
import type { WatchedRows } from './attention.js';

export interface PatternOptions {
  readonly layer: number;
  /** Default: all heads. */
  readonly head?: number | undefined;
}

/** How much the last tokens of a prompt look at each of its tokens, in one layer. */
export interface AttentionPattern {
  /** f32 [rows, heads, tokens], a probability each. Row i is of the token at `firstRow` + i. */
  readonly weights: Float32Array<ArrayBuffer>;
  readonly firstRow: number;
  readonly nRows: number;
  readonly nHeads: number;
}

export interface PatternReadingArgs extends PatternOptions {
  readonly nTokens: number;
  /** Of the model. */
  readonly nHeads: number;
  readonly resolve: (pattern: AttentionPattern) => void;
  /** Ends it with an error. */
  readonly reject: (reason: Error) => void;
}

/** As many rows as a person looks at, and fewer where weights would take more memory than this. */
const MAX_ROWS = 64;
const MAX_BYTES = 32 << 20;

/** Attention weights of a prompt, as steps compute them. */
export class PatternReading {
  readonly reject: (reason: Error) => void;
  readonly #gpu: Gpu;
  readonly #args: PatternReadingArgs;
  readonly #nRows: number;
  /** f32 [rows, nHeads, nTokens]. The engine frees it if the reading never ends. */
  readonly #weights: GPUBuffer;

  constructor(gpu: Gpu, args: PatternReadingArgs) {
    const { nTokens, nHeads, reject } = args;
    const rowBytes = nHeads * nTokens * 4;
    this.reject = reject;
    this.#gpu = gpu;
    this.#args = args;
    this.#nRows = Math.min(nTokens, MAX_ROWS, Math.max(1, Math.floor(MAX_BYTES / rowBytes)));
    this.#weights = gpu.buffer('attention weights', this.#nRows * rowBytes);
  }

  get #firstRow(): number {
    return this.#args.nTokens - this.#nRows;
  }

  /** The rows to be told of a step that computes the tokens from `position` on in its rows from `first` to `end`. */
  watch(position: number, { first, end }: { readonly first: number; readonly end: number }): WatchedRows {
    const { layer, nHeads, nTokens } = this.#args;
    const from = Math.max(position, this.#firstRow);
    const n = Math.max(0, position + end - first - from);
    const offset = (from - this.#firstRow) * nHeads * nTokens;
    return {
      layer,
      rows: Array.from({ length: n }, (_, i) => first + from - position + i),
      weights: { buffer: this.#weights, dtype: 'f32', shape: [n, nHeads, nTokens], offset },
    };
  }

  /** Takes the weights once so many tokens are computed that they are there. Returns whether they are. */
  async take(nComputed: number): Promise<boolean> {
    const { nTokens, nHeads, head, resolve } = this.#args;
    if (nComputed < nTokens) return false;
    const nRows = this.#nRows;
    const firstRow = this.#firstRow;
    const all = await this.#gpu.settle(this.#gpu.readFloats(this.#weights, nRows * nHeads * nTokens * 4));
    this.#gpu.release(this.#weights);
    if (head === undefined) {
      resolve({ weights: all, firstRow, nRows, nHeads });
      return true;
    }
    const weights = new Float32Array(nRows * nTokens);
    for (let row = 0; row < nRows; row++) {
      const start = (row * nHeads + head) * nTokens;
      weights.set(all.subarray(start, start + nTokens), row * nTokens);
    }
    resolve({ weights, firstRow, nRows, nHeads: 1 });
    return true;
  }
}
