import type { Tensor } from '../../src/core/tensor.js';
import {
  createRuntime,
  planAttnWithKvCache,
  type AttentionPlan,
  type AttnWithKvCacheArgs,
  type LayerTensors,
  type Runtime,
} from '../../src/index.js';
import { countCalls } from '../../tools/countCalls.js';
import { ratios, summarize } from '../../tools/statistics.js';
import { idle } from '../../tools/timing.js';
import { callCountsText, type CallCounts, type RecordingCost } from '../results.js';
import { PAGE_SIZE } from './shapes.js';

interface Effort {
  readonly rounds: number;
  /** How often all layers are recorded for one sample. Browsers have coarse clocks, so a sample must be long. */
  readonly repetitions: number;
}

type Plan = AttentionPlan<AttnWithKvCacheArgs>;

/**
 * Time recording the layers of a small model, new tokens appended, from a plan and as bare dispatches. Nothing is
 * submitted.
 *
 * @throws Error if recording a planned layer creates or writes anything after the first step
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

  const calls = countSteps(device, plan, model, recordLayers);
  if (callCountsText(calls.layers) !== 'nothing') {
    throw new Error(
      `Recording planned layers (${name}) made ${callCountsText(calls.layers)} in ${STEPS} steps after the first.`,
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
    madeByLayers: calls.layers,
    madeByUpdates: calls.updates,
  };
}

const STEPS = 16;

/** Counts the calls of all steps but the first. Each step is one token longer than the one before. */
function countSteps(
  device: GPUDevice,
  plan: Plan,
  model: Model,
  recordLayers: (pass: GPUComputePassEncoder) => void,
): { readonly layers: CallCounts; readonly updates: CallCounts } {
  let layers = NO_CALLS;
  let updates = NO_CALLS;
  recordInto(device, recordLayers);
  for (let step = 1; step <= STEPS; step++) {
    const update = countCalls(device, () => plan.update({ cacheSeqlens: model.lengthAt(step) }));
    const record = countCalls(device, () => recordInto(device, recordLayers));
    updates = add(updates, update);
    layers = add(layers, record);
  }
  return { layers, updates };
}

const NO_CALLS: CallCounts = { createBuffer: 0, createBindGroup: 0, writeBuffer: 0 };

function add(a: CallCounts, b: CallCounts): CallCounts {
  return {
    createBuffer: a.createBuffer + b.createBuffer,
    createBindGroup: a.createBindGroup + b.createBindGroup,
    writeBuffer: a.writeBuffer + b.writeBuffer,
  };
}

/** Mean microseconds to record something `repetitions` times into one pass. */
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
  // A browser hands commands to another process, which must have finished with them before the next sample.
  await idle(device);
  return us;
}

/** Mean microseconds to plan a step. */
function timeUpdates(plan: Plan, model: Model): number {
  const start = performance.now();
  for (let step = 1; step <= UPDATES; step++) plan.update({ cacheSeqlens: model.lengthAt(step) });
  return (1000 * (performance.now() - start)) / UPDATES;
}

const UPDATES = 50;

/** Records into a pass of its own, which is finished, and so validated, but not submitted. */
function recordInto(device: GPUDevice, record: (pass: GPUComputePassEncoder) => void): void {
  const encoder = device.createCommandEncoder();
  const pass = encoder.beginComputePass();
  record(pass);
  pass.end();
  encoder.finish();
}

/** The commands of one dispatch. */
interface BareCommand {
  readonly pipeline: GPUComputePipeline;
  readonly group: GPUBindGroup;
  readonly grid: Parameters<GPUComputePassEncoder['dispatchWorkgroups']>;
}

/** The commands that `record` records into a pass, for recording them again with nothing around them. */
export function bareCommands(record: (pass: GPUComputePassEncoder) => void): readonly BareCommand[] {
  const commands: BareCommand[] = [];
  let pipeline: GPUComputePipeline | undefined;
  let group: GPUBindGroup | undefined;
  const pass: Pick<GPUComputePassEncoder, 'setPipeline' | 'dispatchWorkgroups'> & {
    setBindGroup(index: number, group: GPUBindGroup): undefined;
  } = {
    setPipeline(set) {
      pipeline = set;
    },
    setBindGroup(_, set) {
      group = set;
    },
    dispatchWorkgroups(...grid) {
      commands.push({ pipeline: pipeline!, group: group!, grid });
    },
  };
  record(pass as GPUComputePassEncoder);
  return commands;
}

function recordBare(commands: readonly BareCommand[], pass: GPUComputePassEncoder): void {
  for (const { pipeline, group, grid } of commands) {
    pass.setPipeline(pipeline);
    pass.setBindGroup(0, group);
    pass.dispatchWorkgroups(...grid);
  }
}

const N_LAYERS = 16;
const N_HEADS = 8;
const N_KV_HEADS = 2;
const HEAD_DIM = 64;
/** Enough for all steps that are recorded. */
const N_PAGES = 128;
const FIRST_LENGTH = 1900;

/** What a small model that decodes one sequence passes to plans. The values in the tensors do not matter here. */
interface Model {
  readonly args: Omit<AttnWithKvCacheArgs, 'out'> & { readonly out: Tensor };
  readonly rotary: Pick<AttnWithKvCacheArgs, 'rotaryCos' | 'rotarySin'>;
  readonly layers: readonly LayerTensors[];
  /** Tokens in the cache before a step. */
  lengthAt(step: number): number;
  destroy(): void;
}

function createModel(runtime: Runtime): Model {
  const tensors: Tensor[] = [];
  const create = (...shape: number[]): Tensor => {
    const tensor = runtime.createTensor(shape, 'f32');
    tensors.push(tensor);
    return tensor;
  };
  // As in an engine, all layers share the activations.
  const shared = {
    q: create(1, 1, N_HEADS, HEAD_DIM),
    k: create(1, 1, N_KV_HEADS, HEAD_DIM),
    v: create(1, 1, N_KV_HEADS, HEAD_DIM),
    out: create(1, 1, N_HEADS, HEAD_DIM),
  };
  const layers = Array.from({ length: N_LAYERS }, () => ({
    ...shared,
    kCache: create(N_PAGES, PAGE_SIZE, N_KV_HEADS, HEAD_DIM),
    vCache: create(N_PAGES, PAGE_SIZE, N_KV_HEADS, HEAD_DIM),
  }));
  const angles = create(N_PAGES * PAGE_SIZE, HEAD_DIM / 2);
  return {
    args: {
      ...layers[0]!,
      cacheSeqlens: FIRST_LENGTH,
      blockTable: Int32Array.from({ length: N_PAGES }, (_, page) => page),
      causal: true,
    },
    rotary: { rotaryCos: angles, rotarySin: angles },
    layers,
    lengthAt: (step) => FIRST_LENGTH + step,
    destroy() {
      for (const { buffer } of tensors) buffer.destroy();
    },
  };
}
