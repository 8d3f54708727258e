import type { SequenceId, Step } from 'pageflash';
import { EngineError, refuse } from '../engineError.js';
import { checkSampling, type Sampling } from '../kernels/sampling.js';
import type { EngineParts } from './engineParts.js';
import { Generation, type GenerationArgs } from './generation.js';
import { LogitsReading } from './logitsReading.js';
import { PatternReading, type AttentionPattern, type PatternOptions } from './patternReading.js';
import { Speculation } from './speculation.js';
import { StepRunner, type Rows, type SequencePlan, type StepInFlight } from './stepRunner.js';

/** What an engine has done since it was made. */
export interface EngineStats {
  nSteps: number;
  /** Tokens of prompts that were computed. */
  nPrefill: number;
  /** Tokens that were sampled. */
  nSampled: number;
  /** Drafts that were checked, and those that were right. */
  nDrafted: number;
  nAccepted: number;
}

export interface NewGeneration extends Pick<GenerationArgs, 'sampling' | 'maxNewTokens' | 'stopIds'> {
  readonly tokens: readonly number[];
  readonly priority: number;
}

/** Something to do between two steps. */
interface Waiting {
  readonly act: () => Promise<void>;
  readonly reject: (error: Error) => void;
}

/** Of sequences whose samples are not asked for. */
const MOST_LIKELY = checkSampling({});

/** Serves what is asked for, step by step: generations, and logits and attention weights of prompts. */
export class Scheduler {
  readonly stats: EngineStats = { nSteps: 0, nPrefill: 0, nSampled: 0, nDrafted: 0, nAccepted: 0 };
  readonly #parts: EngineParts;
  readonly #steps: StepRunner;
  readonly #speculation: Speculation;
  readonly #generations = new Map<SequenceId, Generation>();
  readonly #readings = new Map<SequenceId, LogitsReading | PatternReading>();
  /** What waits for a moment when all tokens are known. */
  readonly #waiting: Waiting[] = [];
  /** Why nothing more is taken. An object of its own, so that a device keeps no more than that of an engine. */
  readonly #refusal: { reason?: EngineError } = {};
  #isRunning = false;
  /** Settles when steps have come to an end. */
  #run: Promise<void> = Promise.resolve();

  constructor(parts: EngineParts) {
    const { pages, planner, settings, gpu } = parts;
    this.#parts = parts;
    this.#steps = new StepRunner(parts);
    this.#speculation = new Speculation({ planner, pages, nDrafts: settings.nDrafts });
    const refusal = this.#refusal;
    void gpu.device.lost.then(({ message }) => {
      refusal.reason ??= new EngineError(`The GPU is lost, and the engine with it: ${message}`);
    });
  }

  /** Sequences that are served. */
  get nSequences(): number {
    return this.#generations.size + this.#readings.size;
  }

  /** @throws EngineError once it was ended, or a step has failed */
  assertUsable(): void {
    const { reason } = this.#refusal;
    if (reason) throw new EngineError(reason.message, { cause: reason.cause });
  }

  generate({ tokens, priority, ...args }: NewGeneration): Generation {
    return this.#follow(this.#parts.planner.add({ tokens, priority }), args);
  }

  /** Resolves with a generation that goes on from the same tokens; with undefined if the other one has ended by then. */
  fork(generation: Generation, sampling: Sampling): Promise<Generation | undefined> {
    return this.whenSettled(() => {
      const { sequence, tokens, maxNewTokens, stopIds } = generation;
      if (generation.end !== undefined) return undefined;
      const { planner, pages } = this.#parts;
      const view = pages.sequence(sequence);
      // Drafts are not known to be right.
      const nTokens = view.nTokens - this.#speculation.nDrafts(sequence);
      const last = view.token(nTokens - 1);
      const copy = planner.fork(sequence, nTokens - 1);
      planner.append(copy, [last]);
      const forked = this.#follow(copy, { sampling, maxNewTokens, stopIds });
      forked.tokens.push(...tokens);
      return forked;
    });
  }

