import { checkNames, namesOf } from '../core/checkArguments.js';
import { describe, fail } from '../core/errors.js';
import { canFit, chooseVictims, nFitting, nMissing, nMissingInAll, nToCompute } from './admission.js';
import type { VictimsArgs } from './admission.js';
import {
  checkStart,
  ManagedSequence,
  refuseInFlight,
  refuseSwapped,
  refuseUnknown,
} from './managedSequence.js';
import type { AddOptions, SequenceView } from './managedSequence.js';
import { pagesOfStep, type PagePlanner } from './pagePlanner.js';
import { snapshotOf, usageOf, type PageSnapshot, type PageUsage } from './pageSnapshot.js';
import { checkReset, PageStore } from './pageStore.js';
import type { PageManagerOptions, ResetOptions } from './pageStore.js';
import { BatchArrays, type Batch } from './pool/batch.js';
import type { PageCopy } from './pool/pagePool.js';
import type { PageTable } from './pool/pageTable.js';
import { checkCount, checkList, checkTokens } from './pool/pagingChecks.js';
import { checkState, restore, type RestoredPages } from './restoring.js';
import {
  checkSave,
  refuseMoving,
  saveFound,
  saveSequence,
  type SaveArgs,
  type SavedPages,
  type SequenceState,
} from './saving.js';
import { SequenceRegistry, type PinId, type SequenceId } from './sequenceRegistry.js';
import { commit, fork, giveBack, reserve, truncate } from './sequencePages.js';
import { swapIn, swapOut } from './swapping.js';

const ADD_NAMES = namesOf<AddOptions>({ salt: true, isPrivate: true });

/**
 * Manages the pages of sequences whose tokens it knows: it shares equal prefixes, takes back pages before a window, and
 * evicts sequences or swaps them to host memory. It deals in ids of pages; the caller owns the memory, copies and
 * computes.
 *
 * A sequence has tokens; the first `nComputed` of them are in the cache. A step reserves pages for some of the next
 * ones, computes them, and commits:
 *
 * ```ts
 * const pages = new PageManager({ nPages: 1024, pageSize: 16 });
 * const chat = pages.add(prompt);
 * const copies = pages.reserve(chat, 512); // pages for up to 512 tokens that were not computed before
 * if (copies === 'full') …                 // nothing has changed: release, evict or swap out another one
 * cache.copyPages(copies);
 * const logits = model.run(pages.batch([chat]));
 * pages.commit(chat);                      // now others may find these pages
 * pages.append(chat, [sample(logits)]);
 * ```
 *
 * A full pool, here or on the host, is an answer, `'full'`. Wrong arguments throw `PageflashError` with code
 * `argument`. Both change nothing. `StepPlanner` does all this for many sequences at once.
 */
export class PageManager {
  readonly #store: PageStore;
  readonly #arrays: BatchArrays;
  readonly #sequences = new SequenceRegistry<ManagedSequence>('PageManager');
  #planner: PagePlanner | undefined;

  /** @throws PageflashError `argument` if a size is out of range, an option of the wrong kind, or unknown */
  constructor(options: PageManagerOptions) {
    this.#store = new PageStore(options);
    this.#arrays = new BatchArrays(options.pageSize);
  }

  /** Tokens in a page. */
  get pageSize(): number {
    return this.#store.pageSize;
  }

  /** Pages in the pool. */
  get nPages(): number {
    return this.#store.pool.nPages;
  }

  /** Pages that are not held. Some of them may contain what can still be found. */
  get nFreePages(): number {
    return this.#store.pool.nFree;
  }

  /** Keys that a query sees to its left in every layer; −1 for all. */
  get window(): number {
    return this.#store.window;
  }

  /** Keys at the start of a sequence that every query sees besides. */
  get firstKeys(): number {
    return this.#store.firstKeys;
  }

  /** @internal The planner that runs the sequences, if there is one. */
  get planner(): PagePlanner | undefined {
    return this.#planner;
  }

  /** @internal */
  set planner(planner: PagePlanner) {
    this.#planner = planner;
  }

  /** Returns the state of a sequence. The view changes with it. */
  sequence(sequence: SequenceId): SequenceView {
    return this.#sequences.find('sequence', sequence);
  }

