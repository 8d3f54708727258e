import type { DeviceTraits, PagedKvCache, PageManager, PageUsage, SaveSource } from 'pageflash';
import { EngineError, refuse } from '../engineError.js';
import { checkSampling, type SamplingOptions } from '../kernels/sampling.js';
import type { ModelConfig } from '../model/config.js';
import type { EngineOptions, GenerateOptions } from './engineOptions.js';
import { makeParts, type EngineParts } from './engineParts.js';
import type { Generation } from './generation.js';
import type { AttentionPattern, PatternOptions } from './patternReading.js';
import { Scheduler, type EngineStats } from './scheduler.js';

/** An inference engine: a model, a paged cache, and many generations at once. */
export class Engine {
  readonly config: ModelConfig;
  readonly context: number;
  readonly pages: PageManager;
  readonly #parts: EngineParts;
  readonly #scheduler: Scheduler;
  #destruction: Promise<void> | undefined;

  private constructor(parts: EngineParts) {
    this.config = parts.config;
    this.context = parts.settings.context;
    this.pages = parts.pages;
    this.#parts = parts;
    this.#scheduler = new Scheduler(parts);
  }

  /**
   * Loads a model, and compiles everything.
   *
   * @throws EngineError for options that cannot be, or a model that does not fit the budget, before its weights are read;
   *   or if the GPU has no memory for it
   */
  static async create(device: GPUDevice, options: EngineOptions): Promise<Engine> {
    return new Engine(await makeParts(device, options));
  }

