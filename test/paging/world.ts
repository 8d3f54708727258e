import { PageflashError } from '../../src/core/errors.js';
import { PageManager } from '../../src/paging/pageManager.js';
import type { PageSnapshot } from '../../src/paging/pageSnapshot.js';
import type { PageCopy } from '../../src/paging/pool/pagePool.js';
import { checkInvariants } from './invariants.js';
import { mustBe, mustEqual, mustThrow } from './must.js';
import { reach, type ModelPin, type ModelSequence, type PagingModel, type PagingOptions } from './model.js';
import { Contexts } from './contexts.js';
import { Router, type Found } from './router.js';

/** Something that an engine may do. Sequences and pins are picked by number, modulo how many there are. */
export type Operation =
  | {
      readonly type: 'add';
      readonly tokens: readonly number[];
      readonly salt: number;
      readonly isPrivate: boolean;
    }
  | { readonly type: 'append'; readonly pick: number; readonly tokens: readonly number[] }
  | { readonly type: 'reserve' | 'commit' | 'fork' | 'truncate'; readonly pick: number; readonly n: number }
  | { readonly type: 'compute'; readonly pick: number; readonly n: number }
  | { readonly type: 'release' | 'evict' | 'swapOut' | 'swapIn' | 'pin' | 'unpin'; readonly pick: number }
  | { readonly type: 'resize'; readonly n: number }
  | { readonly type: 'reset'; readonly keepSwapped: boolean }
  | { readonly type: 'misuse'; readonly pick: number };

/**
 * A page manager beside a slow, obvious model of what it is for: every slot of an imaginary memory says which token,
 * after which tokens, was written there. Copies are made and tokens are written as late as the contract allows.
 */
export class World implements PagingModel {
  readonly options: PagingOptions;
  readonly manager: PageManager;
  readonly router: Router;
  readonly contexts = new Contexts();
  readonly sequences: ModelSequence[] = [];
  readonly pins: ModelPin[] = [];
  readonly hits = { nAsked: 0, nHit: 0 };
  /** [nPages · pageSize] and [nHostPages · pageSize]: contexts, 0 where nothing was written. */
  readonly memory: Int32Array;
  readonly hostMemory: Int32Array;
  /** Copies that may still be made. */
  pending: PageCopy[] = [];
  /** Sequences that lost tokens that were computed, so that pages may be missing that a shorter one would see. */
  readonly #cut = new Set<number>();

  constructor(options: PagingOptions) {
    this.options = options;
    this.router = new Router(options);
    this.manager = new PageManager({ ...options, onEvent: (event) => this.router.hear(event) });
    this.memory = new Int32Array(options.nPages * options.pageSize);
    this.hostMemory = new Int32Array(options.nHostPages * options.pageSize);
  }

  /** Do something, then check everything. */
  run(operation: Operation): void {
    this.#do(operation);
    checkInvariants(this);
  }

  /** End everything: all pages must be free. */
  end(): void {
    this.flush();
    for (const { id } of this.sequences) this.manager.release(id);
    for (const { id } of this.pins) this.manager.unpin(id);
    this.sequences.length = 0;
    this.pins.length = 0;
    checkInvariants(this);
    mustBe('free pages after all', this.manager.nFreePages, this.manager.nPages);
    mustBe('host pages after all', this.manager.usage().nHostUsed, 0);
  }