  /**
   * Starts a sequence, which has no pages before the first `reserve`. O(tokens)
   *
   * Equal tokens are taken for equal content. Give what is no text, such as an image, ids of its own. There may be no
   * tokens, if some are to be appended.
   */
  add(tokens: ArrayLike<number>, options: AddOptions = {}): SequenceId {
    checkNames('PageManager.add', options, ADD_NAMES);
    checkStart('PageManager.add', tokens, options);
    const id = this.#sequences.nextId;
    const { salt = 0, isPrivate = false } = options;
    const isUncached = isPrivate || !this.#store.isCaching;
    const table = this.#store.newTable();
    return this.#sequences.add(new ManagedSequence({ id, tokens, table, salt, isPrivate: isUncached }));
  }

  /** Adds tokens to compute next: what was sampled, what a draft proposes, what a user has added. O(tokens) */
  append(sequence: SequenceId, tokens: ArrayLike<number>): void {
    const found = this.#findNotInFlight('append', sequence);
    refuseUnknown('PageManager.append', found);
    checkTokens('PageManager.append', tokens);
    for (let i = 0; i < tokens.length; i++) found.append(tokens[i]!);
  }

  /**
   * Takes pages for the next `nTokens` tokens of a sequence, at most and by default for all. They are in flight until
   * `commit`. A sequence without pages first takes over what is found of it, at most all but its last token.
   *
   * Returns what must be copied before anything is written, or `'full'`. O(pages), and O(tokens) for the search
   */
  reserve(sequence: SequenceId, nTokens?: number): readonly PageCopy[] | 'full' {
    const found = this.#findNotInFlight('reserve', sequence);
    const nWanted = nTokens === undefined ? found.nTokens : nTokens;
    checkCount('PageManager.reserve', 'nTokens', nWanted);
    refuseSwapped('PageManager.reserve', found);
    return this.#hasFree(found, nWanted) ? reserve(this.#store, found, nWanted) : 'full';
  }

