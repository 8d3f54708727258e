import { createRuntime, PageManager, StepPlanner } from 'pageflash';
import type { PagedKvCache, Runtime } from 'pageflash';
import { Gpu } from '../gpu/gpu.js';
import { FirstRunRecorder } from '../gpu/recorder.js';
import { Sampler } from '../kernels/sample.js';
import { checkSampling } from '../kernels/sampling.js';
import type { ModelConfig } from '../model/config.js';
import { Model } from '../model/model.js';
import { loadWeights } from '../model/weights.js';
import { NaiveServing } from '../naive/naiveServing.js';
import type { Attention } from './attention.js';
import { fingerprintOf } from './fingerprint.js';
import { settingsOf, type EngineOptions, type EngineSettings } from './engineOptions.js';
import { checkMemory } from './memory.js';
import { PagedAttention } from './pagedAttention.js';
import type { StepParts } from './stepRunner.js';

/** Everything that an engine is made of. */
export interface EngineParts extends StepParts {
  readonly config: ModelConfig;
  readonly settings: EngineSettings;
  readonly runtime: Runtime;
  readonly pages: PageManager;
  readonly planner: StepPlanner;
  /** Naive attention has none. */
  readonly cache: PagedKvCache | undefined;
  /** A name for all that decides about keys and values. */
  readonly fingerprint: string;
}

/**
 * Loads a model, and compiles everything.
 *
 * @throws EngineError for options that cannot be, or a model that does not fit the budget, before its weights are read;
 *   or if the GPU has no memory for it
 */
export async function makeParts(device: GPUDevice, options: EngineOptions): Promise<EngineParts> {
  const settings = settingsOf(options);
  const { model: opened, budgetBytes, times } = options;
  const { config } = opened;
  if (budgetBytes !== undefined) checkMemory(opened, settings, { budgetBytes, limits: device.limits });
  const gpu = new Gpu(device);
  const runtime = createRuntime(device);
  const warmUp = options.warmUp ?? runtime.traits.deviceClass === 'gpu';
  let attention: Attention | undefined;
  try {
    const { model, sampler, weightsDigest } = await makeModel(gpu, options, settings);
    attention = await makeAttention({ gpu, runtime, model, warmUp }, options, settings);
    await gpu.check();
    if (warmUp) await runOnce(gpu, model, sampler);
    const onGpu = { gpu, runtime, model, sampler, attention, times };
    const cache = attention instanceof PagedAttention ? attention.cache : undefined;
    const fingerprint = await fingerprintOf({ model: opened, settings, weightsDigest, device });
    return { ...onGpu, config, settings, ...makePlanner(settings), cache, fingerprint };
  } catch (error) {
    attention?.destroy();
    gpu.destroy();
    runtime.destroy();
    throw error;
  }
}

/** Loads the weights, and compiles all kernels but those of attention. */
async function makeModel(
  gpu: Gpu,
  { model: { config, checkpoint, pieces }, onProgress, signal }: EngineOptions,
  settings: EngineSettings,
): Promise<{ readonly model: Model; readonly sampler: Sampler; readonly weightsDigest: string }> {
  const { weights: format, maxLogits: maxRows } = settings;
  const weights = await loadWeights(gpu, { checkpoint, pieces, format, onProgress, signal });
  // The sampler writes what the model's embedding reads in the next step.
  const sampled = gpu.buffer('sampled', maxRows * 4);
  const model = await Model.create(gpu, { ...settings, config, weights, sampled });
  const { logits, ids } = model.activations;
  const { vocabSize } = config;
  const shape = { vocabSize, rowStride: vocabSize, maxRows };
  const sampler = await Sampler.create(gpu, { ...shape, logits, ids, sampled });
  return { model, sampler, weightsDigest: weights.digest };
}

interface AttentionContext {
  readonly gpu: Gpu;
  readonly runtime: Runtime;
  readonly model: Model;
  readonly warmUp: boolean;
}

function makeAttention(
  { gpu, runtime, model, warmUp }: AttentionContext,
  { model: { config }, signal }: EngineOptions,
  settings: EngineSettings,
): Promise<Attention> {
  const { qkv, attended } = model.activations;
  const shared = { ...settings, config, qkv, attended };
  return settings.attention === 'naive'
    ? NaiveServing.create(gpu, shared)
    : PagedAttention.create(runtime, { ...shared, warmUp, signal });
}

function makePlanner({ attention, preempt, nPages, pageSize, maxTokens, nSequences }: EngineSettings): {
  readonly pages: PageManager;
  readonly planner: StepPlanner;
} {
  const isNaive = attention === 'naive';
  const nHostPages = preempt === 'swap' && !isNaive ? nPages : 0;
  const pages = new PageManager({ nPages, pageSize, nHostPages, isCaching: !isNaive });
  return { pages, planner: new StepPlanner({ pages, maxTokens, maxSequences: nSequences, preempt }) };
}

/** Runs each kernel of the model and of the sampler once, for a step of one token that nobody asked for. */
async function runOnce(gpu: Gpu, model: Model, sampler: Sampler): Promise<void> {
  gpu.watched('the first run of its kernels', () => {
    model.prepare(Int32Array.of(0), Uint32Array.of(0));
    // A penalty needs two kernels more.
    sampler.prepare([{ sampling: checkSampling({ repetitionPenalty: 2 }), position: 0 }]);
    const recorder = new FirstRunRecorder(gpu.device);
    model.recordAllSizes(recorder);
    sampler.record(recorder);
    recorder.submit();
  });
  await gpu.settle(gpu.device.queue.onSubmittedWorkDone());
}
