import {
  createRuntime,
  planAttnWithKvCache,
  type AttentionPlan,
  type AttnWithKvCacheArgs,
  type Runtime,
} from '../../src/index.js';
import { countCalls } from '../../tools/countCalls.js';
import { ratios, summarize } from '../statistics.js';
import { idle } from '../timing.js';
import { bareCommands, recordBare } from './bareCommands.js';
import { createModel, type Model } from './model.js';
import { add, madeText, NOTHING_MADE, type Made, type RecordingCost } from './results.js';

/** How often to do what. */
interface Effort {
  readonly rounds: number;
  /** Times that all layers are recorded for a sample, which clocks of browsers need to be long. */
  readonly repetitions: number;
}

type Plan = AttentionPlan<AttnWithKvCacheArgs>;

/**
 * Record the layers of a small model, with new tokens appended, as planned and as bare dispatches. Nothing is submitted.
 *
 * @throws Error where recording a planned layer makes anything after the first step
 */
export async function measureRecording(device: GPUDevice, quick: boolean): Promise<RecordingCost[]> {
  const effort = quick ? { rounds: 5, repetitions: 40 } : { rounds: 15, repetitions: 100 };
  const runtime = createRuntime(device);
  const model = createModel(runtime);
  try {
    const append = await measurePlan(runtime, model, { name: 'append', rotary: {} }, effort);
    const rotary = await measurePlan(
      runtime,
      model,
      { name: 'append, rotary', rotary: model.rotary },
      effort,
    );
    return [append, rotary];
  } finally {
    runtime.destroy();
    model.destroy();
  }
}

interface Variant {
  readonly name: string;
  readonly rotary: Partial<Model['rotary']>;
}

async function measurePlan(
  runtime: Runtime,
  model: Model,
  { name, rotary }: Variant,
  { rounds, repetitions }: Effort,
): Promise<RecordingCost> {
  const { device } = runtime;
  const { layers } = model;
  const plan = planAttnWithKvCache(runtime, { ...model.args, ...rotary });
  const recordLayers = (pass: GPUComputePassEncoder): void => {
    for (const layer of layers) plan.record({ ...layer, pass });
  };

  const made = countSteps(device, plan, model, recordLayers);
  if (madeText(made.layers) !== 'nothing') {
    throw new Error(
      `Recording planned layers (${name}) made ${madeText(made.layers)} in ${STEPS} steps after the first.`,
    );
  }

  const commands = bareCommands(recordLayers);
  const times = { layer: [] as number[], dispatch: [] as number[], update: [] as number[] };
  for (let round = 0; round < rounds; round++) {
    const planned = await timeRecording(device, repetitions, recordLayers);
    const bare = await timeRecording(device, repetitions, (pass) => recordBare(commands, pass));
    times.layer.push(planned / layers.length);
    times.dispatch.push(bare / commands.length);
    times.update.push(timeUpdates(plan, model));
    await idle(device);
  }
  plan.destroy();
  const dispatchesPerLayer = commands.length / layers.length;
  return {
    name,
    layers: layers.length,
    dispatchesPerLayer,
    layerUs: summarize(times.layer),
    dispatchUs: summarize(times.dispatch),
    overBare: summarize(
      ratios(
        times.layer,
        times.dispatch.map((us) => us * dispatchesPerLayer),
      ),
    ),
    updateUs: summarize(times.update),
    steps: STEPS,
    madeByLayers: made.layers,
    madeByUpdates: made.updates,
  };
}

const STEPS = 16;

/** What all steps but the first make, each a token longer than the one before. */
function countSteps(
  device: GPUDevice,
  plan: Plan,
  model: Model,
  recordLayers: (pass: GPUComputePassEncoder) => void,
): { readonly layers: Made; readonly updates: Made } {
  let layers = NOTHING_MADE;
  let updates = NOTHING_MADE;
  recordInto(device, recordLayers);
  for (let step = 1; step <= STEPS; step++) {
    const update = countCalls(device, () => plan.update({ cacheSeqlens: model.lengthAt(step) }));
    const record = countCalls(device, () => recordInto(device, recordLayers));
    updates = add(updates, update);
    layers = add(layers, record);
  }
  return { layers, updates };
}

/** Microseconds to do something so many times within a pass, each time. */
async function timeRecording(
  device: GPUDevice,
  repetitions: number,
  record: (pass: GPUComputePassEncoder) => void,
): Promise<number> {
  let us = 0;
  recordInto(device, (pass) => {
    const start = performance.now();
    for (let i = 0; i < repetitions; i++) record(pass);
    us = (1000 * (performance.now() - start)) / repetitions;
  });
  // A browser passes commands on to another process, which is to be done with them before the next sample.
  await idle(device);
  return us;
}

/** Microseconds to plan a step. */
function timeUpdates(plan: Plan, model: Model): number {
  const start = performance.now();
  for (let step = 1; step <= UPDATES; step++) plan.update({ cacheSeqlens: model.lengthAt(step) });
  return (1000 * (performance.now() - start)) / UPDATES;
}

const UPDATES = 50;

/** Commands are validated when they are finished. They need not run. */
function recordInto(device: GPUDevice, record: (pass: GPUComputePassEncoder) => void): void {
  const encoder = device.createCommandEncoder();
  const pass = encoder.beginComputePass();
  record(pass);
  pass.end();
  encoder.finish();
}
