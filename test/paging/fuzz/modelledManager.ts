import { PageManager } from '../../../src/paging/pageManager.js';
import type { PageCopy } from '../../../src/paging/pool/pagePool.js';
import { checkInvariants } from './invariants.js';
import { assertSame, assertSameNumbers } from './fastAssert.js';
import { checkMalformedCalls, expectedReserve, refused, unchangedIfFull } from './managerRules.js';
import {
  setComputed,
  type ModelPin,
  type ModelSequence,
  type PagingModel,
  type PagingOptions,
} from './pagingModel.js';
import { copyPages, KvIds } from './kvMemory.js';
import type { ManagerOperation, SequenceOperation } from './managerOperations.js';
import { EventRouter } from './eventRouter.js';
import { ModelledSaves } from './modelledSaves.js';

/**
 * A page manager beside a slow, obvious model of what it is for, with a memory that has in each slot the KV id of what was
 * written there. Copies are made and tokens are written as late as the contract allows.
 */
export class ModelledManager implements PagingModel {
  readonly options: PagingOptions;
  readonly manager: PageManager;
  readonly router: EventRouter;
  readonly kvIds = new KvIds();
  readonly sequences: ModelSequence[] = [];
  readonly pins: ModelPin[] = [];
  readonly hits = { nSearched: 0, nHit: 0 };
  /** [nPages · pageSize] and [nHostPages · pageSize]: KV ids, 0 where nothing was written. */
  readonly memory: Int32Array;
  readonly hostMemory: Int32Array;
  /** Copies that may still be made. */
  pending: PageCopy[] = [];
  /** Sequences that lost computed tokens: pages may be missing that the shorter sequence sees. */
  readonly #cut = new Set<number>();
  readonly #saves: ModelledSaves = new ModelledSaves(this);

  constructor(options: PagingOptions) {
    this.options = options;
    this.router = new EventRouter(options);
    this.manager = new PageManager({ ...options, onEvent: (event) => this.router.handle(event) });
    this.memory = new Int32Array(options.nPages * options.pageSize);
    this.hostMemory = new Int32Array(options.nHostPages * options.pageSize);
  }

  /** Run an operation, then check everything. */
  run(operation: ManagerOperation): void {
    this.#do(operation);
    checkInvariants(this);
    this.#saves.check();
  }

  /** End everything: all pages must be free. */
  end(): void {
    this.flush();
    for (const { id } of this.sequences) this.manager.release(id);
    for (const { id } of this.pins) this.manager.unpin(id);
    this.#saves.releaseAll();
    this.sequences.length = 0;
    this.pins.length = 0;
    checkInvariants(this);
    assertSame('free pages after all', this.manager.nFreePages, this.manager.nPages);
    assertSame('host pages after all', this.manager.usage().nHostUsed, 0);
  }

