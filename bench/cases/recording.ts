import type { Tensor } from '../../src/core/tensor.js';
import {
  attnWithKvCache,
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

type Plan = AttentionPlan<AttnWithKvCacheArgs>;

/** What is measured: steps of so many sequences, each with one new token that is appended. */
interface Variant {
  readonly name: string;
  readonly sequences: number;
  readonly rotary?: boolean;
}

const VARIANTS: readonly Variant[] = [
  { name: 'append', sequences: 1 },
  { name: 'append, rotary', sequences: 1, rotary: true },
  { name: 'append', sequences: 4 },
  { name: 'append', sequences: 32 },
  { name: 'append', sequences: 128 },
];

/**
 * Time what the host does for a step of a small model: planning it, recording its layers from the plan, and calls without a
 * plan. The unit is a bare dispatch of the same run. Only the calls are submitted.
 *
 * @throws Error if recording a planned layer creates or writes anything after the first step
 */
export async function measureRecording(device: GPUDevice, quick: boolean): Promise<RecordingCost[]> {
  const rounds = quick ? 5 : 15;
  const runtime = createRuntime(device);
  const costs: RecordingCost[] = [];
  try {
    for (const variant of VARIANTS) {
      const model = createModel(runtime, variant);
      try {
        costs.push(await measureModel(runtime, model, variant, rounds));
      } finally {
        await idle(device);
        model.destroy();
      }
    }
    return costs;
  } finally {
    runtime.destroy();
  }
}

async function measureModel(
  runtime: Runtime,
  model: Model,
  { name, sequences }: Variant,
  rounds: number,
): Promise<RecordingCost> {
  const { device } = runtime;
  const { layers } = model;
  const plan = planAttnWithKvCache(runtime, { ...model.args, ...model.stepAt(0) });
  const recordLayers = (pass: GPUComputePassEncoder): void => {
    for (const { q, k, v, out, kCache, vCache } of layers)
      plan.record({ q, k, v, kCache, vCache, out, pass });
  };

  const calls = countSteps(device, plan, model, recordLayers);
  if (callCountsText(calls.layers) !== 'nothing') {
    throw new Error(
      `Recording planned layers (${name}) made ${callCountsText(calls.layers)} in ${STEPS} steps after the first.`,
    );
  }

  const times = {
    layer: [] as number[],
    dispatch: [] as number[],
    update: [] as number[],
    call: [] as number[],
  };
  const bytes: number[] = [];
  const commands = bareCommands(recordLayers);
  const dispatchesPerLayer = commands.length / layers.length;
  let step = STEPS;
  const nextStep = () => model.stepAt((step = (step + 1) % MOST_STEPS));
  let nCalls = 0;
  // Before the first sample, code is compiled.
  for (let round = -WARM_UP; round < rounds; round++) {
    const bare = await fastestInPass(device, (pass) => recordBare(commands, pass));
    const planned = await fastestInPass(device, recordLayers);
    const heap = heapBytes();
    const [updateUs, nUpdates] = fastest(() => plan.update(nextStep()));
    const garbage = (heapBytes() - heap) / nUpdates;
    const [callUs] = fastest(() => attnWithKvCache(runtime, model.callAt(nCalls++)));
    await idle(device);
    if (round < 0) continue;
    times.dispatch.push(bare / commands.length);
    times.layer.push(planned / layers.length);
    times.update.push(updateUs);
    times.call.push(callUs);
    // A garbage collection in between makes it negative.
    if (garbage >= 0) bytes.push(garbage);
  }
  plan.destroy();
  return {
    name,
    sequences,
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
    updateOverBare: summarize(ratios(times.update, times.dispatch)),
    callUs: summarize(times.call),
    callOverBare: summarize(ratios(times.call, times.dispatch)),
    ...(bytes.length > 0 && { updateBytes: summarize(bytes).median }),
    steps: STEPS,
    madeByLayers: calls.layers,
    madeByUpdates: calls.updates,
  };
}

const WARM_UP = 8;

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
    const update = countCalls(device, () => plan.update(model.stepAt(step)));
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

/**
 * Microseconds of the fastest of several short samples of calls in a row, and how many calls there were: other programs
 * interrupt a long sample, but hardly every short one.
 */
function fastest(call: () => void): [us: number, nCalls: number] {
  let best = Infinity;
  let nCalls = 0;
  let repetitions = 1;
  for (let sample = 0; sample < SAMPLES; sample++) {
    const start = performance.now();
    for (let i = 0; i < repetitions; i++) call();
    const ms = performance.now() - start;
    nCalls += repetitions;
    if (ms < SAMPLE_MS) {
      // Too short for the clock: this one does not count.
      repetitions *= 2;
      sample--;
    } else best = Math.min(best, (1000 * ms) / repetitions);
  }
  return [best, nCalls];
}

const SAMPLES = 8;
/** Clocks of browsers tick every 0.1 ms. */
const SAMPLE_MS = 2;

/** Likewise for something that is recorded into a pass. */
async function fastestInPass(
  device: GPUDevice,
  record: (pass: GPUComputePassEncoder) => void,
): Promise<number> {
  let us = 0;
  recordInto(device, (pass) => {
    [us] = fastest(() => record(pass));
  });
  // A browser hands commands to another process, which must have finished with them before the next sample.
  await idle(device);
  return us;
}

/** Bytes of JavaScript's heap in Node; NaN in browsers, which tell it too coarsely. */
function heapBytes(): number {
  return typeof process === 'undefined' ? NaN : process.memoryUsage().heapUsed;
}

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
const WIDTH = 128;
const FIRST_LENGTH = 1500;
const SHORT_LENGTH = 20;
/** The steps after which lengths begin anew: the table has no more room. */
const MOST_STEPS = 400;

/** What a small model that decodes passes to plans. The values in the tensors do not matter here. */
interface Model {
  readonly args: Omit<AttnWithKvCacheArgs, 'out' | 'cacheSeqlens' | 'blockTable'> & { readonly out: Tensor };
  readonly layers: readonly LayerTensors[];
  /** The arguments of a step, in arrays that are filled again: lengths, a page more for some sequences, the same tensors. */
  stepAt(step: number): Pick<AttnWithKvCacheArgs, 'q' | 'k' | 'v' | 'cacheSeqlens' | 'blockTable'>;
  /** The arguments of a call. Its sequences are short, since it is run. */
  callAt(index: number): AttnWithKvCacheArgs;
  destroy(): void;
}

function createModel(runtime: Runtime, { sequences, rotary = false }: Variant): Model {
  const tensors: Tensor[] = [];
  const create = (...shape: number[]): Tensor => {
    const tensor = runtime.createTensor(shape, 'f32');
    tensors.push(tensor);
    return tensor;
  };
  // As in an engine, all layers share the activations.
  const q = create(sequences, 1, N_HEADS, HEAD_DIM);
  const k = create(sequences, 1, N_KV_HEADS, HEAD_DIM);
  const v = create(sequences, 1, N_KV_HEADS, HEAD_DIM);
  const out = create(sequences, 1, N_HEADS, HEAD_DIM);
  // All sequences read the same pages, and each writes to two of its own by turns.
  const nPages = WIDTH + 2 * sequences;
  const layers = Array.from({ length: N_LAYERS }, () => ({
    q,
    k,
    v,
    out,
    kCache: create(nPages, PAGE_SIZE, N_KV_HEADS, HEAD_DIM),
    vCache: create(nPages, PAGE_SIZE, N_KV_HEADS, HEAD_DIM),
  }));
  const angles = create(WIDTH * PAGE_SIZE, HEAD_DIM / 2);
  const cacheSeqlens = new Int32Array(sequences);
  const blockTable = new Int32Array(sequences * WIDTH);
  const step = { q, k, v, cacheSeqlens, blockTable };
  /** Sequences are of many lengths, so in each step some need a new page. */
  const lengthOf = (sequence: number, index: number): number =>
    FIRST_LENGTH - ((29 * sequence) % 1000) + index;
  /** Of a sequence that begins with so many tokens. */
  const pageOf = (sequence: number, column: number, first = lengthOf(sequence, 0)): number =>
    (column + 1) * PAGE_SIZE <= first ? column : WIDTH + 2 * sequence + (column % 2);
  const shortLengths = new Int32Array(sequences);
  const shortTable = blockTable.map((_, i) => pageOf(Math.floor(i / WIDTH), i % WIDTH, SHORT_LENGTH));
  const args = { ...layers[0]!, causal: true, ...(rotary && { rotaryCos: angles, rotarySin: angles }) };
  return {
    args,
    layers,
    callAt(index) {
      shortLengths.fill(SHORT_LENGTH + (index % PAGE_SIZE));
      return { ...args, cacheSeqlens: shortLengths, blockTable: shortTable };
    },
    stepAt(index) {
      for (let b = 0; b < sequences; b++) {
        const length = lengthOf(b, index);
        // Where lengths begin anew, entries behind them are left, which nothing reads.
        if (cacheSeqlens[b] === 0)
          for (let column = 0; column * PAGE_SIZE <= length; column++)
            blockTable[b * WIDTH + column] = pageOf(b, column);
        const column = Math.floor(length / PAGE_SIZE);
        blockTable[b * WIDTH + column] = pageOf(b, column);
        cacheSeqlens[b] = length;
      }
      return step;
    },
    destroy() {
      for (const { buffer } of tensors) buffer.destroy();
    },
  };
}
