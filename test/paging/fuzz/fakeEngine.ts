import type { PageEvent } from '../../../src/paging/prefix/pageEvents.js';
import { PageManager } from '../../../src/paging/pageManager.js';
import { pagesOfStep } from '../../../src/paging/pagePlanner.js';
import type { PageCopy } from '../../../src/paging/pool/pagePool.js';
import type { Step } from '../../../src/paging/planner/step.js';
import { StepPlanner } from '../../../src/paging/planner/stepPlanner.js';
import type { EngineEvent } from './engineEvents.js';
import { copyPages, KvIds } from './kvMemory.js';
import { checkInvariants } from './invariants.js';
import { refused } from './managerRules.js';
import { ModelledSaves } from './modelledSaves.js';
import {
  isResting,
  setComputed,
  type EngineModel,
  type EngineSequence,
  type FakeEngineOptions,
  type ModelPin,
} from './pagingModel.js';
import { checkPreemption, checkStep, computeStep, fits } from './stepRules.js';
import { assertSame } from './fastAssert.js';
import { EventRouter } from './eventRouter.js';

/**
 * An engine around a step planner. Instead of a language model, it predicts tokens from KV ids; all that a model would read
 * is checked to have been written by the same sequence.
 */
export class FakeEngine implements EngineModel {
  readonly options: FakeEngineOptions;
  readonly manager: PageManager;
  readonly planner: StepPlanner;
  readonly router: EventRouter;
  readonly sequences: EngineSequence[] = [];
  readonly kvIds = new KvIds();
  readonly memory: Int32Array;
  readonly hostMemory: Int32Array;
  readonly pending: readonly PageCopy[] = [];
  readonly pins: ModelPin[] = [];
  readonly hits = { nSearched: 0, nHit: 0 };
  readonly #saves: ModelledSaves = new ModelledSaves(this);
  /** What is to be restored in the next step, while its copies are still to be made. */
  #restoreInStep: (EngineEvent & { readonly type: 'restore' }) | undefined;
  #nArrivals = 0;

  constructor(options: FakeEngineOptions) {
    this.options = options;
    const { nPages, pageSize, nHostPages, window, firstKeys, isCaching, ...rules } = options;
    this.router = new EventRouter(options);
    const onEvent = (event: PageEvent) => this.router.handle(event);
    this.manager = new PageManager({ nPages, pageSize, nHostPages, window, firstKeys, isCaching, onEvent });
    this.planner = new StepPlanner({ pages: this.manager, ...rules });
    this.memory = new Int32Array(options.nPages * options.pageSize);
    this.hostMemory = new Int32Array(options.nHostPages * options.pageSize);
  }

  run(event: EngineEvent): void {
    this.#do(event);
    this.#observe();
    checkInvariants(this);
    this.#saves.check();
  }

