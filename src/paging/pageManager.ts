import { checkNames, namesOf } from '../core/checkNames.js';
import { describe } from '../core/describe.js';
import { fail } from '../core/errors.js';
import { BatchArrays, type Batch } from './pool/batch.js';
import { checkBoolean, checkCount, checkList, checkPoolNames, checkPoolSize, checkTokens } from './check.js';
import { checkReset, checkStart, refuseInFlight } from './checkSequence.js';
import { ManagedSequence, type SequenceView } from './managedSequence.js';
import { canFit, nFitting, nMissing, nMissingInAll, nToCompute } from './pageDemand.js';
import type { PageEvent } from './pageEvents.js';
import { snapshotOf, type PageSnapshot } from './pageSnapshot.js';
import { PageStore } from './pageStore.js';
import type { PageCopy, PageTable } from './pool/pageTable.js';
import { usageOf, type PageUsage } from './pageUsage.js';
import { chooseVictims, type VictimsArgs } from './victims.js';
import type { PinId } from './pins.js';
import { Registry, type SequenceId } from './registry.js';
import { dropHostPages, goBackSwapped, swapIn, swapOut } from './swapping.js';

export interface PageManagerOptions {
  /** Pages in the pool. */
  readonly nPages: number;
  /** Tokens in a page. */
  readonly pageSize: number;
  /** Pages in host memory, for `swapOut`. Default 0 */
  readonly nHostPages?: number;
  /** Keys that a query sees to its left in every layer, as `windowSize[0]` of the attention. Default −1: all */
  readonly window?: number;
  /** Whether prompts find what others have computed. Default true */
  readonly isCaching?: boolean;
  /** Hears of each page whose content can be found from now on, or no more. It must not call the manager, nor throw. */
  readonly onEvent?: (event: PageEvent) => void;
}

export interface AddOptions {
  /** Any i32. Pages are shared only among equal salts: one for each adapter, or for each customer. Default 0 */
  readonly salt?: number;
  /** Neither find pages nor let one's own be found. Default false */
  readonly isPrivate?: boolean;
}

export interface ResetOptions {
  /** Whether pages in host memory still hold what they held, as when only the device was lost. Default false */
  readonly keepSwapped?: boolean;
}

const NAMES = namesOf<PageManagerOptions>({
  nPages: true,
  pageSize: true,
  nHostPages: true,
  window: true,
  isCaching: true,
  onEvent: true,
});

const ADD_NAMES = namesOf<AddOptions>({ salt: true, isPrivate: true });

/**
 * Keeps the pages of sequences whose tokens it knows, so that it can share what is equal, take back what is no longer
 * seen, and move a sequence out of the way. It deals in ids of pages; whoever owns the memory copies and computes.
 *
 * A sequence has tokens; the first `nComputed` of them are in the cache. A step reserves pages for some of the next
 * ones, computes them, and commits:
 *
 * ```ts
 * const pages = new PageManager({ nPages: 1024, pageSize: 16 });
 * const chat = pages.add(prompt);
 * const copies = pages.reserve(chat, 512); // pages for up to 512 tokens that nobody has computed before
 * if (copies === 'full') …                 // nothing has changed: release, evict or swap out another one
 * cache.copyPages(copies);
 * const logits = model.run(pages.batch([chat]));
 * pages.commit(chat);                      // now others may find these pages
 * pages.append(chat, [sample(logits)]);
 * ```
 *
 * A full pool, here or on the host, is an answer, `'full'`. Wrong arguments throw `PageflashError` with code `argument`.
 * Both change nothing. `StepPlanner` does all this for many sequences at once.
 */
export class PageManager {
  readonly #store: PageStore;
  readonly #arrays: BatchArrays;
  readonly #batchTables: PageTable[] = [];
  readonly #batchCounts: number[] = [];
  readonly #sequences = new Registry<ManagedSequence>('PageManager');
  readonly #isCaching: boolean;
  #nAsked = 0;
  #nHit = 0;

  /** @throws PageflashError `argument` if a size is out of range, an option of the wrong kind, or unknown */
  constructor(options: PageManagerOptions) {
    checkPoolNames('PageManager', options, NAMES);
    const { nPages, pageSize, nHostPages = 0, window = -1, isCaching = true, onEvent } = options;
    checkPoolSize('PageManager', nPages, pageSize);
    checkCount('PageManager', 'nHostPages', nHostPages);
    checkCount('PageManager', 'window', window, -1);
    checkBoolean('PageManager', 'isCaching', isCaching);
    if (onEvent !== undefined && typeof onEvent !== 'function')
      fail('argument', 'PageManager', `onEvent must be a function, not ${describe(onEvent)}.`);
    this.#store = new PageStore({ nPages, pageSize, nHostPages, window, isCaching, onEvent });
    this.#arrays = new BatchArrays(pageSize);
    this.#isCaching = isCaching;
  }

