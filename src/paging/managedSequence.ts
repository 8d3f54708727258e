import type { SequenceId } from './registry.js';
import { grown } from './pool/intBuffer.js';
import { NULL_PAGE } from './pool/pageList.js';
import type { PageTable } from './pool/pageTable.js';
import type { SwappedPages } from './swapping.js';
import { NO_PREFIX, type Prompt } from './prefix/prefixTree.js';

/** What one may know of a sequence. Changes with it. */
export interface SequenceView {
  readonly id: SequenceId;
  /** Tokens that are known. */
  readonly nTokens: number;
  /** The first of them, whose keys and values are in the cache. */
  readonly nComputed: number;
  /** Those after them, which the current step computes. */
  readonly nInFlight: number;
  /** Whether its pages are in host memory. */
  readonly isSwapped: boolean;
  /** Whether there is nothing to compute: every token was computed once, whatever has become of the pages since. */
  readonly isResting: boolean;
  /** Pages that it holds, shared ones included. */
  readonly nPages: number;
  token(position: number): number;
}

export interface ManagedSequenceArgs {
  readonly id: SequenceId;
  readonly tokens: ArrayLike<number>;
  readonly table: PageTable;
  readonly salt: number;
  readonly isPrivate: boolean;
}

/** A sequence with its tokens, and how far each thing was done that is to be done with them. */
export class ManagedSequence implements SequenceView, Prompt {
  readonly id: SequenceId;
  readonly table: PageTable;
  readonly salt: number;
  /** Neither looks for pages nor publishes its own. */
  readonly isPrivate: boolean;
  nComputed = 0;
  nInFlight = 0;
  /** Tokens, the first ones, that were computed at some time, wherever their pages are now. */
  nReached = 0;
  /** Whether it has looked into the prefix cache, so that it counts for the hit rate. */
  hasAsked = false;
  /** Pages that are published, from the first on. */
  nPublished = 0;
  /** Their tokens, which it holds in the prefix cache. */
  prefix = NO_PREFIX;
  /** A page that is being copied and nobody else holds. */
  copySource = NULL_PAGE;
  swapped: SwappedPages | undefined;
  #tokens: Int32Array;
  #nTokens: number;
  #nTruncations = 0;

  constructor({ id, tokens, table, salt, isPrivate }: ManagedSequenceArgs) {
    this.id = id;
    this.table = table;
    this.salt = salt;
    this.isPrivate = isPrivate;
    this.#tokens = new Int32Array(tokens.length + ROOM);
    this.#tokens.set(tokens);
    this.#nTokens = tokens.length;
  }

  /** The tokens, and then anything. */
  get tokens(): Int32Array {
    return this.#tokens;
  }

  get nTokens(): number {
    return this.#nTokens;
  }

  get isSwapped(): boolean {
    return this.swapped !== undefined;
  }

  get isResting(): boolean {
    return this.nReached === this.#nTokens;
  }

  /** Whether it has no pages anywhere, so that it starts with a look into the prefix cache. */
  get isFresh(): boolean {
    return this.nComputed === 0 && this.table.nPages === 0;
  }

  get nPages(): number {
    return this.table.nPages - this.table.firstPage;
  }

  /** Another number whenever tokens may have been replaced. */
  get nTruncations(): number {
    return this.#nTruncations;
  }

  token(position: number): number {
    return this.#tokens[position]!;
  }

  append(token: number): void {
    if (this.#nTokens === this.#tokens.length) this.#tokens = grown(this.#tokens);
    this.#tokens[this.#nTokens++] = token;
  }

  /** The first `nTokens` are computed. */
  reach(nTokens: number): void {
    this.nComputed = nTokens;
    this.nReached = Math.max(this.nReached, nTokens);
  }

  /** Forget the tokens from `nTokens` on. */
  truncate(nTokens: number): void {
    if (nTokens < this.#nTokens) this.#nTruncations++;
    this.#nTokens = nTokens;
    this.nReached = Math.min(this.nReached, nTokens);
  }

  /** Another sequence with the same tokens. What it shares besides its pages here is to be held by the caller. */
  fork(id: SequenceId): ManagedSequence {
    const tokens = this.#tokens.subarray(0, this.#nTokens);
    const { salt, isPrivate } = this;
    const copy = new ManagedSequence({ id, tokens, table: this.table.clone(), salt, isPrivate });
    copy.nComputed = this.nComputed;
    copy.nReached = this.nReached;
    copy.nPublished = this.nPublished;
    copy.prefix = this.prefix;
    copy.swapped = this.swapped;
    copy.hasAsked = this.hasAsked;
    return copy;
  }
}

// Tokens that an answer has at first room for.
const ROOM = 256;
