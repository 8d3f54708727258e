import { checkNames } from '../core/checkArguments.js';
import { fail } from '../core/errors.js';
import { ManagedSequence } from './managedSequence.js';
import type { PageStore } from './pageStore.js';
import type { PlannedMoves } from './pagePlanner.js';
import { NULL_PAGE } from './pool/pagePool.js';
import { heldBefore, type PageGap, type PageTable } from './pool/pageTable.js';
import { checkInt32, checkTokens } from './pool/pagingChecks.js';
import type { PinId, SequenceId } from './sequenceRegistry.js';

/** What to save: a sequence, or what can be found of these tokens, of sequences that have ended too. */
export type SaveArgs =
  | { readonly sequence: SequenceId; readonly tokens?: undefined; readonly salt?: undefined }
  | { readonly sequence?: undefined; readonly tokens: ArrayLike<number>; readonly salt?: number | undefined };

/** What a sequence is, without its pages. A page manager restores it from that and the contents of its pages. */
export interface SequenceState {
  readonly tokens: Int32Array;
  readonly salt: number;
  readonly isPrivate: boolean;
  /** The first tokens, whose keys and values are in pages. */
  readonly nComputed: number;
  /** The first tokens that were computed at some time, at least `nComputed`. */
  readonly nOnceComputed: number;
  /** The first column behind those whose pages have left the window, 0 if none have. From there on all have a page. */
  readonly firstColumn: number;
  /** Columns before `firstColumn` that have a page all the same: those of first keys. Default 0 */
  readonly nKeptColumns?: number | undefined;
}

/** The columns without a page. */
export function gapOf({
  firstColumn,
  nKeptColumns = 0,
}: Pick<SequenceState, 'firstColumn' | 'nKeptColumns'>): PageGap {
  return { start: nKeptColumns, end: firstColumn };
}

function columnsOf({ start, end }: PageGap): Pick<SequenceState, 'firstColumn' | 'nKeptColumns'> {
  return { firstColumn: end, nKeptColumns: start };
}

/** Names of the arguments, and that they are one of the two kinds. */
export const SAVE_NAMES = ['sequence', 'tokens', 'salt'] as const;

/** Checks what to save, but for the sequence. */
export function checkSave(caller: string, args: SaveArgs): void {
  checkNames(caller, args, SAVE_NAMES);
  const { sequence, tokens, salt } = args as Partial<Record<(typeof SAVE_NAMES)[number], unknown>>;
  if ((sequence === undefined) === (tokens === undefined))
    fail('argument', caller, 'pass one of sequence and tokens.');
  if (tokens === undefined && salt !== undefined)
    fail('argument', caller, 'salt goes with tokens. A sequence has its own.');
  if (tokens !== undefined) checkTokens(caller, tokens as ArrayLike<number>);
  if (salt !== undefined) checkInt32(caller, 'salt', salt as number);
}

/**
 * A sequence as it was when `PageManager.save` was called. Its pages are held like pinned ones until `release`, so the
 * sequence itself may go on, end or be evicted; only `reset` takes them away.
 */
export class SavedPages implements SequenceState {
  readonly tokens: Int32Array;
  readonly salt: number;
  readonly isPrivate: boolean;
  readonly nComputed: number;
  readonly nOnceComputed: number;
  readonly firstColumn: number;
  readonly nKeptColumns: number;
  /**
   * How many pages there are: `nKeptColumns` columns, and those from `firstColumn` to the one of the last token that is
   * computed.
   */
  readonly nPages: number;
  /**
   * If the sequence was swapped out, its host pages. These are not held: read them before anything else is swapped out.
   */
  readonly hostPages: readonly number[] | undefined;
  readonly #store: PageStore;
  readonly #table: PageTable;
  #pin: PinId | undefined;

  /** @internal */
  constructor(store: PageStore, state: SequenceState, held: PageTable | readonly number[]) {
    this.tokens = state.tokens;
    this.salt = state.salt;
    this.isPrivate = state.isPrivate;
    this.nComputed = state.nComputed;
    this.nOnceComputed = state.nOnceComputed;
    this.firstColumn = state.firstColumn;
    this.nKeptColumns = state.nKeptColumns ?? 0;
    this.nPages = heldBefore(gapOf(state), Math.ceil(state.nComputed / store.pageSize));
    this.#store = store;
    const isOnHost = !('gap' in held);
    this.hostPages = isOnHost ? held : undefined;
    this.#table = isOnHost ? store.newTable() : held;
    if (!isOnHost) this.#pin = store.pins.add(this.#table);
  }

  /** Tokens in a page. */
  get pageSize(): number {
    return this.#store.pageSize;
  }

  /**
   * Where the pages of a sequence that was not swapped out are at present; `resize` may move them.
   *
   * @throws PageflashError `argument` if a reset has taken them, or they are released
   */
  get pages(): readonly number[] {
    if (this.#pin === undefined || this.#table.nHeld !== this.nPages)
      fail(
        'argument',
        'PageManager.save',
        'the pages to save are held no more, since a reset took them or they were released. Save what is there now.',
      );
    return this.#table.heldPages();
  }

  /** Lets the pages be reused. A second call does nothing. O(pages) */
  release(): void {
    if (this.#pin !== undefined) this.#store.unpin(this.#pin);
    this.#pin = undefined;
  }
}

/** Saves a sequence that has nothing in flight. */
export function saveSequence(store: PageStore, sequence: ManagedSequence): SavedPages {
  const { salt, isPrivate, nComputed, nOnceComputed, swapped, table } = sequence;
  const tokens = sequence.tokens.slice(0, sequence.nTokens);
  const state = { tokens, salt, isPrivate, nComputed, nOnceComputed, ...columnsOf(sequence.gap) };
  return new SavedPages(store, state, swapped ? [...swapped.hostPages] : table.clone());
}

/** Saves what can be found of the tokens, in whole pages. */
export function saveFound(store: PageStore, tokens: ArrayLike<number>, salt: number): SavedPages {
  const prompt = new ManagedSequence({ id: -1, tokens, table: store.newTable(), salt, isPrivate: false });
  const table = store.pinnedTable(prompt);
  const state = {
    tokens: Int32Array.from(tokens),
    salt,
    isPrivate: false,
    nComputed: table.nTokens,
    nOnceComputed: table.nTokens,
    ...columnsOf(table.gap),
  };
  return new SavedPages(store, state, table);
}

/**
 * Refuses a sequence whose content may still have to be moved by the planned step, to the host or from there: until the
 * step is committed, nothing tells whether that has happened.
 */
export function refuseMoving(caller: string, sequence: ManagedSequence, step: PlannedMoves): void {
  const { swapped, table, id } = sequence;
  const arriving = new Set((swapped ? step.swapsOut : step.swapsIn).map(([, target]) => target));
  const held = [...(swapped?.hostPages ?? table.heldPages())];
  if (held.some((page) => page !== NULL_PAGE && arriving.has(page)))
    fail('argument', caller, `the planned step swaps sequence ${id}. Commit the step first.`);
}