  /** Run until every sequence has ended. */
  end(): void {
    this.#restoreInStep = undefined;
    for (const sequence of this.sequences) this.#goOn(sequence);
    const nTokens = this.sequences.reduce((sum, { tokens, nNew }) => sum + tokens.length + nNew, 0);
    let nSteps = 0;
    for (; this.sequences.length > 0; nSteps++) {
      assertSame('steps without an end', nSteps > 100 + 20 * nTokens, false);
      if (this.#step() === 'idle') break;
      checkInvariants(this);
    }
    assertSame('sequences without an end', this.sequences.length, 0);
    for (const { id } of this.pins) this.manager.unpin(id);
    this.pins.length = 0;
    this.#saves.releaseAll();
    checkInvariants(this);
    assertSame('free pages after all', this.manager.nFreePages, this.manager.nPages);
    assertSame('host pages after all', this.manager.usage().nHostUsed, 0);
  }

  #do(event: EngineEvent): void {
    if (event.type === 'add') {
      this.#add(event);
    } else if (event.type === 'steps') {
      for (let i = 0; i < event.n; i++) this.#step();
    } else if (event.type === 'resize') {
      this.#resize(1 + (event.n % this.options.nPages));
    } else if (event.type === 'reset') {
      this.planner.reset({ keepSwapped: event.keepSwapped });
      this.memory.fill(0);
      for (const pin of this.pins) pin.tokens = [];
      this.#saves.forget();
    } else if (event.type === 'restore') {
      if (event.isInStep) this.#restoreInStep = event;
      else this.#restore(event);
    } else if (event.type === 'finishSave') {
      this.#saves.finish(event.pick);
    } else if (event.type === 'unpin') {
      if (this.pins.length > 0) this.manager.unpin(this.pins.splice(event.pick % this.pins.length, 1)[0]!.id);
    } else if (this.sequences.length > 0) {
      const sequence = this.sequences[event.pick % this.sequences.length]!;
      if (event.type === 'abort') this.#finish(sequence);
      else if (event.type === 'draft') this.#draft(sequence, event);
      else if (event.type === 'fork') this.#fork(sequence);
      else if (event.type === 'checkpoint') this.#checkpoint(sequence);
      else if (event.type === 'rest') this.#rest(sequence);
      else if (event.type === 'goOn') this.#goOn(sequence);
      else if (event.type === 'goBack') this.#goBack(sequence);
      else if (event.type === 'save') this.#save(sequence);
      else this.#pin(sequence);
    }
  }