  /** Resolves with the logits of a prompt, f32 [tokens, vocabSize]. */
  logits(tokens: readonly number[]): Promise<Float32Array<ArrayBuffer>> {
    const { planner, config } = this.#parts;
    return new Promise((resolve, reject) => {
      const reading = { nTokens: tokens.length, vocabSize: config.vocabSize, resolve, reject };
      this.#readings.set(planner.add({ tokens, isPrivate: true }), new LogitsReading(reading));
      this.#start();
    });
  }

  /** Resolves with the attention weights of a prompt's last tokens. */
  attentionPattern(tokens: readonly number[], options: PatternOptions): Promise<AttentionPattern> {
    const { planner, config, gpu } = this.#parts;
    return new Promise((resolve, reject) => {
      const wanted = { ...options, nTokens: tokens.length, nHeads: config.nHeads, resolve, reject };
      const reading = new PatternReading(gpu, wanted);
      this.#readings.set(planner.add({ tokens, isPrivate: true }), reading);
      this.#start();
    });
  }

  /**
   * Does something between two steps, when all tokens are known and nothing is in flight. The next step waits until it is
   * done.
   *
   * @throws EngineError as `assertUsable`, or if it comes to that first
   */
  whenSettled<T>(act: () => T | Promise<T>): Promise<T> {
    return new Promise<T>((resolve, reject) => {
      this.assertUsable();
      const settle = async (): Promise<void> => {
        try {
          resolve(await act());
        } catch (error) {
          reject(error as Error);
        }
      };
      this.#waiting.push({ act: settle, reject });
      this.#start();
    });
  }

  /** Ends everything, and resolves once nothing is on its way any more; at once if nothing is. */
  async end(reason: EngineError): Promise<void> {
    this.#refusal.reason ??= reason;
    for (const generation of this.#generations.values()) generation.cancel();
    this.#reject(reason);
    if (this.#isRunning) await this.#run;
  }

  #follow(sequence: SequenceId, args: Omit<GenerationArgs, 'sequence' | 'onCancel'>): Generation {
    const onCancel = (): void => this.#forget(sequence);
    const generation = new Generation({ ...args, sequence, onCancel });
    this.#generations.set(sequence, generation);
    this.#start();
    return generation;
  }

  #start(): void {
    if (this.#isRunning) return;
    this.#isRunning = true;
    this.#run = this.#runSteps();
  }

  /** Runs steps until there is nothing to compute, each submitted before the last one's tokens are read. */
  async #runSteps(): Promise<void> {
    // Generations that are started in the same turn begin together.
    await Promise.resolve();
    let last: StepInFlight | undefined;
    try {
      while (!this.#refusal.reason) {
        if (this.#waiting.length > 0) {
          if (last) await this.#settle(last);
          last = undefined;
          for (let next = this.#waiting.shift(); next; next = this.#waiting.shift()) await next.act();
          // Any of these may have taken its time.
          continue;
        }
        const step = this.#parts.planner.plan();
        if (typeof step !== 'string') {
          last = await this.#next(step, last);
          continue;
        }
        if (!last && step === 'full') refuse('A sequence does not fit into the cache, not even alone.');
        if (!last && this.#waiting.length === 0) return;
        if (last) await this.#settle(last);
        last = undefined;
      }
      // The GPU may be lost while nothing is in flight.
      this.#failAll(this.#refusal.reason);
    } catch (error) {
      this.#fail(error as Error);
    } finally {
      // Here rather than when the promise is resolved: what is started before that must run as well.
      this.#isRunning = false;
    }
  }

  /** Submits a step, and takes the tokens of the last one. Returns the step if its own are not taken yet. */
  async #next(step: Step, last: StepInFlight | undefined): Promise<StepInFlight | undefined> {
    const flight = await this.#submit(step);
    await this.#read(step);
    if (last) await this.#settle(last);
    if (this.#speculation.isOn) {
      await this.#check(flight);
      return undefined;
    }
    this.#parts.planner.commitAhead();
    return flight;
  }

  #submit(step: Step): Promise<StepInFlight> {
    const { stats } = this;
    stats.nSteps += 1;
    const plans = Array.from(step.sequences, (sequence, b): SequencePlan => {
      const rows = rowsOf(step, b);
      const nDrafts = this.#speculation.nDrafts(sequence);
      const nRows = rows.end - rows.first;
      if (nRows > 1 + nDrafts) stats.nPrefill += nRows;
      const view = this.#parts.pages.sequence(sequence);
      const sampling = this.#generations.get(sequence)?.sampling ?? MOST_LIKELY;
      const reading = this.#readings.get(sequence);
      const watched = reading instanceof PatternReading ? reading.watch(view.nComputed, rows) : undefined;
      return { view, rows, nDrafts, sampling, watched };
    });
    return this.#steps.submit(step, plans);
  }