  /**
   * Notes that the tokens in flight are computed, but for the last `nRejected`, which the sequence loses.
   * O(pages filled)
   *
   * Full pages can be found from now on. Where a page with equal content was published before, the sequence goes on
   * with it.
   */
  commit(sequence: SequenceId, nRejected = 0): void {
    const found = this.#sequences.find('commit', sequence);
    refuseUnknown('PageManager.commit', found);
    checkCount('PageManager.commit', 'nRejected', nRejected, 0, found.nInFlight);
    const nAfter = found.nTokens - found.nComputed - found.nInFlight;
    if (nRejected > 0 && nAfter > 0)
      fail(
        'argument',
        'PageManager.commit',
        `sequence ${sequence} has ${nAfter} tokens after those in flight, so none of these can be rejected. Truncate it instead.`,
      );
    if (found.nInFlight > 0) commit(this.#store, found, nRejected);
  }

  /**
   * @internal Appends a token that is sampled but not known yet, the `sample`-th of its step. It can be put in flight;
   * `resolve` must tell it before anything else is done with the tokens.
   */
  appendUnknown(sequence: SequenceId, sample: number): void {
    this.#findNotInFlight('append', sequence).appendUnknown(sample);
  }

  /** @internal Tells the token that was not known. The sequence may be in flight. */
  resolve(sequence: SequenceId, token: number): void {
    this.#sequences.find('resolve', sequence).resolve(token);
  }

  /**
   * @internal Forgets a token that will never be known, after a lost device. The one before it is computed once more, so
   * that it can be sampled again.
   */
  dropUnknown(sequence: SequenceId): void {
    const found = this.#findNotInFlight('dropUnknown', sequence);
    const nKnown = found.nTokens - 1;
    const last = found.token(nKnown - 1);
    found.unknownSample = -1;
    truncate(this.#store, found, nKnown - 1);
    found.append(last);
  }

  /**
   * Starts a sequence with the first `nTokens` of another one, by default with all, in the same pages, here or on the
   * host. O(tokens)
   */
  fork(sequence: SequenceId, nTokens?: number): SequenceId {
    const found = this.#findNotInFlight('fork', sequence);
    refuseUnknown('PageManager.fork', found);
    const nKept = nTokens === undefined ? found.nTokens : nTokens;
    checkCount('PageManager.fork', 'nTokens', nKept, 0, found.nTokens);
    return this.#sequences.add(fork(this.#store, found, this.#sequences.nextId, nKept));
  }

  /**
   * Keeps the first `nTokens`, here or on the host. If they need pages that have left the window, all is computed
   * again. To sample anew after a token, drop that token too and append it again: only what is computed gives logits.
   * O(pages given back)
   */
  truncate(sequence: SequenceId, nTokens: number): void {
    const found = this.#findNotInFlight('truncate', sequence);
    refuseUnknown('PageManager.truncate', found);
    checkCount('PageManager.truncate', 'nTokens', nTokens, 0, found.nTokens);
    truncate(this.#store, found, nTokens);
  }

  /** Ends a sequence, in flight or not. Its pages can be found until they are reused. O(pages) */
  release(sequence: SequenceId): void {
    giveBack(this.#store, this.#sequences.find('release', sequence));
    this.#sequences.delete(sequence);
  }

  /** Takes back the pages of a sequence, here or on the host. It is computed again. O(pages) */
  evict(sequence: SequenceId): void {
    giveBack(this.#store, this.#findNotInFlight('evict', sequence));
  }

  /**
   * Moves a sequence to host memory. Returns [page, host page] copies, to be made before any page is written, or
   * `'full'`. O(pages)
   */
  swapOut(sequence: SequenceId): readonly PageCopy[] | 'full' {
    const found = this.#findNotInFlight('swapOut', sequence);
    refuseSwapped('PageManager.swapOut', found);
    return found.nPages > this.#store.hostPool.nFree ? 'full' : swapOut(this.#store, found);
  }

  /**
   * Brings a sequence back. Returns [host page, page] copies, to be made before its next step, or `'full'`. O(pages)
   */
  swapIn(sequence: SequenceId): readonly PageCopy[] | 'full' {
    const found = this.#findNotInFlight('swapIn', sequence);
    if (!found.isSwapped)
      fail(
        'argument',
        'PageManager.swapIn',
        `sequence ${sequence} is not in host memory. Swap it out first.`,
      );
    return this.#hasFree(found, 0) ? swapIn(this.#store, found) : 'full';
  }

  /**
   * Holds what can be found of the tokens of a sequence, in whole pages, so that it is found also long after the
   * sequence has ended. With a window these are the pages that a query after them sees. Nothing is held of a private
   * sequence, nor of one that is not computed yet, or was evicted and its pages reused. O(tokens)
   */
  pin(sequence: SequenceId): PinId {
    const found = this.#sequences.find('pin', sequence);
    refuseUnknown('PageManager.pin', found);
    return this.#store.pins.add(this.#store.pinnedTable(found));
  }

  /** Lets pinned pages be reused. O(pinned pages) */
  unpin(pin: PinId): void {
    if (!this.#store.unpin(pin))
      fail(
        'argument',
        'PageManager.unpin',
        `there is no pin ${describe(pin)}. Unpin once what pin returned.`,
      );
  }

  /**
   * Holds a sequence as it is now, or what can be found of some tokens, in whole pages, so that it can be stored
   * elsewhere bit by bit while everything goes on. Call `release` of what it returns when that is done. Not while the
   * sequence is in flight. O(tokens)
   *
   * `PagedKvCache.save` makes a stream of it. In pages of your own memory, the keys and values are there once the copies
   * that the manager has asked for so far are made.
   */
  save(args: SaveArgs): SavedPages {
    const caller = 'PageManager.save';
    checkSave(caller, args);
    if (args.sequence === undefined) return saveFound(this.#store, args.tokens, args.salt ?? 0);
    const found = this.#findNotInFlight('save', args.sequence);
    refuseUnknown(caller, found);
    const step = this.#planner?.plannedStep();
    if (step) refuseMoving(caller, found, step);
    return saveSequence(this.#store, found);
  }

  /**
   * Starts a sequence that was saved. What was computed of it is in flight: write its pages, then call `commit`, or
   * `release` if that fails. What can be found of it already is taken over instead.
   *
   * Returns which pages to write, or `'full'`. The pages may be written at once if all copies that the manager has asked
   * for so far are made; a step that a `StepPlanner` has planned needs none of them. With a planner, `adopt` the sequence
   * then. `PagedKvCache.restore` does all of this. O(tokens)
   */
  restore(state: SequenceState): RestoredPages | 'full' {
    checkState('PageManager.restore', state, this.#store);
    const { tokens, salt, isPrivate } = state;
    const table = this.#store.newTable();
    const isUncached = isPrivate || !this.#store.isCaching;
    const id = this.#sequences.nextId;
    const sequence = new ManagedSequence({ id, tokens, table, salt, isPrivate: isUncached });
    const writes = restore(this.#store, sequence, state, pagesOfStep(this.#planner?.plannedStep()));
    return writes === 'full' ? 'full' : { sequence: this.#sequences.add(sequence), writes };
  }

  /**
   * Uses only the pages below `nPages`, at most as many as the pool was made with. Cached pages go first, in eviction
   * order, and the rest moves below. Nothing may be in flight.
   *
   * Returns [source, target] copies, to be made before the memory above is given up, or `'full'`. O(pages of the pool)
   */
  resize(nPages: number): readonly PageCopy[] | 'full' {
    checkCount('PageManager.resize', 'nPages', nPages, 1, this.#store.pool.capacity);
    for (const sequence of this.#sequences.values()) refuseInFlight('PageManager.resize', sequence);
    return this.#store.resize(nPages, this.#sequences.values());
  }

  /**
   * Forgets what all pages contain, after new weights or a lost device. Every sequence is computed again, but for those
   * in host memory if `keepSwapped`, which come back as they are. O(pages)
   */
  reset(options: ResetOptions = {}): void {
    checkReset('PageManager.reset', options);
    for (const sequence of this.#sequences.values())
      if (!(options.keepSwapped && sequence.isSwapped)) giveBack(this.#store, sequence);
    this.#store.clearCache();
  }

  /** Returns the tokens that are neither computed nor found. O(1), or O(tokens) for a sequence without pages */
  nToCompute(sequence: SequenceId): number {
    return nToCompute(this.#store, this.#sequences.find('nToCompute', sequence));
  }

  /**
   * Returns the pages that must be free for `nTokens` more tokens, also to swap the sequence in. Costs as `nToCompute`.
   */
  nMissing(sequence: SequenceId, nTokens: number): number {
    return nMissing(this.#store, this.#findNotInFlight('nMissing', sequence), nTokens);
  }

  /** Returns the pages that must be free for all tokens that a sequence has. Costs as `nToCompute`. */
  nMissingInAll(sequence: SequenceId): number {
    return nMissingInAll(this.#store, this.#findNotInFlight('nMissingInAll', sequence));
  }

  /**
   * Returns whether all tokens of a sequence have room in the pages that are not pinned, if no other sequence had any.
   * With a window they are computed one at a time, and pages come back. Costs as `nToCompute`, with pins O(tokens).
   */
  canFit(sequence: SequenceId): boolean {
    return canFit(this.#store, this.#findNotInFlight('canFit', sequence));
  }

  /** Returns how many more tokens can be computed with `nPages` free pages. Costs as `nToCompute`. */
  nFitting(sequence: SequenceId, nPages: number): number {
    return nFitting(this.#store, this.#findNotInFlight('nFitting', sequence), nPages);
  }

  /**
   * @internal Which of the candidates, preferably the first ones, must give back their pages for a sequence to go on.
   */
  victims({ sequence, candidates, nPages }: VictimsArgs<SequenceId>): SequenceId[] {
    const find = (id: SequenceId) => this.#findNotInFlight('victims', id);
    const args = { sequence: find(sequence), candidates: candidates.map(find), nPages };
    return chooseVictims(this.#store, args).map(({ id }) => id);
  }

  /** Returns the arrays of a step that computes what is in flight of these sequences. Valid until the next call. */
  batch(sequences: readonly SequenceId[]): Batch {
    checkList('PageManager.batch', 'sequences', sequences);
    this.fillBatch(this.#arrays, sequences);
    return this.#arrays;
  }

  /** @internal `batch`, into the arrays of a planner. */
  fillBatch(arrays: BatchArrays, sequences: ArrayLike<SequenceId>): void {
    const tables: PageTable[] = [];
    const nNewTokens: number[] = [];
    for (let b = 0; b < sequences.length; b++) {
      const { table, nInFlight } = this.#sequences.find('batch', sequences[b]!);
      tables.push(table);
      nNewTokens.push(nInFlight);
    }
    arrays.update(tables, nNewTokens);
  }

  /** Returns how full the pool is, and what caching saves. O(sequences) */
  usage(): PageUsage {
    return usageOf(this.#store, this.#sequences.values());
  }

  /** Returns the whole state, for pictures, logs and tests. O(pages of the pool) */
  snapshot(): PageSnapshot {
    return snapshotOf(this.#store, this.#sequences.values());
  }

  /** Whether there are free pages for `nTokens` more tokens. */
  #hasFree(sequence: ManagedSequence, nTokens: number): boolean {
    return nMissing(this.#store, sequence, nTokens) <= this.#store.pool.nFree;
  }

  #findNotInFlight(operation: string, sequence: SequenceId): ManagedSequence {
    const found = this.#sequences.find(operation, sequence);
    refuseInFlight(`PageManager.${operation}`, found);
    return found;
  }
}