  #do(operation: ManagerOperation): void {
    switch (operation.type) {
      case 'add':
        return this.#add(operation);
      case 'resize':
        return this.#resize(operation.n);
      case 'reset':
        return this.#reset(operation.keepSwapped);
      case 'unpin':
        return this.#unpin(operation.pick);
      case 'finishSave':
        return this.#saves.finish(operation.pick);
      case 'restore':
        return this.#restore(operation.pick);
      default:
        if (this.sequences.length > 0)
          this.#change(operation, this.sequences[operation.pick % this.sequences.length]!);
    }
  }

  #change(operation: SequenceOperation, sequence: ModelSequence): void {
    switch (operation.type) {
      case 'append':
        return this.#append(sequence, operation.tokens);
      case 'reserve':
        return this.#reserve(sequence, operation.n);
      case 'commit':
        return this.#commit(sequence, operation.n);
      case 'compute':
        this.#reserve(sequence, operation.n);
        return this.#commit(sequence, 0);
      case 'fork':
        return this.#fork(sequence, operation.n);
      case 'truncate':
        return this.#truncate(sequence, operation.n);
      case 'release':
        return this.#release(sequence);
      case 'evict':
        return this.#evict(sequence);
      case 'swapOut':
        return this.#swapOut(sequence);
      case 'swapIn':
        return this.#swapIn(sequence);
      case 'pin':
        return this.#pin(sequence);
      case 'save':
        return this.#save(sequence);
      case 'saveFound':
        this.flush();
        return this.#saves.saveFound(sequence);
      case 'misuse':
        return checkMalformedCalls(this.manager, sequence);
    }
  }

  #add({ tokens, salt, isPrivate }: ManagerOperation & { readonly type: 'add' }): void {
    const id = this.manager.add(tokens, { salt, isPrivate });
    this.sequences.push({
      id,
      salt,
      isPrivate: isPrivate || !this.options.isCaching,
      tokens: [...tokens],
      nComputed: 0,
      nInFlight: 0,
      nOnceComputed: 0,
      isSwapped: false,
      isCounted: false,
    });
  }

  #append(sequence: ModelSequence, tokens: readonly number[]): void {
    if (!this.#refusedInFlight(sequence, () => this.manager.append(sequence.id, tokens)))
      sequence.tokens.push(...tokens);
  }

  #reserve(sequence: ModelSequence, n: number): void {
    const { manager } = this;
    const reserve = () => manager.reserve(sequence.id, n);
    if (sequence.isSwapped) return refused(this.manager, reserve);
    if (sequence.nInFlight > 0) return refused(this.manager, reserve);
    const before = manager.snapshot();
    const { isFresh, nFound, nNew, nMissing } = expectedReserve(this, sequence, before, n);
    assertSame('nMissing', manager.nMissing(sequence.id, n), nMissing);
    const nLeft = sequence.tokens.length - sequence.nComputed - nFound;
    assertSame('nToCompute', manager.nToCompute(sequence.id), nLeft);
    const isFitting = nMissing <= before.free.length;
    if (nNew > 0)
      assertSame('nFitting', manager.nFitting(sequence.id, before.free.length) >= nNew, isFitting);
    const copies = unchangedIfFull(this.manager, reserve);
    assertSame('full', copies === 'full', !isFitting);
    if (copies === 'full') return;
    if (isFresh && !sequence.isCounted) {
      sequence.isCounted = true;
      this.hits.nSearched += sequence.tokens.length;
      this.hits.nHit += nFound;
    }
    setComputed(sequence, sequence.nComputed + nFound);
    sequence.nInFlight = nNew;
    this.pending.push(...copies);
  }

  #commit(sequence: ModelSequence, n: number): void {
    const { nComputed, nInFlight, tokens } = sequence;
    const isAtEnd = nComputed + nInFlight === tokens.length;
    const nRejected = isAtEnd ? n % (nInFlight + 1) : 0;
    this.flush();
    this.#write(sequence);
    if (!isAtEnd && nInFlight > 0) refused(this.manager, () => this.manager.commit(sequence.id, 1));
    this.manager.commit(sequence.id, nRejected);
    setComputed(sequence, nComputed + nInFlight - nRejected);
    sequence.nInFlight = 0;
    if (nRejected > 0) {
      this.#cut.add(sequence.id);
      tokens.length = sequence.nComputed;
      sequence.nOnceComputed = sequence.nComputed;
    }
    if (nInFlight > 0) this.#checkWhole(sequence);
    const { window, pageSize, firstKeys } = this.options;
    if (window < 0) return;
    const { nPages } = this.manager.sequence(sequence.id);
    assertSame(
      'pages behind the window',
      nPages > 1 + Math.max(1, Math.ceil(window / pageSize)) + Math.ceil(firstKeys / pageSize),
      false,
    );
  }

  /** All whole pages that a sequence has computed are found from now on. */
  #checkWhole({ id, salt, tokens, isPrivate, nComputed }: ModelSequence): void {
    if (isPrivate || this.#cut.has(id)) return;
    const nFull = nComputed - (nComputed % this.options.pageSize);
    const { nTokens } = this.router.find([...tokens.slice(0, nFull), 0], salt);
    assertSame(`whole pages of sequence ${id} that are found`, nTokens, nFull);
  }

  #fork(sequence: ModelSequence, n: number): void {
    const nTokens = n % (sequence.tokens.length + 1);
    const fork = () => this.manager.fork(sequence.id, nTokens);
    if (sequence.nInFlight > 0) return refused(this.manager, fork);
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
    if (!mayStartAnew || nComputed > 0) assertSame('nComputed', nComputed, least);
    const staysSwapped = nTokens >= sequence.nComputed || nComputed > 0;
    assertSame('isSwapped', isSwapped, sequence.isSwapped && staysSwapped);
    if (nTokens < sequence.nComputed) this.#cut.add(sequence.id);
    sequence.nComputed = nComputed;
    sequence.nOnceComputed = Math.min(sequence.nOnceComputed, nTokens);
    sequence.isSwapped = isSwapped;
  }

  #release(sequence: ModelSequence): void {
    this.flush();
    this.manager.release(sequence.id);
    this.sequences.splice(this.sequences.indexOf(sequence), 1);
    refused(this.manager, () => this.manager.release(sequence.id));
  }

  #evict(sequence: ModelSequence): void {
    this.flush();
    if (this.#refusedInFlight(sequence, () => this.manager.evict(sequence.id))) return;
    sequence.nComputed = 0;
    sequence.isSwapped = false;
  }

  #swapOut(sequence: ModelSequence): void {
    const swap = () => this.manager.swapOut(sequence.id);
    if (sequence.isSwapped) return refused(this.manager, swap);
    if (sequence.nInFlight > 0) return refused(this.manager, swap);
    this.flush();
    const copies = unchangedIfFull(this.manager, swap);
    if (copies === 'full') return;
    sequence.isSwapped = true;
    copyPages(copies, this.options.pageSize, this.memory, this.hostMemory);
  }

  #swapIn(sequence: ModelSequence): void {
    const swap = () => this.manager.swapIn(sequence.id);
    if (!sequence.isSwapped) return refused(this.manager, swap);
    this.flush();
    const copies = unchangedIfFull(this.manager, swap);
    if (copies === 'full') return;
    sequence.isSwapped = false;
    copyPages(copies, this.options.pageSize, this.hostMemory, this.memory);
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
    assertSameNumbers('pages of a pin', held, pages);
  }

  #unpin(pick: number): void {
    if (this.pins.length === 0) return;
    this.flush();
    const [pin] = this.pins.splice(pick % this.pins.length, 1);
    this.manager.unpin(pin!.id);
    refused(this.manager, () => this.manager.unpin(pin!.id));
  }

  #save(sequence: ModelSequence): void {
    if (sequence.nInFlight > 0)
      return refused(this.manager, () => this.manager.save({ sequence: sequence.id }));
    this.flush();
    this.#saves.save(sequence, this.#cut.has(sequence.id));
  }

  #restore(pick: number): void {
    this.flush();
    const restored = this.#saves.restore(pick);
    if (!restored) return;
    const { sequence, isCut } = restored;
    this.sequences.push(sequence);
    this.manager.commit(sequence.id);
    if (isCut) this.#cut.add(sequence.id);
    this.#checkWhole(sequence);
  }

  #resize(n: number): void {
    const nPages = 1 + (n % this.options.nPages);
    const resize = () => this.manager.resize(nPages);
    if (this.sequences.some(({ nInFlight }) => nInFlight > 0)) return refused(this.manager, resize);
    this.flush();
    const nUsed = this.manager.nPages - this.manager.nFreePages;
    const copies = unchangedIfFull(this.manager, resize);
    assertSame('full', copies === 'full', nUsed > nPages);
    if (copies === 'full') return;
    this.pending.push(...copies);
    this.flush();
    this.memory.fill(0, nPages * this.options.pageSize);
  }

  #reset(keepSwapped: boolean): void {
    this.flush();
    this.manager.reset({ keepSwapped });
    this.memory.fill(0);
    this.#saves.forget();
    for (const pin of this.pins) pin.tokens = [];
    for (const sequence of this.sequences)
      if (!(keepSwapped && sequence.isSwapped))
        Object.assign(sequence, { nComputed: 0, nInFlight: 0, isSwapped: false });
  }

  /** Make the copies that are pending. */
  flush(): void {
    copyPages(this.pending, this.options.pageSize, this.memory, this.memory);
    this.pending = [];
  }

  /** What a kernel does: write what is in flight to where the arrays of the step say. */
  #write({ id, nComputed, nInFlight, tokens, salt }: ModelSequence): void {
    const { slotMapping } = this.manager.batch([id]);
    const ids = this.kvIds.of(salt, tokens);
    for (let i = 0; i < nInFlight; i++) this.memory[slotMapping[i]!] = ids[nComputed + i]!;
  }

  #refusedInFlight(sequence: ModelSequence, call: () => void): boolean {
    if (sequence.nInFlight > 0) {
      refused(this.manager, call);
      return true;
    }
    this.flush();
    call();
    return false;
  }
}