  /** Reads what is asked for of prompts in the step that was submitted last. */
  async #read(step: Step): Promise<void> {
    for (const [b, sequence] of Array.from(step.sequences).entries()) {
      const reading = this.#readings.get(sequence);
      if (!reading) continue;
      const first = step.cacheSeqlens[b]!;
      const rows = rowsOf(step, b);
      const isDone =
        reading instanceof PatternReading
          ? await reading.take(first + rows.end - rows.first)
          : reading.take(first, await this.#steps.logits(rows));
      if (isDone) this.#forget(sequence);
    }
  }

  /** Reads what a step has sampled, and tells the planner. */
  async #settle({ sampled, read }: StepInFlight): Promise<void> {
    const tokens = await read();
    this.#parts.planner.resolve(tokens);
    sampled.forEach((sequence, i) => this.#take(sequence, [tokens[i]!]));
  }

  /** Reads what a step has sampled after each draft: the first that differs is the next token. */
  async #check(flight: StepInFlight): Promise<void> {
    const { sampled, nDrafts, unsampled, read } = flight;
    const taken = this.#speculation.check(flight, await read());
    const nRejected = taken.map((tokens, i) => nDrafts[i]! + 1 - tokens.length);
    this.#parts.planner.commit(
      taken.map((tokens) => tokens.at(-1)!),
      nRejected,
    );
    sampled.forEach((sequence, i) => {
      this.stats.nDrafted += nDrafts[i]!;
      this.stats.nAccepted += nDrafts[i]! - nRejected[i]!;
      this.#speculation.forget(sequence);
      this.#take(sequence, taken[i]!);
      const generation = this.#generations.get(sequence);
      if (!generation) return;
      this.#speculation.propose(sequence, generation.maxNewTokens - generation.tokens.length - 1);
    });
    // A step that had no room for all drafts cannot check any.
    for (const sequence of unsampled) this.#speculation.withdraw(sequence);
  }

  #take(sequence: SequenceId, tokens: readonly number[]): void {
    const generation = this.#generations.get(sequence);
    if (!generation) return;
    for (const token of tokens) {
      this.stats.nSampled += 1;
      if (!generation.take(token)) continue;
      this.#forget(sequence);
      return;
    }
  }

  #forget(sequence: SequenceId): void {
    const wasThere = this.#generations.delete(sequence) || this.#readings.delete(sequence);
    if (!wasThere) return;
    this.#speculation.forget(sequence);
    this.#parts.planner.finish(sequence);
    this.#parts.attention.forget(sequence);
  }

  /**
   * A step has failed, and everything that was asked for with it. Nothing more is taken: what is in the cache is not known
   * to be right, and what was in the way, such as a lost device, mostly stays.
   */
  #fail(cause: Error): void {
    const message = `A step has failed, and the engine with it: ${cause.message}`;
    this.#failAll((this.#refusal.reason ??= new EngineError(message, { cause })));
  }

  #failAll(reason: EngineError): void {
    for (const [sequence, generation] of this.#generations) {
      generation.fail(reason);
      this.#forget(sequence);
    }
    this.#reject(reason);
  }

  /** Ends what is neither a generation nor a step. */
  #reject(reason: Error): void {
    for (const { reject } of this.#waiting.splice(0)) reject(reason);
    for (const [sequence, reading] of this.#readings) {
      reading.reject(reason);
      this.#forget(sequence);
    }
  }
}

/** The rows of a step that sequence b has. */
function rowsOf({ cuSeqlensQ }: Step, b: number): Rows {
  return { first: cuSeqlensQ[b]!, end: cuSeqlensQ[b + 1]! };
}