  /** Tokens in a page. */
  get pageSize(): number {
    return this.#store.pageSize;
  }

  /** Pages in the pool. */
  get nPages(): number {
    return this.#store.pool.nPages;
  }

  /** Pages that nobody holds. Some of them may contain what can still be found. */
  get nFreePages(): number {
    return this.#store.pool.nFree;
  }

  /** A sequence as it is, and as it will be: the view changes with it. */
  sequence(sequence: SequenceId): SequenceView {
    return this.#sequences.find('sequence', sequence);
  }

  /**
   * Start a sequence. It has no pages before the first `reserve`. O(tokens)
   *
   * Equal tokens are taken for equal content. Give what is no text, as an image, numbers of its own. There may be none,
   * if some are to be appended.
   */
  add(tokens: ArrayLike<number>, options: AddOptions = {}): SequenceId {
    checkNames('PageManager.add', options, ADD_NAMES);
    checkStart('PageManager.add', tokens, options);
    const { salt = 0, isPrivate = false } = options;
    return this.#sequences.add(
      new ManagedSequence({
        id: this.#sequences.nextId,
        tokens,
        table: this.#store.newTable(),
        salt,
        isPrivate: isPrivate || !this.#isCaching,
      }),
    );
  }

  /** Tokens to compute next: what was sampled, what a draft proposes, what a user has added. O(tokens) */
  append(sequence: SequenceId, tokens: ArrayLike<number>): void {
    const found = this.#findSettled('append', sequence);
    checkTokens('PageManager.append', tokens);
    for (let i = 0; i < tokens.length; i++) found.append(tokens[i]!);
  }

  /**
   * Pages for the next `nTokens` tokens of a sequence, at most and by default all that it has. They are in flight until
   * `commit`. A sequence without pages first takes over what others have computed, at most all but its last token.
   *
   * Returns what must be copied before anything is written, or `'full'`. O(pages), and O(tokens) for the search
   */
  reserve(sequence: SequenceId, nTokens?: number): readonly PageCopy[] | 'full' {
    const found = this.#findSettled('reserve', sequence);
    const nWanted = nTokens === undefined ? found.nTokens : nTokens;
    checkCount('PageManager.reserve', 'nTokens', nWanted);
    refuseSwapped('reserve', found);
    if (nMissing(this.#store, found, nWanted) > this.#store.pool.nFree) return 'full';
    if (found.isFresh) {
      this.#store.revive(found);
      this.#countHit(found);
    }
    const end = Math.min(found.nComputed + nWanted, found.nTokens);
    found.nInFlight = end - found.nComputed;
    return this.#store.grow(found, end);
  }

  /**
   * The tokens in flight are computed, but for the last `nRejected`, which the sequence loses. O(pages filled)
   *
   * Full pages can be found from now on. Where others had computed the same before, the sequence goes on with theirs.
   */
  commit(sequence: SequenceId, nRejected = 0): void {
    const found = this.#sequences.find('commit', sequence);
    checkCount('PageManager.commit', 'nRejected', nRejected, 0, found.nInFlight);
    if (found.nInFlight === 0) return;
    const nComputed = found.nComputed + found.nInFlight;
    if (nRejected > 0 && nComputed < found.nTokens) {
      fail(
        'argument',
        'PageManager.commit',
        `sequence ${sequence} has ${found.nTokens - nComputed} tokens after those in flight, so none of these can be rejected. Truncate it instead.`,
      );
    }
    found.reach(nComputed - nRejected);
    found.nInFlight = 0;
    this.#store.dropCopySource(found);
    if (nRejected > 0) {
      found.truncate(found.nComputed);
      found.table.shrink(found.nComputed);
    }
    this.#store.publish(found);
    this.#store.reclaim(found);
  }

  /**
   * A sequence with the first `nTokens` of another one, by default with all, in the same pages, here or on the host.
   * O(tokens)
   */
  fork(sequence: SequenceId, nTokens?: number): SequenceId {
    const found = this.#findSettled('fork', sequence);
    const nKept = nTokens === undefined ? found.nTokens : nTokens;
    checkCount('PageManager.fork', 'nTokens', nKept, 0, found.nTokens);
    const copy = found.fork(this.#sequences.nextId);
    this.#store.share(copy);
    this.#truncate(copy, nKept);
    return this.#sequences.add(copy);
  }

  /**
   * Keep the first `nTokens`, here or on the host. If that takes pages which have left the window, all is computed again.
   * To sample anew after a token, drop that one too and append it again: only what is computed gives logits.
   * O(pages given back)
   */
  truncate(sequence: SequenceId, nTokens: number): void {
    const found = this.#findSettled('truncate', sequence);
    checkCount('PageManager.truncate', 'nTokens', nTokens, 0, found.nTokens);
    this.#truncate(found, nTokens);
  }

  /** End a sequence, in flight or not. Its pages can be found until they are reused. O(pages) */
  release(sequence: SequenceId): void {
    this.#giveBack(this.#sequences.find('release', sequence));
    this.#sequences.delete(sequence);
  }

  /** Take the pages of a sequence, here or on the host. It will be computed again. O(pages) */
  evict(sequence: SequenceId): void {
    this.#giveBack(this.#findSettled('evict', sequence));
  }

  /**
   * Move a sequence to host memory. Returns [page, host page] copies, to be made before any page is written, or
   * `'full'`. O(pages)
   */
  swapOut(sequence: SequenceId): readonly PageCopy[] | 'full' {
    const found = this.#findSettled('swapOut', sequence);
    refuseSwapped('swapOut', found);
    return found.nPages > this.#store.host.nFree ? 'full' : swapOut(this.#store, found);
  }

  /** Bring a sequence back. Returns [host page, page] copies, to be made before its next step, or `'full'`. O(pages) */
  swapIn(sequence: SequenceId): readonly PageCopy[] | 'full' {
    const found = this.#findSettled('swapIn', sequence);
    if (!found.isSwapped)
      fail(
        'argument',
        'PageManager.swapIn',
        `sequence ${sequence} is not in host memory. Swap it out first.`,
      );
    return nMissing(this.#store, found, 0) > this.#store.pool.nFree ? 'full' : swapIn(this.#store, found);
  }

  /**
   * Keep what can be found of the tokens of a sequence, in whole pages, so that it is found also long after the sequence
   * has ended. With a window these are the pages that a query after them sees. Nothing is kept of a private sequence, nor
   * of one that is not computed yet, or was evicted and its pages reused. O(tokens)
   */
  pin(sequence: SequenceId): PinId {
    return this.#store.pins.add(this.#store.pinnedTable(this.#sequences.find('pin', sequence)));
  }

  /** Let pinned pages be reused. O(pages) */
  unpin(pin: PinId): void {
    const table = this.#store.pins.remove(pin);
    if (!table)
      fail(
        'argument',
        'PageManager.unpin',
        `there is no pin ${describe(pin)}. Unpin once what pin returned.`,
      );
    this.#store.shrink(table, 0);
  }

  /**
   * Use the pages below `nPages` only, at most as many as the pool was made with. What is cached goes first, in the order
   * of eviction, and the rest moves below. Nothing may be in flight.
   *
   * Returns [source, target] copies, to be made before the memory above is given up, or `'full'`. O(pages of the pool)
   */
  resize(nPages: number): readonly PageCopy[] | 'full' {
    checkCount('PageManager.resize', 'nPages', nPages, 1, this.#store.pool.capacity);
    for (const sequence of this.#sequences.values()) refuseInFlight('PageManager.resize', sequence);
    return this.#store.resize(nPages, this.#tables());
  }

  /**
   * Forget what all pages contain, after new weights or a lost device. Every sequence is computed again, but for those in
   * host memory if `keepSwapped`, which come back as they are. O(pages)
   */
  reset(options: ResetOptions = {}): void {
    checkReset('PageManager.reset', options);
    const { keepSwapped = false } = options;
    for (const sequence of this.#sequences.values())
      if (!(keepSwapped && sequence.isSwapped)) this.#giveBack(sequence);
    this.#store.clearCache();
  }

  /** Tokens of a sequence that are neither computed nor to be found. O(1), or O(tokens) for one without pages */
  nToCompute(sequence: SequenceId): number {
    return nToCompute(this.#store, this.#sequences.find('nToCompute', sequence));
  }

  /** Pages that must be free for `nTokens` more tokens, those to be swapped in included. Costs as `nToCompute`. */
  nMissing(sequence: SequenceId, nTokens: number): number {
    return nMissing(this.#store, this.#findSettled('nMissing', sequence), nTokens);
  }

  /** Pages that must be free for all tokens that a sequence has. Costs as `nToCompute`. */
  nMissingInAll(sequence: SequenceId): number {
    return nMissingInAll(this.#store, this.#findSettled('nMissingInAll', sequence));
  }

  /**
   * Whether all tokens of a sequence have room in the pages that are not pinned, if no other sequence had any. With a
   * window they are computed one at a time, and pages come back. Costs as `nToCompute`, with pins O(tokens).
   */
  canFit(sequence: SequenceId): boolean {
    return canFit(this.#store, this.#findSettled('canFit', sequence));
  }

  /** More tokens that can be computed with `nPages` free pages. Costs as `nToCompute`. */
  nFitting(sequence: SequenceId, nPages: number): number {
    return nFitting(this.#store, this.#findSettled('nFitting', sequence), nPages);
  }

  /** @internal Which of the candidates, rather the first ones, must give way for a sequence to have its pages. */
  victims({ sequence, candidates, nPages }: VictimsArgs<SequenceId>): SequenceId[] {
    const find = (id: SequenceId) => this.#findSettled('victims', id);
    const args = { sequence: find(sequence), candidates: candidates.map(find), nPages };
    return chooseVictims(this.#store, args).map(({ id }) => id);
  }

  /** The arrays of a step that computes what is in flight of these sequences. Valid until the next call. */
  batch(sequences: readonly SequenceId[]): Batch {
    checkList('PageManager.batch', 'sequences', sequences);
    this.fill(this.#arrays, sequences);
    return this.#arrays;
  }

  /** @internal `batch`, into the arrays of a planner. */
  fill(arrays: BatchArrays, sequences: ArrayLike<SequenceId>): void {
    for (let b = 0; b < sequences.length; b++) {
      const { table, nInFlight } = this.#sequences.find('batch', sequences[b]!);
      this.#batchTables[b] = table;
      this.#batchCounts[b] = nInFlight;
    }
    arrays.update(this.#batchTables, this.#batchCounts, sequences.length);
  }

  /** How full the pool is, and what caching is good for. O(sequences) */
  usage(): PageUsage {
    const { pool, host, pageSize } = this.#store;
    const hitPercent = this.#nAsked === 0 ? 0 : (100 * this.#nHit) / this.#nAsked;
    return usageOf({ pool, host, pageSize, sequences: this.#sequences.values(), hitPercent });
  }

  /** All there is to know, for pictures, logs and tests. O(pages of the pool) */
  snapshot(): PageSnapshot {
    return snapshotOf({ store: this.#store, sequences: this.#sequences.values() });
  }

  #truncate(sequence: ManagedSequence, nTokens: number): void {
    sequence.truncate(nTokens);
    if (nTokens >= sequence.nComputed) return;
    const { firstPage } = sequence.swapped ?? sequence.table;
    if (nTokens === 0 || firstPage > this.#store.firstSeen(nTokens)) {
      this.#giveBack(sequence);
      return;
    }
    if (sequence.swapped) goBackSwapped(this.#store, sequence, nTokens);
    else this.#store.shrink(sequence.table, nTokens);
    this.#store.unpublish(sequence, Math.floor(nTokens / this.pageSize));
    sequence.nComputed = nTokens;
  }

  /** Each sequence asks once: what it finds later may be its own. */
  #countHit(sequence: ManagedSequence): void {
    if (sequence.hasAsked) return;
    sequence.hasAsked = true;
    this.#nAsked += sequence.nTokens;
    this.#nHit += sequence.nComputed;
  }

  #giveBack(sequence: ManagedSequence): void {
    this.#store.dropCopySource(sequence);
    dropHostPages(this.#store, sequence);
    this.#store.shrink(sequence.table, 0);
    this.#store.unpublish(sequence, 0);
    sequence.nComputed = 0;
    sequence.nInFlight = 0;
  }

  *#tables(): Iterable<PageTable> {
    for (const { table } of this.#sequences.values()) yield table;
    yield* this.#store.pins.tables();
  }

  #findSettled(operation: string, sequence: SequenceId): ManagedSequence {
    const found = this.#sequences.find(operation, sequence);
    refuseInFlight(`PageManager.${operation}`, found);
    return found;
  }
}

function refuseSwapped(operation: string, { id, isSwapped }: ManagedSequence): void {
  if (isSwapped)
    fail('argument', `PageManager.${operation}`, `sequence ${id} is in host memory. Swap it in first.`);
}
