import { createRuntime, PageManager, StepPlanner } from 'pageflash';
import type { DeviceTraits, FloatDType, PageUsage, Runtime, SequenceId, Step } from 'pageflash';
import { refuse } from '../engineError.js';
import { Checkpoint } from '../files/safetensors.js';
import type { Progress } from '../files/loadProgress.js';
import type { ModelFiles } from '../files/modelFiles.js';
import { Gpu } from '../gpu/gpu.js';
import type { KernelTimes } from '../gpu/kernelTimes.js';
import { Sampler } from '../kernels/sample.js';
import { checkSampling, type SamplingOptions } from '../kernels/sampling.js';
import { readConfig, type ModelConfig } from '../model/config.js';
import { Model } from '../model/model.js';
import { loadWeights } from '../model/weights.js';
import type { WeightFormat } from '../model/weightFormats.js';
import { NaiveServing } from '../naive/naiveServing.js';
import { draftByLookup } from './drafts.js';
import { Generation, type GenerationArgs } from './generation.js';
import type { Attention } from './attention.js';
import { PagedAttention } from './pagedAttention.js';
import { StepRunner, type SequencePlan, type StepInFlight, type StepParts } from './stepRunner.js';

export interface EngineOptions {
  readonly files: ModelFiles;
  /** How weights are stored on the GPU. Default: as the checkpoint has them, if config.json says it, else f16 */
  readonly weights?: WeightFormat | undefined;
  /** Of the KV cache. With f32, everything is f32; otherwise q, k and v are f16. Default f16 */
  readonly kvType?: FloatDType | undefined;
  /** The most tokens of a sequence, prompt and answer. Default: what the model knows, at most 4096 */
  readonly context?: number | undefined;
  /** Sequences that have room at their full length. Default 4 */
  readonly nSequences?: number | undefined;
  /** The most tokens of a step. Default 512 */
  readonly maxTokens?: number | undefined;
  /** Tokens that are proposed by prompt lookup and checked in one step; 0 (default): none */
  readonly nDrafts?: number | undefined;
  /** How a sequence gives way when the cache is full. Default `'swap'` */
  readonly preempt?: 'recompute' | 'swap' | undefined;
  /** Pages of the cache. Default: room for `nSequences` at their full length */
  readonly nPages?: number | undefined;
  /**
   * Pageflash's over pages, or naive attention to compare with: rows of a cache that are as long as the context, no more
   * than `nSequences` generations at once, no forks, and nothing that is found again. Default `'paged'`
   */
  readonly attention?: 'paged' | 'naive' | undefined;
  /** Where the time of each kernel is kept, if it is measured. */
  readonly times?: KernelTimes | undefined;
  readonly onProgress?: ((progress: Progress) => void) | undefined;
  readonly signal?: AbortSignal | undefined;
}

export interface GenerateOptions {
  /** The prompt, one token at least. */
  readonly tokens: readonly number[];
  /** Default: as many as the context has room for */
  readonly maxNewTokens?: number | undefined;
  readonly sampling?: SamplingOptions | undefined;
  /** Tokens that end it. Default: those of the model */
  readonly stopIds?: Iterable<number> | undefined;
  /** Higher priorities are served first. Default 0 */
  readonly priority?: number | undefined;
}

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

/** Tokens of a page. */
export const PAGE_SIZE = 16;

/** An inference engine: a model, a paged cache, and many generations at once. */
export class Engine {
  readonly config: ModelConfig;
  readonly stats: EngineStats = { nSteps: 0, nPrefill: 0, nSampled: 0, nDrafted: 0, nAccepted: 0 };
  readonly context: number;
  readonly pages: PageManager;
  readonly #gpu: Gpu;
  readonly #runtime: Runtime;
  readonly #attention: Attention;
  /** The most generations at once, with naive attention. */
  readonly #maxNaive: number | undefined;
  readonly #steps: StepRunner;
  readonly #planner: StepPlanner;
  readonly #nDrafts: number;
  readonly #generations = new Map<SequenceId, Generation>();
  /** How many of a sequence's last tokens are drafts. */
  readonly #drafts = new Map<SequenceId, number>();
  /** What waits for a moment when all tokens are known. */
  readonly #waiting: (() => Promise<void>)[] = [];
  #isRunning = false;