  /**
   * Starts to answer a prompt. Equal beginnings of prompts are computed once.
   *
   * @throws EngineError for what cannot be answered; or once the engine was destroyed, or a step has failed
   */
  generate(options: GenerateOptions): Generation {
    this.#scheduler.assertUsable();
    const { tokens, sampling = {}, stopIds = this.config.eosIds, priority = 0 } = options;
    const room = this.context - tokens.length;
    const maxNewTokens = options.maxNewTokens ?? room;
    if (maxNewTokens < 1 || maxNewTokens > room)
      refuse(
        `The prompt has ${tokens.length} tokens and the context ${this.context}, so ${room} can follow, not ${maxNewTokens}.`,
      );
    this.#checkPrompt(tokens, maxNewTokens);
    return this.#scheduler.generate({
      tokens,
      priority,
      sampling: checkSampling(sampling),
      maxNewTokens,
      stopIds: new Set(stopIds),
    });
  }

  /**
   * Starts a second answer that shares all tokens so far, and their pages, such as one with another seed. Resolves once
   * it is there.
   *
   * @throws EngineError as `generate`
   */
  async fork(generation: Generation, sampling: SamplingOptions): Promise<Generation> {
    this.#scheduler.assertUsable();
    const checked = checkSampling(sampling);
    if (this.#parts.settings.attention === 'naive')
      refuse('Naive attention cannot fork: its sequences share nothing.');
    const forked = await this.#scheduler.fork(generation, checked);
    return forked ?? refuse('A generation that has ended cannot be forked. Start another one.');
  }

  /**
   * Returns logits f32 [tokens, vocabSize] of all positions of a prompt, computed in steps beside all others.
   *
   * @throws EngineError as `generate`
   */
  async logits(tokens: readonly number[]): Promise<Float32Array<ArrayBuffer>> {
    this.#scheduler.assertUsable();
    this.#checkWhole(tokens);
    return this.#scheduler.logits(tokens);
  }

  /**
   * Returns how much each of a prompt's last tokens looks at each of its tokens in a layer, computed in steps beside all
   * others: of the last 64 tokens, or as many as fit into 32 MiB with all heads.
   *
   * @throws EngineError as `generate`; for a layer or head that the model has not; or with naive attention
   */
  async attentionPattern(tokens: readonly number[], options: PatternOptions): Promise<AttentionPattern> {
    this.#scheduler.assertUsable();
    if (this.#parts.settings.attention === 'naive')
      refuse(
        'Naive attention keeps no lse, from which attention weights are computed. Choose paged attention.',
      );
    const { nLayers, nHeads } = this.config;
    const { layer, head = 0 } = options;
    const isIndex = (index: number, n: number): boolean => Number.isInteger(index) && index >= 0 && index < n;
    if (!isIndex(layer, nLayers)) refuse(`The model has no layer ${layer}, only 0 to ${nLayers - 1}.`);
    if (!isIndex(head, nHeads)) refuse(`The model has no head ${head}, only 0 to ${nHeads - 1}.`);
    this.#checkWhole(tokens);
    return this.#scheduler.attentionPattern(tokens, options);
  }

  /** Compiles what only `attentionPattern` needs, in the background: without it, the first one compiles in its step. */
  async preparePattern(): Promise<void> {
    await this.#parts.attention.prepareWatched?.();
  }

  /**
   * Saves what the cache has of these tokens in whole pages, such as those of a conversation after its answer, for
   * `restore`. Other steps go on meanwhile. The pages are held until the stream was read to its end or cancelled, so do one
   * of these; it fails if the engine ends before.
   *
   * @throws EngineError with naive attention, or as `generate`
   */
  save(tokens: readonly number[]): ReadableStream<Uint8Array<ArrayBuffer>> {
    this.#scheduler.assertUsable();
    const cache = this.#pagedCache();
    const { pages, fingerprint } = this.#parts;
    return laterStream(this.#scheduler.whenSettled(() => cache.save({ pages, tokens, fingerprint })));
  }

  /**
   * Restores what was saved, by this engine or an equal one, on another device too: prompts that begin like it find it in
   * the cache. The next step waits until it is there. Resolves with the tokens that can be found now; with 0 if the cache
   * has no room for them.
   *
   * @throws EngineError as `save`; PageflashError for what was damaged, or saved with another model or in another way, when
   *   nothing has changed
   */
  async restore(source: SaveSource): Promise<number> {
    this.#scheduler.assertUsable();
    const cache = this.#pagedCache();
    const { pages, planner, fingerprint } = this.#parts;
    const saved = await cache.readSaved({ source, fingerprint });
    return this.#scheduler.whenSettled(async () => {
      const sequence = await cache.restore({ pages, saved });
      if (sequence === 'full') return 0;
      planner.finish(sequence);
      return saved.nComputed;
    });
  }

  get stats(): Readonly<EngineStats> {
    return this.#scheduler.stats;
  }

  /** What kernels of attention use of the device. */
  get traits(): DeviceTraits {
    return this.#parts.runtime.traits;
  }

  usage(): PageUsage {
    return this.pages.usage();
  }

  /**
   * Ends all generations as if they were cancelled, and frees everything on the GPU: at once, or if a step is on its way,
   * when it has ended, which is when the promise resolves. The device belongs to the caller. A second call does no more.
   */
  destroy(): Promise<void> {
    this.#destruction ??= this.#destroy();
    return this.#destruction;
  }

  async #destroy(): Promise<void> {
    await this.#scheduler.end(new EngineError('The engine was destroyed.'));
    const { attention, gpu, runtime } = this.#parts;
    attention.destroy();
    gpu.destroy();
    runtime.destroy();
  }

  /** Checks a prompt that nothing follows. */
  #checkWhole(tokens: readonly number[]): void {
    if (tokens.length > this.context)
      refuse(`The prompt has ${tokens.length} tokens, and the context is ${this.context}.`);
    this.#checkPrompt(tokens, 0);
  }

  #pagedCache(): PagedKvCache {
    return this.#parts.cache ?? refuse('Naive attention has no pages that could be saved or restored.');
  }

  #checkPrompt(tokens: readonly number[], maxNewTokens: number): void {
    const { vocabSize } = this.config;
    if (tokens.length === 0) refuse('A prompt has one token at least.');
    const wrong = tokens.find((id) => !(Number.isInteger(id) && id >= 0 && id < vocabSize));
    if (wrong !== undefined) refuse(`The model has no token ${wrong}, only 0 to ${vocabSize - 1}.`);
    const { pageSize, attention, nSequences } = this.#parts.settings;
    const nPages = Math.ceil((tokens.length + maxNewTokens) / pageSize);
    if (nPages > this.pages.nPages)
      refuse(`The prompt and its answer need ${nPages} pages of the cache, which has ${this.pages.nPages}.`);
    if (attention === 'naive' && this.#scheduler.nSequences === nSequences)
      refuse(`Naive attention has room for ${nSequences} generations at once, all of which are taken.`);
  }
}

/** A stream that is there only later. */
function laterStream(
  later: Promise<ReadableStream<Uint8Array<ArrayBuffer>>>,
): ReadableStream<Uint8Array<ArrayBuffer>> {
  const { readable, writable } = new TransformStream<Uint8Array<ArrayBuffer>, Uint8Array<ArrayBuffer>>();
  const piped = later.then(
    (stream) => stream.pipeTo(writable),
    (error) => writable.abort(error),
  );
  // Whoever reads is told.
  piped.catch(() => {});
  return readable;
}
