import {
  attnVariants,
  attnWeights,
  attnWithKvCache,
  PagedKvCache,
  planAttnWithKvCache,
  prepareModel,
  tensorFrom,
} from 'pageflash';
import type {
  AttentionPlan,
  AttnWithKvCacheArgs,
  CacheLayer,
  FloatDType,
  PrepareModelOptions,
  Runtime,
  Step,
  Tensor,
} from 'pageflash';
import type { Recorder } from '../gpu/recorder.js';
import { anglesOf } from '../model/angles.js';
import type { LayerConfig, ModelConfig } from '../model/config.js';
import type { Attention, WatchedRows } from './attention.js';

export interface PagedAttentionOptions {
  readonly config: ModelConfig;
  readonly kvType: FloatDType;
  /** Of q, k, v and the result. */
  readonly qkvType: FloatDType;
  /** What frequencies of rotary embedding are rounded to. */
  readonly rotaryType: FloatDType;
  /** [tokens, (nHeads + 2 · nKvHeads) · headDim] */
  readonly qkv: GPUBuffer;
  /** [tokens, nHeads · headDim] */
  readonly attended: GPUBuffer;
  readonly maxTokens: number;
  readonly pageSize: number;
  readonly nPages: number;
  /** The most tokens of a sequence. */
  readonly context: number;
  /** Whether to run each kernel once, for drivers that compile only then. */
  readonly warmUp: boolean;
  readonly signal?: AbortSignal | undefined;
}

/**
 * Attention by pageflash, over pages. All layers have the pages of all tokens: where some layers have a window, it is in
 * the kernel, and a step has two plans.
 */
export class PagedAttention implements Attention {
  readonly cache: PagedKvCache;
  readonly #runtime: Runtime;
  readonly #options: PagedAttentionOptions;
  /** One for all layers that have the same window and angles. */
  readonly #kinds = new Map<string, LayerKind>();
  /** The step that has begun. */
  #step: Step | undefined;
  /** f32 [nHeads · maxTokens]: room for the lse of a layer, once weights were asked for. */
  #lse: GPUBuffer | undefined;