  private constructor(parts: EngineParts) {
    this.config = parts.config;
    this.context = parts.context;
    this.pages = parts.pages;
    this.#gpu = parts.gpu;
    this.#runtime = parts.runtime;
    this.#attention = parts.attention;
    this.#maxNaive = parts.maxNaive;
    this.#planner = parts.planner;
    this.#nDrafts = parts.nDrafts;
    this.#steps = new StepRunner(parts);
  }

  /**
   * Loads a model, and compiles everything.
   *
   * @throws EngineError for a model that cannot be run, before its weights are read
   */
  static async create(device: GPUDevice, options: EngineOptions): Promise<Engine> {
    const { files, kvType = 'f16', maxTokens = 512, nSequences = 4, nDrafts = 0, times } = options;
    const config = await readConfig(files);
    const checkpoint = await Checkpoint.open(files);
    const context = options.context ?? Math.min(4096, config.maxPositions);
    if (context > config.maxPositions)
      refuse(`${files.name} has ${config.maxPositions} positions, fewer than the context of ${context}.`);
    const format = options.weights ?? config.dtype ?? 'f16';
    const gpu = new Gpu(device);
    const runtime = createRuntime(device);
    const { onProgress, signal } = options;
    const weights = await loadWeights(gpu, { checkpoint, config, format, onProgress, signal });
    const qkvType = kvType === 'f32' ? 'f32' : 'f16';
    const maxLogits = Math.min(maxTokens, nSequences * (1 + nDrafts));
    // The sampler writes what the model's embedding reads in the next step.
    const sampled = gpu.buffer('sampled', maxLogits * 4);
    const model = await Model.create(gpu, { config, weights, qkvType, maxTokens, maxLogits, sampled });
    const { logits, ids, qkv, attended } = model.activations;
    const { vocabSize } = config;
    const sampler = await Sampler.create(gpu, {
      logits,
      vocabSize,
      rowStride: vocabSize,
      maxRows: maxLogits,
      ids,
      sampled,
    });
    const nPages = options.nPages ?? nSequences * Math.ceil(context / PAGE_SIZE);
    const shared = { config, qkvType, qkv, attended, maxTokens, context } as const;
    const isNaive = options.attention === 'naive';
    const attention: Attention = isNaive
      ? await NaiveServing.create(gpu, { ...shared, nSequences })
      : await PagedAttention.create(runtime, { ...shared, kvType, pageSize: PAGE_SIZE, nPages });
    const { preempt = 'swap' } = options;
    const pages = new PageManager({
      nPages,
      pageSize: PAGE_SIZE,
      nHostPages: preempt === 'swap' && !isNaive ? nPages : 0,
      isCaching: !isNaive,
    });
    const planner = new StepPlanner({ pages, maxTokens, maxSequences: nSequences, preempt });
    const made = { config, context, gpu, runtime, model, attention, sampler, planner, pages };
    const how = { nDrafts, times, maxNaive: isNaive ? nSequences : undefined };
    return new Engine({ ...made, ...how });
  }