  #do(operation: Operation): void {
    switch (operation.type) {
      case 'add':
        this.#add(operation);
        return;
      case 'resize':
        this.#resize(operation.n);
        return;
      case 'reset':
        this.#reset(operation.keepSwapped);
        return;
      case 'unpin':
        this.#unpin(operation.pick);
        return;
    }
    if (this.sequences.length === 0) return;
    const sequence = this.sequences[operation.pick % this.sequences.length]!;
    switch (operation.type) {
      case 'append':
        this.#append(sequence, operation.tokens);
        break;
      case 'reserve':
        this.#reserve(sequence, operation.n);
        break;
      case 'commit':
        this.#commit(sequence, operation.n);
        break;
      case 'compute':
        this.#reserve(sequence, operation.n);
        this.#commit(sequence, 0);
        break;
      case 'fork':
        this.#fork(sequence, operation.n);
        break;
      case 'truncate':
        this.#truncate(sequence, operation.n);
        break;
      case 'release':
        this.#release(sequence);
        break;
      case 'evict':
        this.#evict(sequence);
        break;
      case 'swapOut':
        this.#swapOut(sequence);
        break;
      case 'swapIn':
        this.#swapIn(sequence);
        break;
      case 'pin':
        this.#pin(sequence);
        break;
      case 'misuse':
        this.#misuse(sequence);
        break;
    }
  }

  #add({ tokens, salt, isPrivate }: Operation & { readonly type: 'add' }): void {
    const id = this.manager.add(tokens, { salt, isPrivate });
    this.sequences.push({
      id,
      salt,
      isPrivate: isPrivate || !this.options.isCaching,
      tokens: [...tokens],
      nComputed: 0,
      nInFlight: 0,
      nReached: 0,
      isSwapped: false,
      hasAsked: false,
    });
  }

  #append(sequence: ModelSequence, tokens: readonly number[]): void {
    if (!this.#refusedInFlight(sequence, () => this.manager.append(sequence.id, tokens)))
      sequence.tokens.push(...tokens);
  }

  #reserve(sequence: ModelSequence, n: number): void {
    const { manager } = this;
    const reserve = () => manager.reserve(sequence.id, n);
    if (sequence.isSwapped) return this.#refused(reserve);
    if (sequence.nInFlight > 0) return this.#refused(reserve);
    const before = manager.snapshot();
    const isFresh = before.sequences.find(({ id }) => id === sequence.id)!.pages.length === 0;
    const { tokens, salt, isPrivate } = sequence;
    const found = isFresh && !isPrivate ? this.router.find(tokens, salt) : { nTokens: 0, pages: [] };
    const nHit = found.nTokens;
    const nNew = Math.min(n, sequence.tokens.length - sequence.nComputed - nHit);
    const nMissing = this.#missingOf(sequence, before, found, nNew);
    mustBe('nMissing', manager.nMissing(sequence.id, n), nMissing);
    const nLeft = sequence.tokens.length - sequence.nComputed - nHit;
    mustBe('nToCompute', manager.nToCompute(sequence.id), nLeft);
    const isFitting = nMissing <= before.free.length;
    if (nNew > 0) mustBe('nFitting', manager.nFitting(sequence.id, before.free.length) >= nNew, isFitting);
    const copies = this.#unchangedIfFull(reserve);
    mustBe('full', copies === 'full', !isFitting);
    if (copies === 'full') return;
    if (isFresh && !sequence.hasAsked) {
      sequence.hasAsked = true;
      this.hits.nAsked += tokens.length;
      this.hits.nHit += nHit;
    }
    reach(sequence, sequence.nComputed + nHit);
    sequence.nInFlight = nNew;
    this.pending.push(...copies);
  }

  #commit(sequence: ModelSequence, n: number): void {
    const { nComputed, nInFlight, tokens } = sequence;
    const isAtEnd = nComputed + nInFlight === tokens.length;
    const nRejected = isAtEnd ? n % (nInFlight + 1) : 0;
    this.flush();
    this.#write(sequence);
    if (!isAtEnd && nInFlight > 0) this.#refused(() => this.manager.commit(sequence.id, 1));
    this.manager.commit(sequence.id, nRejected);
    reach(sequence, nComputed + nInFlight - nRejected);
    sequence.nInFlight = 0;
    if (nRejected > 0) {
      this.#cut.add(sequence.id);
      tokens.length = sequence.nComputed;
      sequence.nReached = sequence.nComputed;
    }
    if (nInFlight > 0) this.#checkWhole(sequence);
    const { window, pageSize } = this.options;
    if (window < 0) return;
    const { nPages } = this.manager.sequence(sequence.id);
    mustBe('pages behind the window', nPages > 1 + Math.max(1, Math.ceil(window / pageSize)), false);
  }

  /** All whole pages that a sequence has computed are found from now on. */
  #checkWhole({ id, salt, tokens, isPrivate, nComputed }: ModelSequence): void {
    if (isPrivate || this.#cut.has(id)) return;
    const nFull = nComputed - (nComputed % this.options.pageSize);
    const { nTokens } = this.router.find([...tokens.slice(0, nFull), 0], salt);
    mustBe(`whole pages of sequence ${id} that are found`, nTokens, nFull);
  }

  #fork(sequence: ModelSequence, n: number): void {
    const nTokens = n % (sequence.tokens.length + 1);
    const fork = () => this.manager.fork(sequence.id, nTokens);
    if (sequence.nInFlight > 0) return this.#refused(fork);
    this.flush();
    const id = fork();
    const copy = { ...sequence, id, tokens: sequence.tokens.slice(0, nTokens) };
    this.sequences.push(copy);
    if (this.#cut.has(sequence.id)) this.#cut.add(id);
    this.#wentBack(copy, nTokens);
  }

  #truncate(sequence: ModelSequence, n: number): void {
    const nTokens = n % (sequence.tokens.length + 1);
    const truncate = () => this.manager.truncate(sequence.id, nTokens);
    if (this.#refusedInFlight(sequence, truncate)) return;
    sequence.tokens.length = nTokens;
    this.#wentBack(sequence, nTokens);
  }

  /** What was computed stays computed, unless that needs pages which have left the window. */
  #wentBack(sequence: ModelSequence, nTokens: number): void {
    const { nComputed, isSwapped } = this.manager.sequence(sequence.id);
    const least = Math.min(sequence.nComputed, nTokens);
    const mayStartAnew = this.options.window >= 0 && nTokens < sequence.nComputed;
    if (!mayStartAnew || nComputed > 0) mustBe('nComputed', nComputed, least);
    const staysSwapped = nTokens >= sequence.nComputed || nComputed > 0;
    mustBe('isSwapped', isSwapped, sequence.isSwapped && staysSwapped);
    if (nTokens < sequence.nComputed) this.#cut.add(sequence.id);
    sequence.nComputed = nComputed;
    sequence.nReached = Math.min(sequence.nReached, nTokens);
    sequence.isSwapped = isSwapped;
  }

  #release(sequence: ModelSequence): void {
    this.flush();
    this.manager.release(sequence.id);
    this.sequences.splice(this.sequences.indexOf(sequence), 1);
    this.#refused(() => this.manager.release(sequence.id));
  }

  #evict(sequence: ModelSequence): void {
    this.flush();
    if (this.#refusedInFlight(sequence, () => this.manager.evict(sequence.id))) return;
    sequence.nComputed = 0;
    sequence.isSwapped = false;
  }

  #swapOut(sequence: ModelSequence): void {
    const swap = () => this.manager.swapOut(sequence.id);
    if (sequence.isSwapped) return this.#refused(swap);
    if (sequence.nInFlight > 0) return this.#refused(swap);
    this.flush();
    const copies = this.#unchangedIfFull(swap);
    if (copies === 'full') return;
    sequence.isSwapped = true;
    for (const [page, hostPage] of copies)
      this.hostMemory.set(this.#slots(this.memory, page), hostPage * this.options.pageSize);
  }

  #swapIn(sequence: ModelSequence): void {
    const swap = () => this.manager.swapIn(sequence.id);
    if (!sequence.isSwapped) return this.#refused(swap);
    this.flush();
    const copies = this.#unchangedIfFull(swap);
    if (copies === 'full') return;
    sequence.isSwapped = false;
    for (const [hostPage, page] of copies)
      this.memory.set(this.#slots(this.hostMemory, hostPage), page * this.options.pageSize);
  }

  /** What can be found of its tokens, all of them if need be, is found from now on. */
  #pin({ id, salt, tokens, isPrivate }: ModelSequence): void {
    const { nTokens, pages } = isPrivate ? { nTokens: 0, pages: [] } : this.router.find([...tokens, 0], salt);
    const pin = this.manager.pin(id);
    this.pins.push({ id: pin, salt, tokens: tokens.slice(0, nTokens) });
    const held = this.manager
      .snapshot()
      .pins.at(-1)!
      .filter((page) => page >= 0);
    mustEqual('pages of a pin', held, pages);
  }

  #unpin(pick: number): void {
    if (this.pins.length === 0) return;
    this.flush();
    const [pin] = this.pins.splice(pick % this.pins.length, 1);
    this.manager.unpin(pin!.id);
    this.#refused(() => this.manager.unpin(pin!.id));
  }

  #resize(n: number): void {
    const nPages = 1 + (n % this.options.nPages);
    const resize = () => this.manager.resize(nPages);
    if (this.sequences.some(({ nInFlight }) => nInFlight > 0)) return this.#refused(resize);
    this.flush();
    const nUsed = this.manager.nPages - this.manager.nFreePages;
    const copies = this.#unchangedIfFull(resize);
    mustBe('full', copies === 'full', nUsed > nPages);
    if (copies === 'full') return;
    this.pending.push(...copies);
    this.flush();
    this.memory.fill(0, nPages * this.options.pageSize);
  }

  #reset(keepSwapped: boolean): void {
    this.flush();
    this.manager.reset({ keepSwapped });
    this.memory.fill(0);
    for (const pin of this.pins) pin.tokens = [];
    for (const sequence of this.sequences)
      if (!(keepSwapped && sequence.isSwapped))
        Object.assign(sequence, { nComputed: 0, nInFlight: 0, isSwapped: false });
  }

  #misuse({ id, tokens }: ModelSequence): void {
    this.#refused(() => this.manager.release(id + 1000));
    this.#refused(() => this.manager.reserve(id, -1));
    this.#refused(() => this.manager.truncate(id, tokens.length + 1));
    this.#refused(() => this.manager.append(id, [0.5]));
    this.#refused(() => this.manager.add([NaN]));
    this.#refused(() => this.manager.add([1], { isprivate: true } as never));
    this.#refused(() => this.manager.resize(0));
    this.#refused(() => this.manager.commit(id, 1000));
  }

  /** Make all copies at once, as a kernel does. */
  flush(): void {
    const sources = this.pending.map(([source]) => this.#slots(this.memory, source).slice());
    this.pending.forEach(([, target], i) => this.memory.set(sources[i]!, target * this.options.pageSize));
    this.pending = [];
  }

  /** What a kernel does: write what is in flight to where the arrays of the step say. */
  #write({ id, nComputed, nInFlight, tokens, salt }: ModelSequence): void {
    const { slotMapping } = this.manager.batch([id]);
    const contexts = this.contexts.of(salt, tokens);
    for (let i = 0; i < nInFlight; i++) this.memory[slotMapping[i]!] = contexts[nComputed + i]!;
  }

  #slots(memory: Int32Array, page: number): Int32Array {
    return memory.subarray(page * this.options.pageSize, (page + 1) * this.options.pageSize);
  }

  /** Free pages that are needed: those found, those for new tokens, and a copy of a page that others need as it is. */
  #missingOf({ id, nComputed }: ModelSequence, before: PageSnapshot, found: Found, nNew: number): number {
    const { pageSize } = this.options;
    const { pages } = before.sequences.find((sequence) => sequence.id === id)!;
    const nTokens = nComputed + found.nTokens;
    const nPages = Math.ceil((nTokens + nNew) / pageSize) - Math.ceil(nTokens / pageSize);
    const nFree = found.pages.filter((page) => before.counts[page] === 0).length;
    const last = pages.at(-1);
    const needsCopy =
      nNew > 0 &&
      nComputed % pageSize > 0 &&
      (before.counts[last!]! > 1 || before.published.some(({ page }) => page === last));
    return nPages + nFree + (needsCopy ? 1 : 0);
  }

  #unchangedIfFull<T>(call: () => T | 'full'): T | 'full' {
    const before = this.#state();
    const result = call();
    if (result === 'full') mustBe('state after a full pool', this.#state(), before);
    return result;
  }

  #refusedInFlight(sequence: ModelSequence, call: () => void): boolean {
    if (sequence.nInFlight > 0) {
      this.#refused(call);
      return true;
    }
    this.flush();
    call();
    return false;
  }

  #refused(call: () => unknown): void {
    const before = this.#state();
    mustBe('code', mustThrow(PageflashError, call).code, 'argument');
    mustBe('state after an error', this.#state(), before);
  }

  #state(): string {
    return JSON.stringify([this.manager.snapshot(), this.manager.usage()]);
  }
}