  private constructor(runtime: Runtime, cache: PagedKvCache, options: PagedAttentionOptions) {
    this.#runtime = runtime;
    this.cache = cache;
    this.#options = options;
    for (const layer of options.config.layers) {
      const key = keyOf(layer);
      if (!this.#kinds.has(key)) this.#kinds.set(key, { args: layerArgs(runtime, layer, options) });
    }
  }

  /** Allocates the pages, and compiles all kernels. */
  static async create(runtime: Runtime, options: PagedAttentionOptions): Promise<PagedAttention> {
    const { config, kvType, pageSize, nPages } = options;
    const { nLayers, nHeads, nKvHeads, headDim } = config;
    const shape = { nLayers, nHeads, nKvHeads, headDim };
    const cache = await PagedKvCache.create(runtime, { ...shape, dtype: kvType, pageSize, nPages });
    try {
      for (const window of new Set(config.layers.map((layer) => layer.window)))
        await prepareModel(runtime, modelOf(options, window));
      return new PagedAttention(runtime, cache, options);
    } catch (error) {
      cache.destroy();
      throw error;
    }
  }

  /** Carries out the page copies and swaps of a step, and plans its attention, once for each kind of layer. */
  async begin(step: Step): Promise<void> {
    this.#step = step;
    await this.cache.movePages(step);
    for (const kind of this.#kinds.values()) {
      const args = { ...this.#views(step.nNewTokens), ...step };
      if (kind.plan) kind.plan.update(args);
      else kind.plan = planAttnWithKvCache(this.#runtime, { ...args, ...this.cache.layer(0), ...kind.args });
    }
  }

  /** Appends a layer's new keys and values to its pages, and attends. */
  record(recorder: Recorder, layer: number, watched: readonly WatchedRows[]): void {
    const { plan, args } = this.#kinds.get(keyOf(this.#options.config.layers[layer]!))!;
    const tensors = this.cache.layer(layer);
    if (watched.length > 0) this.#recordWatched(recorder, { ...tensors, ...args }, watched);
    else recorder.inPass('attention', (pass) => plan!.record({ ...tensors, pass }));
  }

  /** Compiles, in the background, what only rows that are watched need. */
  async prepareWatched(): Promise<void> {
    const { config, kvType: kvDType, qkvType: dtype } = this.#options;
    const { headDim, nHeads, nKvHeads, attentionSoftcap } = config;
    const variants = attnVariants(this.#runtime, {
      headDim,
      dtype,
      kvDType,
      newDType: dtype,
      group: nHeads / nKvHeads,
      paged: true,
      rotary: true,
      softcap: attentionSoftcap > 0,
      weights: true,
    });
    await this.#runtime.prepare(variants);
  }

  /** Pages are the planner's. */
  forget(): void {}

  destroy(): void {
    for (const { plan, args } of this.#kinds.values()) {
      plan?.destroy();
      args.rotaryCos.buffer.destroy();
      args.rotarySin.buffer.destroy();
    }
    this.#lse?.destroy();
    this.cache.destroy();
  }

  /** As the plan does, and stores what some rows look at. */
  #recordWatched(
    recorder: Recorder,
    layer: LayerKind['args'] & CacheLayer,
    watched: readonly WatchedRows[],
  ): void {
    const step = this.#step!;
    const { out, ...inputs } = this.#views(step.nNewTokens);
    const lse = this.#lseOf(step.nNewTokens);
    const args = { ...inputs, ...step, ...layer, lse };
    recorder.inPass('attention', (pass) => attnWithKvCache(this.#runtime, { ...args, out, pass }));
    for (const { rows, weights } of watched)
      recorder.inPass('attention_weights', (pass) =>
        attnWeights(this.#runtime, { ...args, rows, weights, pass }),
      );
  }

  #lseOf(nTokens: number): Tensor {
    const { config, maxTokens } = this.#options;
    const size = config.nHeads * maxTokens;
    this.#lse ??= tensorFrom(this.#runtime, new Float32Array(size), { shape: [size], dtype: 'f32' }).buffer;
    return { buffer: this.#lse, dtype: 'f32', shape: [config.nHeads, nTokens] };
  }

  /** The first rows of q, k and v, which share a buffer, and of the result. */
  #views(nTokens: number): {
    readonly q: Tensor;
    readonly k: Tensor;
    readonly v: Tensor;
    readonly out: Tensor;
  } {
    const { config, qkv, attended, qkvType: dtype } = this.#options;
    const { nHeads, nKvHeads, headDim } = config;
    const strides = [(nHeads + 2 * nKvHeads) * headDim, headDim, 1];
    const heads = (first: number, n: number): Tensor => ({
      buffer: qkv,
      dtype,
      shape: [nTokens, n, headDim],
      offset: first * headDim,
      strides,
    });
    return {
      q: heads(0, nHeads),
      k: heads(nHeads, nKvHeads),
      v: heads(nHeads + nKvHeads, nKvHeads),
      out: { buffer: attended, dtype, shape: [nTokens, nHeads, headDim] },
    };
  }
}

/** Returns the bytes that attention takes beside the cache: angles, and queries that are rotated. */
export function pagedStepBytes({
  config,
  qkvType,
  maxTokens,
  context,
}: Pick<PagedAttentionOptions, 'config' | 'qkvType' | 'maxTokens' | 'context'>): number {
  const { nHeads, headDim, layers } = config;
  const tables = new Set(layers.map(keyOf)).size * 2 * context * (headDim / 2) * 4;
  return tables + maxTokens * nHeads * headDim * (qkvType === 'f32' ? 4 : 2);
}

/** What decides which kernels layers with a window run. */
function modelOf(options: PagedAttentionOptions, window: number | null): PrepareModelOptions {
  const { config, kvType, qkvType, maxTokens, context: maxContext, warmUp, signal } = options;
  const { nHeads, nKvHeads, headDim, attentionSoftcap } = config;
  return {
    nHeads,
    nKvHeads,
    headDim,
    dtype: qkvType,
    kvDType: kvType,
    paged: true,
    rotary: true,
    softcap: attentionSoftcap > 0,
    maxTokens,
    maxContext,
    ...windowArgs(window),
    warmUp,
    signal,
  };
}

interface LayerKind {
  readonly args: ReturnType<typeof layerArgs>;
  plan?: AttentionPlan<AttnWithKvCacheArgs>;
}

function keyOf({ window, rotary }: LayerConfig): string {
  return `${window} ${rotary}`;
}

/** What attention in a layer is given in every step. */
function layerArgs(runtime: Runtime, { window, rotary }: LayerConfig, options: PagedAttentionOptions) {
  const { config, context: maxPositions, rotaryType } = options;
  const angles = { rotary: config.rotary[rotary], maxPositions, rotaryType };
  const { rotaryDim, rotaryInterleaved, ...tables } = anglesOf(angles);
  const upload = (table: Float32Array): Tensor =>
    tensorFrom(runtime, table, { shape: [maxPositions, rotaryDim / 2], dtype: 'f32' });
  return {
    rotaryCos: upload(tables.rotaryCos),
    rotarySin: upload(tables.rotarySin),
    rotaryInterleaved,
    causal: true,
    softmaxScale: config.softmaxScale,
    softcap: config.attentionSoftcap,
    ...windowArgs(window),
  };
}

/** A window of w tokens, a query's own included, reaches w − 1 back. */
function windowArgs(window: number | null): { readonly windowSize?: [number, number] } {
  return window === null ? {} : { windowSize: [window - 1, 0] };
}