  /** Starts to answer a prompt. Equal beginnings of prompts are computed once. */
  generate(options: GenerateOptions): Generation {
    const { tokens, sampling = {}, stopIds = this.config.eosIds, priority = 0 } = options;
    const room = this.context - tokens.length;
    const maxNewTokens = options.maxNewTokens ?? room;
    if (maxNewTokens < 1 || maxNewTokens > room)
      refuse(
        `The prompt has ${tokens.length} tokens and the context ${this.context}, so ${room} can follow, not ${maxNewTokens}.`,
      );
    const wrong = tokens.find((id) => !(Number.isInteger(id) && id >= 0 && id < this.config.vocabSize));
    if (wrong !== undefined)
      refuse(`The model has no token ${wrong}, only 0 to ${this.config.vocabSize - 1}.`);
    const nPages = Math.ceil((tokens.length + maxNewTokens) / PAGE_SIZE);
    if (nPages > this.pages.nPages)
      refuse(`The prompt and its answer need ${nPages} pages of the cache, which has ${this.pages.nPages}.`);
    if (this.#generations.size === this.#maxNaive)
      refuse(`Naive attention has room for ${this.#maxNaive} generations at once, all of which are taken.`);
    const checked = checkSampling(sampling);
    const sequence = this.#planner.add({ tokens, priority });
    return this.#follow(sequence, { sampling: checked, maxNewTokens, stopIds: new Set(stopIds) });
  }

  /**
   * Starts a second answer that shares all tokens so far, and their pages, such as one with another seed. Resolves once
   * it is there.
   */
  fork(generation: Generation, sampling: SamplingOptions): Promise<Generation> {
    const checked = checkSampling(sampling);
    if (this.#maxNaive !== undefined) refuse('Naive attention cannot fork: its sequences share nothing.');
    return this.#whenSettled(() => {
      const { sequence, tokens, maxNewTokens, stopIds } = generation;
      if (generation.end !== undefined)
        refuse('A generation that has ended cannot be forked. Start another one.');
      const view = this.pages.sequence(sequence);
      // Drafts are not known to be right.
      const nTokens = view.nTokens - (this.#drafts.get(sequence) ?? 0);
      const last = view.token(nTokens - 1);
      const copy = this.#planner.fork(sequence, nTokens - 1);
      this.#planner.append(copy, [last]);
      const forked = this.#follow(copy, { sampling: checked, maxNewTokens, stopIds });
      forked.tokens.push(...tokens);
      return forked;
    });
  }

  /** Logits f32 [tokens, vocabSize] of all positions of a prompt, computed in steps of `maxTokens`. */
  logits(tokens: readonly number[]): Promise<Float32Array<ArrayBuffer>> {
    return this.#whenSettled(async () => {
      const { vocabSize } = this.config;
      const logits = new Float32Array(tokens.length * vocabSize);
      const sequence = this.#planner.add({ tokens, isPrivate: true, priority: Number.MAX_VALUE });
      for (let nDone = 0; nDone < tokens.length;) {
        const step = this.#planner.plan();
        if (typeof step === 'string') refuse('The prompt does not fit into the cache.');
        const b = step.sequences.indexOf(sequence);
        const rows = { first: step.cuSeqlensQ[b]!, end: step.cuSeqlensQ[b + 1]! };
        logits.set(await this.#steps.logits(step, rows), nDone * vocabSize);
        nDone += rows.end - rows.first;
        const sampled = [...step.sampled];
        // Others have no samples of this step.
        const others = [...step.sequences].filter((other) => this.#generations.has(other));
        this.#planner.commit(sampled.map(() => 0));
        for (const other of others) {
          const n = (this.#drafts.get(other) ?? 0) + Number(sampled.includes(other));
          if (n > 0) this.#sampleAgain(other, n);
        }
      }
      this.#planner.finish(sequence);
      this.#attention.forget(sequence);
      return logits;
    });
  }

  /** What kernels of attention use of the device. */
  get traits(): DeviceTraits {
    return this.#runtime.traits;
  }

  usage(): PageUsage {
    return this.pages.usage();
  }

  /** Frees everything on the GPU. The device belongs to the caller. */
  destroy(): void {
    for (const generation of this.#generations.values()) generation.cancel();
    this.#attention.destroy();
    this.#gpu.destroy();
    this.#runtime.destroy();
  }

  #follow(sequence: SequenceId, args: Omit<GenerationArgs, 'sequence' | 'onCancel'>): Generation {
    const onCancel = (): void => this.#forget(sequence);
    const generation = new Generation({ ...args, sequence, onCancel });
    this.#generations.set(sequence, generation);
    this.#start();
    return generation;
  }

  /** Does something between two steps, when all tokens are known and nothing is in flight. */
  #whenSettled<T>(act: () => T | Promise<T>): Promise<T> {
    return new Promise<T>((resolve, reject) => {
      this.#waiting.push(async () => {
        try {
          resolve(await act());
        } catch (error) {
          reject(error as Error);
        }
      });
      this.#start();
    });
  }

  #start(): void {
    if (this.#isRunning) return;
    this.#isRunning = true;
    this.#run().catch((error: unknown) => {
      this.#isRunning = false;
      for (const generation of this.#generations.values()) generation.fail(error as Error);
      this.#generations.clear();
    });
  }

  /** Runs steps until there is nothing to compute, each submitted before the last one's tokens are read. */
  async #run(): Promise<void> {
    // Generations that are started in the same turn begin together.
    await Promise.resolve();
    let last: StepInFlight | undefined;
    for (;;) {
      if (this.#waiting.length > 0) {
        if (last) await this.#settle(last);
        last = undefined;
        for (const act of this.#waiting.splice(0)) await act();
      }
      const step = this.#planner.plan();
      if (typeof step === 'string') {
        if (!last && step === 'full') refuse('A sequence does not fit into the cache, not even alone.');
        if (!last && this.#waiting.length === 0) {
          // Here rather than when the promise is resolved: what is started before that must run as well.
          this.#isRunning = false;
          return;
        }
        if (last) await this.#settle(last);
        last = undefined;
        continue;
      }
      const flight = await this.#submit(step);
      if (last) await this.#settle(last);
      last = undefined;
      if (this.#nDrafts > 0) {
        await this.#check(flight);
      } else {
        this.#planner.commitAhead();
        last = flight;
      }
    }
  }

  #submit(step: Step): Promise<StepInFlight> {
    const { stats } = this;
    stats.nSteps += 1;
    const plans = Array.from(step.sequences, (sequence, b): SequencePlan => {
      const first = step.cuSeqlensQ[b]!;
      const end = step.cuSeqlensQ[b + 1]!;
      const nDrafts = this.#drafts.get(sequence) ?? 0;
      if (end - first > 1 + nDrafts) stats.nPrefill += end - first;
      const view = this.pages.sequence(sequence);
      return { view, rows: { first, end }, nDrafts, sampling: this.#generations.get(sequence)!.sampling };
    });
    return this.#steps.submit(step, plans);
  }

  /** Reads what a step has sampled, and tells the planner. */
  async #settle({ sampled, read }: StepInFlight): Promise<void> {
    const tokens = await read();
    this.#planner.resolve(tokens);
    sampled.forEach((sequence, i) => this.#take(sequence, [tokens[i]!]));
  }

  /** Reads what a step has sampled after each draft: the first that differs is the next token. */
  async #check({ sampled, nDrafts, unsampled, read }: StepInFlight): Promise<void> {
    const samples = await read();
    const next: number[] = [];
    const nRejected: number[] = [];
    const taken: number[][] = [];
    let at = 0;
    sampled.forEach((sequence, i) => {
      const n = nDrafts[i]!;
      const nRight = this.#generations.has(sequence) ? this.#nRight(sequence, n, samples.subarray(at)) : 0;
      taken.push([...samples.subarray(at, at + nRight + 1)]);
      next.push(samples[at + nRight]!);
      nRejected.push(n - nRight);
      this.stats.nDrafted += n;
      this.stats.nAccepted += nRight;
      at += n + 1;
    });
    this.#planner.commit(next, nRejected);
    sampled.forEach((sequence, i) => {
      this.#drafts.delete(sequence);
      this.#take(sequence, taken[i]!);
      this.#draft(sequence);
    });
    // A step that had no room for all drafts cannot check any.
    for (const sequence of unsampled) {
      const n = this.#drafts.get(sequence) ?? 0;
      if (n > 0) this.#sampleAgain(sequence, n);
    }
  }

  /** How many of a sequence's drafts, from the first on, are what was sampled. */
  #nRight(sequence: SequenceId, nDrafts: number, samples: Uint32Array): number {
    const view = this.pages.sequence(sequence);
    const first = view.nTokens - nDrafts;
    const drafts = Array.from({ length: nDrafts }, (_, i) => view.token(first + i));
    const wrong = drafts.findIndex((draft, i) => draft !== samples[i]);
    return wrong < 0 ? nDrafts : wrong;
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

  #draft(sequence: SequenceId): void {
    const generation = this.#generations.get(sequence);
    if (!generation) return;
    const view = this.pages.sequence(sequence);
    const tokens = Array.from({ length: view.nTokens }, (_, position) => view.token(position));
    const room = generation.maxNewTokens - generation.tokens.length - 1;
    const drafts = draftByLookup(tokens, Math.min(this.#nDrafts, room));
    if (drafts.length === 0) return;
    this.#planner.append(sequence, drafts);
    this.#drafts.set(sequence, drafts.length);
  }

  /** Drops the last `n` tokens, and computes the one before them again, so that the next is sampled. */
  #sampleAgain(sequence: SequenceId, n: number): void {
    const view = this.pages.sequence(sequence);
    const nTokens = view.nTokens - n;
    const last = view.token(nTokens - 1);
    this.#planner.truncate(sequence, nTokens - 1);
    this.#planner.append(sequence, [last]);
    this.#drafts.delete(sequence);
  }

  #forget(sequence: SequenceId): void {
    if (!this.#generations.delete(sequence)) return;
    this.#drafts.delete(sequence);
    this.#planner.finish(sequence);
    this.#attention.forget(sequence);
  }
}

interface EngineParts extends StepParts {
  readonly config: ModelConfig;
  readonly context: number;
  readonly pages: PageManager;
  readonly runtime: Runtime;
  readonly planner: StepPlanner;
  readonly nDrafts: number;
  readonly maxNaive: number | undefined;
}
