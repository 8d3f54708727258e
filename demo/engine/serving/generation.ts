import type { SequenceId } from 'pageflash';
import type { Sampling } from '../kernels/sampling.js';

/** Why a generation has ended. */
export type EndReason = 'stop' | 'length' | 'cancelled' | 'failed';

export interface GenerationArgs {
  readonly sequence: SequenceId;
  readonly sampling: Sampling;
  readonly maxNewTokens: number;
  readonly stopIds: ReadonlySet<number>;
  readonly onCancel: (generation: Generation) => void;
}

/**
 * The tokens that follow a prompt, as they come: `for await (const token of generation)`. A stop token is not among them.
 */
export class Generation implements AsyncIterable<number> {
  readonly sequence: SequenceId;
  readonly sampling: Sampling;
  readonly maxNewTokens: number;
  /** Tokens so far. */
  readonly tokens: number[] = [];
  readonly #stopIds: ReadonlySet<number>;
  readonly #onCancel: (generation: Generation) => void;
  #end: EndReason | undefined;
  #error: Error | undefined;
  /** Readers that wait for the next token. */
  #readers: (() => void)[] = [];

  constructor({ sequence, sampling, maxNewTokens, stopIds, onCancel }: GenerationArgs) {
    this.sequence = sequence;
    this.sampling = sampling;
    this.maxNewTokens = maxNewTokens;
    this.#stopIds = stopIds;
    this.#onCancel = onCancel;
  }

  /** Why it has ended; undefined while it goes on. */
  get end(): EndReason | undefined {
    return this.#end;
  }

  get stopIds(): ReadonlySet<number> {
    return this.#stopIds;
  }

  /** Ends it now. The tokens so far stay. */
  cancel(): void {
    if (this.#end !== undefined) return;
    this.#finish('cancelled');
    this.#onCancel(this);
  }

  /** Takes the next token. Returns whether it has ended with that. */
  take(token: number): boolean {
    if (this.#stopIds.has(token)) {
      this.#finish('stop');
    } else {
      this.tokens.push(token);
      if (this.tokens.length === this.maxNewTokens) this.#finish('length');
    }
    this.#wake();
    return this.#end !== undefined;
  }

  /** Ends it with an error, which the reader of its tokens gets. */
  fail(error: Error): void {
    if (this.#end !== undefined) return;
    this.#error = error;
    this.#finish('failed');
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<number> {
    for (let i = 0; ;) {
      while (i < this.tokens.length) yield this.tokens[i++]!;
      if (this.#error) throw this.#error;
      if (this.#end !== undefined) return;
      await new Promise<void>((resolve) => this.#readers.push(resolve));
    }
  }

  /** Resolves with all tokens once it has ended. */
  async done(): Promise<readonly number[]> {
    for await (const _ of this);
    return this.tokens;
  }

  #finish(end: EndReason): void {
    this.#end = end;
    this.#wake();
  }

  #wake(): void {
    for (const reader of this.#readers.splice(0)) reader();
  }
}
