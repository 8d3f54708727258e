import { fail } from '../core/errors.js';
import { grown } from './pool/intArrays.js';
import { NULL_PAGE } from './pool/pagePool.js';
import type { PageGap, PageTable } from './pool/pageTable.js';
import { checkBoolean, checkInt32, checkTokens } from './pool/pagingChecks.js';
import type { ChangingPrompt } from './prefix/prefixCache.js';
import { NO_PREFIX } from './prefix/prefixTree.js';
import type { PinId, SequenceId } from './sequenceRegistry.js';

export interface AddOptions {
  /** Any i32. Pages are shared only among equal salts: one for each adapter, or for each customer. Default 0 */
  readonly salt?: number;
  /** Whether it neither finds pages nor lets others find its own. Default false */
  readonly isPrivate?: boolean;
}

/** The state of a sequence, read-only. Changes with it. */
export interface SequenceView {
  readonly id: SequenceId;
  /** Tokens that are known. */
  readonly nTokens: number;
  /** The first of them, whose keys and values are in the cache. */
  readonly nComputed: number;
  /** The tokens after them, which the current step computes. */
  readonly nInFlight: number;
  /** While its last token is not known: the index of that token among the samples of the last step. Otherwise −1 */
  readonly unknownSample: number;
  /** Whether its pages are in host memory. */
  readonly isSwapped: boolean;
  /** Whether there is nothing to compute: every token was computed once, whatever has become of the pages since. */
  readonly isResting: boolean;
  /** Pages that it holds, shared ones included. */
  readonly nPages: number;
  token(position: number): number;
}

/** What of a sequence is in host memory: its columns without a gap. Forks hold the same host pages. */
export interface SwappedPages {
  readonly gap: PageGap;
  readonly hostPages: Int32Array;
}

export interface ManagedSequenceArgs {
  readonly id: SequenceId;
  readonly tokens: ArrayLike<number>;
  readonly table: PageTable;
  readonly salt: number;
  readonly isPrivate: boolean;
}

/** A sequence of a page manager: its tokens, its pages, and how many of them are computed and published. */
export class ManagedSequence implements SequenceView, ChangingPrompt {
  readonly id: SequenceId;
  readonly table: PageTable;
  readonly salt: number;
  readonly isPrivate: boolean;
  nComputed = 0;
  nInFlight = 0;
  unknownSample = -1;
  /** The first tokens that were computed at some time, wherever their pages are now. */
  nOnceComputed = 0;
  /** Whether its first search is in the hit rate. */
  isCounted = false;
  /** Pages that are published, from the first on. */
  nPublished = 0;
  /** The prefix of the published pages, which it holds in the prefix cache. */
  prefix = NO_PREFIX;
  /** A page that is being copied and that the copy holds, or `NULL_PAGE`. */
  copySource = NULL_PAGE;
  swapped: SwappedPages | undefined;
  /** While its pages are written by a restore: the pin by which a planner counts them as taken. */
  restoring: PinId | undefined;
  #tokens: Int32Array;
  #nTokens: number;
  #nTruncations = 0;

  constructor({ id, tokens, table, salt, isPrivate }: ManagedSequenceArgs) {
    this.id = id;
    this.table = table;
    this.salt = salt;
    this.isPrivate = isPrivate;
    this.#tokens = new Int32Array(tokens.length + SPARE_TOKENS);
    this.#tokens.set(tokens);
    this.#nTokens = tokens.length;
  }

  /** The first `nTokens` are the tokens; the rest means nothing. */
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
    return this.nOnceComputed === this.#nTokens;
  }

  /** Whether it has no pages anywhere, so that it starts with a search in the prefix cache. */
  get isFresh(): boolean {
    return this.nComputed === 0 && this.table.nPages === 0;
  }

  get nPages(): number {
    return this.table.nHeld;
  }

  /** The columns of which it has no page, here or on the host. */
  get gap(): PageGap {
    return (this.swapped ?? this.table).gap;
  }

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

  /** Appends a token that is not known yet: number `sample` of those that the last step samples. */
  appendUnknown(sample: number): void {
    this.append(UNKNOWN_TOKEN);
    this.unknownSample = sample;
  }

  /** Fills in the token that was not known. */
  resolve(token: number): void {
    this.#tokens[this.#nTokens - 1] = token;
    this.unknownSample = -1;
  }

  /** The first `nTokens` are computed. */
  setComputed(nTokens: number): void {
    this.nComputed = nTokens;
    this.nOnceComputed = Math.max(this.nOnceComputed, nTokens);
  }

  /** Keeps the first `nTokens`. */
  truncate(nTokens: number): void {
    if (nTokens < this.#nTokens) this.#nTruncations++;
    this.#nTokens = nTokens;
    this.nOnceComputed = Math.min(this.nOnceComputed, nTokens);
  }

  /** A second sequence with the same tokens and pages. The caller holds for it the prefix and the host pages. */
  fork(id: SequenceId): ManagedSequence {
    const tokens = this.#tokens.subarray(0, this.#nTokens);
    const { salt, isPrivate } = this;
    const copy = new ManagedSequence({ id, tokens, table: this.table.clone(), salt, isPrivate });
    copy.nComputed = this.nComputed;
    copy.nOnceComputed = this.nOnceComputed;
    copy.nPublished = this.nPublished;
    copy.prefix = this.prefix;
    copy.swapped = this.swapped;
    copy.isCounted = this.isCounted;
    return copy;
  }
}

// Tokens that a new sequence has room for besides its prompt.
const SPARE_TOKENS = 256;

// What stands in place of a token that is not known. No page with it is ever published, nor searched.
const UNKNOWN_TOKEN = -1;

/** Checks what a sequence starts with. */
export function checkStart(
  caller: string,
  tokens: ArrayLike<number>,
  { salt = 0, isPrivate = false }: AddOptions,
): void {
  checkTokens(caller, tokens);
  checkInt32(caller, 'salt', salt);
  checkBoolean(caller, 'isPrivate', isPrivate);
}

/** Refuses a sequence whose pages are in host memory. */
export function refuseSwapped(caller: string, { id, isSwapped }: SequenceView): void {
  if (isSwapped) fail('argument', caller, `sequence ${id} is in host memory. Swap it in first.`);
}

/** Refuses a sequence whose last token is not known yet. */
export function refuseUnknown(caller: string, { id, unknownSample }: SequenceView): void {
  if (unknownSample >= 0)
    fail('argument', caller, `the last token of sequence ${id} is not known yet. Call resolve first.`);
}

/** Refuses a sequence that the current step computes. */
export function refuseInFlight(caller: string, { id, nInFlight }: SequenceView): void {
  if (nInFlight > 0)
    fail('argument', caller, `sequence ${id} has ${nInFlight} tokens in flight. Commit them first.`);
}