  #pin({ id, salt, tokens, isPrivate }: EngineSequence): void {
    const nTokens = isPrivate ? 0 : this.router.find([...tokens, 0], salt).nTokens;
    this.pins.push({ id: this.manager.pin(id), salt, tokens: tokens.slice(0, nTokens) });
  }

  /** Of a sequence, and of what can be found of its tokens, which may be more or less. */
  #save(sequence: EngineSequence): void {
    this.#saves.save(sequence);
    this.#saves.saveFound(sequence);
  }

  #restore({ pick, priority }: EngineEvent & { readonly type: 'restore' }, step?: Step): void {
    const restored = this.#saves.restore(pick, pagesOfStep(step));
    if (!restored) return;
    const { id } = restored.sequence;
    if (this.manager.sequence(id).nInFlight > 0)
      refused(this.manager, () => this.planner.adopt({ sequence: id, priority }));
    this.manager.commit(id);
    this.planner.adopt({ sequence: id, priority });
    refused(this.manager, () => this.planner.adopt({ sequence: id }));
    this.sequences.push({ ...restored.sequence, priority, arrival: this.#nArrivals++, nNew: 3, nDrafts: 0 });
  }

  /** While a step is planned: save what it neither computes nor swaps, and restore. */
  #interfere(step: Step): void {
    const event = this.#restoreInStep;
    this.#restoreInStep = undefined;
    if (!event) return;
    const swapped = new Set([...step.swapsOut, ...step.swapsIn].flat());
    const { sequences } = this.manager.snapshot();
    sequences.forEach(({ id, nInFlight, pages, hostPages }, i) => {
      if (nInFlight > 0) refused(this.manager, () => this.manager.save({ sequence: id }));
      else if (![...pages, ...hostPages].some((page) => swapped.has(page)))
        this.#saves.save(this.sequences[i]!);
    });
    this.#saves.check();
    this.#restore(event, step);
  }

  #add({ tokens, priority, salt, isPrivate, nNew }: EngineEvent & { readonly type: 'add' }): void {
    const id = this.planner.add({ tokens, priority, salt, isPrivate });
    const state = {
      nComputed: 0,
      nInFlight: 0,
      nOnceComputed: 0,
      isSwapped: false,
      isCounted: false,
      nDrafts: 0,
    };
    const own = { isPrivate: isPrivate || !this.options.isCaching, tokens: [...tokens] };
    this.sequences.push({ id, salt, priority, arrival: this.#nArrivals++, nNew, ...own, ...state });
    if (nNew === 0) this.#finish(this.sequences.at(-1)!);
  }

  /** Parallel sampling: a fork with another last token. */
  #fork(sequence: EngineSequence): void {
    const nTokens = Math.max(1, sequence.tokens.length - sequence.nDrafts);
    const token = ((sequence.tokens[nTokens - 1] ?? 0) + 1) % N_TOKENS;
    const copy = this.#forked(sequence, Math.min(nTokens - 1, sequence.tokens.length));
    this.#append(copy, token);
  }

  /** A fork that rests, to go on from here later. */
  #checkpoint(sequence: EngineSequence): void {
    const copy = this.#forked(sequence, sequence.nOnceComputed);
    assertSame(`checkpoint ${copy.id} rests`, this.manager.sequence(copy.id).isResting, true);
  }

  #forked(sequence: EngineSequence, nTokens: number): EngineSequence {
    const id = this.planner.fork(sequence.id, nTokens);
    const copy = { ...sequence, id, tokens: [...sequence.tokens], nDrafts: 0, arrival: this.#nArrivals++ };
    this.sequences.push(copy);
    this.#cut(copy, nTokens);
    return copy;
  }

  /** Drop what is not computed, so that the sequence rests. */
  #rest(sequence: EngineSequence): void {
    const { nOnceComputed } = sequence;
    this.planner.truncate(sequence.id, nOnceComputed);
    this.#cut(sequence, nOnceComputed);
    assertSame(`sequence ${sequence.id} rests`, this.manager.sequence(sequence.id).isResting, true);
  }

  /** Append a token to a sequence that rests. */
  #goOn(sequence: EngineSequence): void {
    if (sequence.nOnceComputed === sequence.tokens.length) this.#append(sequence, 1);
  }

  /** Drop half of the tokens, and go on from there. */
  #goBack(sequence: EngineSequence): void {
    const nTokens = Math.floor(sequence.tokens.length / 2);
    this.planner.truncate(sequence.id, nTokens);
    this.#cut(sequence, nTokens);
    this.#append(sequence, 1);
  }

  #cut(sequence: EngineSequence, nTokens: number): void {
    sequence.tokens.length = nTokens;
    sequence.nOnceComputed = Math.min(sequence.nOnceComputed, nTokens);
    sequence.nDrafts = 0;
    this.#observe();
  }

  #append(sequence: EngineSequence, token: number): void {
    this.planner.append(sequence.id, [token]);
    sequence.tokens.push(token);
  }

  #draft(sequence: EngineSequence, { nRight, nWrong }: EngineEvent & { readonly type: 'draft' }): void {
    const { tokens } = sequence;
    for (let i = 0; i < nRight + nWrong; i++) {
      const token = (this.#next(sequence, tokens.length) + (i < nRight ? 0 : 1)) % N_TOKENS;
      this.planner.append(sequence.id, [token]);
      tokens.push(token);
      sequence.nDrafts++;
    }
  }

  #resize(nPages: number): void {
    const copies = this.manager.resize(nPages);
    if (copies !== 'full') this.#copy(copies, this.memory, this.memory);
  }

  #finish(sequence: EngineSequence): void {
    this.planner.finish(sequence.id);
    this.sequences.splice(this.sequences.indexOf(sequence), 1);
  }

  #step(): 'idle' | 'full' | 'done' {
    this.#observe();
    const before = this.sequences.map((sequence) => ({ ...sequence }));
    const snapshot = this.manager.snapshot();
    const fitting = new Set(
      this.sequences.filter((sequence) => fits(sequence, snapshot, this)).map(({ id }) => id),
    );
    const step = this.planner.plan();
    if (typeof step === 'string') {
      assertSame(
        'the state after idle or full',
        JSON.stringify(this.manager.snapshot()),
        JSON.stringify(snapshot),
      );
      assertSame('the same plan again', this.planner.plan(), step);
      assertSame('what fits', fitting.size, 0);
      assertSame('all rest', this.sequences.every(isResting), step === 'idle');
      if (step === 'full') this.#makeWay();
      return step;
    }
    this.#observe();
    checkStep(step, this);
    this.#countHits(step);
    checkPreemption({ before, snapshot, fitting, step, engine: this });
    this.#interfere(step);
    this.#copy(step.swapsOut, this.memory, this.hostMemory);
    this.#copy(step.copies, this.memory, this.memory);
    this.#copy(step.swapsIn, this.hostMemory, this.memory);
    computeStep(step, this);
    this.#commit(step);
    return 'done';
  }

  #copy(copies: readonly PageCopy[], from: Int32Array, to: Int32Array): void {
    const targets = new Set(copies.map(([, target]) => target));
    assertSame('copies to different pages', targets.size, copies.length);
    if (from === to)
      for (const [source] of copies) assertSame('a copy of a copy', targets.has(source), false);
    copyPages(copies, this.options.pageSize, from, to);
  }

  /** Nothing fits: end what is being saved, unpin something, or finish the longest sequence. */
  #makeWay(): void {
    if (this.#saves.releaseAll() > 0) return;
    if (this.pins.length > 0) this.manager.unpin(this.pins.pop()!.id);
    else this.#finish(this.sequences.toSorted((a, b) => b.tokens.length - a.tokens.length)[0]!);
  }

  #countHits(step: Step): void {
    for (const id of step.sequences) {
      const sequence = this.#get(id)!;
      if (sequence.isCounted) continue;
      sequence.isCounted = true;
      this.hits.nSearched += sequence.tokens.length;
      this.hits.nHit += sequence.nComputed;
    }
  }

  #commit(step: Step): void {
    const sampled = Array.from(step.sampled, (id) => this.#get(id)!);
    const right = sampled.map((sequence) => this.#nRight(sequence));
    const rejected = sampled.map(({ tokens, nInFlight }, i) =>
      Math.min(nInFlight, tokens.length - right[i]!),
    );
    const next = sampled.map((sequence, i) => this.#next(sequence, right[i]!));
    this.planner.commit(next, rejected);
    for (const sequence of Array.from(step.sequences, (id) => this.#get(id)!))
      setComputed(sequence, sequence.nComputed + sequence.nInFlight);
    sampled.forEach((sequence, i) => {
      sequence.nOnceComputed = Math.min(sequence.nOnceComputed, right[i]!);
      if (sequence.tokens.length - rejected[i]! > right[i]!) {
        // Wrong drafts were computed in an earlier step.
        this.planner.truncate(sequence.id, right[i]!);
        this.planner.append(sequence.id, [next[i]!]);
      }
      sequence.nNew -= right[i]! - (sequence.tokens.length - sequence.nDrafts) + 1;
      sequence.tokens = [...sequence.tokens.slice(0, right[i]), next[i]!];
      sequence.nDrafts = 0;
    });
    this.#observe();
    for (const sequence of sampled) if (sequence.nNew <= 0) this.#finish(sequence);
  }

  /** Tokens up to the first wrong draft. */
  #nRight(sequence: EngineSequence): number {
    let nRight = sequence.tokens.length - sequence.nDrafts;
    while (nRight < sequence.tokens.length && sequence.tokens[nRight] === this.#next(sequence, nRight))
      nRight++;
    return nRight;
  }

  /** What the model predicts after the first `nTokens`. */
  #next({ salt, tokens }: EngineSequence, nTokens: number): number {
    const [id = 0] = this.kvIds.of(salt, tokens.slice(0, nTokens)).slice(-1);
    return Math.floor((id * 7919) / 13) % N_TOKENS;
  }

  #get(id: number): EngineSequence | undefined {
    return this.sequences.find((sequence) => sequence.id === id);
  }

  /** Take over how far the planner got, which the model does not predict. */
  #observe(): void {
    for (const sequence of this.sequences) {
      const { nComputed, nInFlight, isSwapped } = this.manager.sequence(sequence.id);
      Object.assign(sequence, { nComputed, nInFlight, isSwapped });
    }
  }
}

const N_TOKENS = 3;
