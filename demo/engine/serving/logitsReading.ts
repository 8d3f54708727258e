export interface LogitsReadingArgs {
  readonly nTokens: number;
  readonly vocabSize: number;
  /** Gets the logits, f32 [tokens, vocabSize]. */
  readonly resolve: (logits: Float32Array<ArrayBuffer>) => void;
  /** Ends it with an error. */
  readonly reject: (reason: Error) => void;
}

/** Logits of a prompt, as steps compute them. */
export class LogitsReading {
  readonly reject: (reason: Error) => void;
  readonly #resolve: (logits: Float32Array<ArrayBuffer>) => void;
  readonly #logits: Float32Array<ArrayBuffer>;
  readonly #vocabSize: number;

  constructor({ nTokens, vocabSize, resolve, reject }: LogitsReadingArgs) {
    this.reject = reject;
    this.#resolve = resolve;
    this.#logits = new Float32Array(nTokens * vocabSize);
    this.#vocabSize = vocabSize;
  }

  /** Takes the logits of the positions from `first` on, as often as they are computed. Returns whether these are all. */
  take(first: number, logits: Float32Array): boolean {
    const start = first * this.#vocabSize;
    this.#logits.set(logits, start);
    const isDone = start + logits.length === this.#logits.length;
    if (isDone) this.#resolve(this.#logits);
    return isDone;
  }
}
