// npm run bench:engine [-- --tokens 2048 --sequences 1 --new 32]: tokens a second of the engine on pageflash and on naive
// attention, with random weights of the shape of SmolLM2-135M.
import { parseArgs } from 'node:util';
import { requestDevice } from 'pageflash';
import { EngineError } from '../../demo/engine/engineError.js';
import { KernelTimes } from '../../demo/engine/gpu/kernelTimes.js';
import { openModel } from '../../demo/engine/model/openModel.js';
import { Engine } from '../../demo/engine/serving/engine.js';
import { createNodeGpu } from '../../tools/nodeDevice.js';
import { randomModel, SMOLLM2_135M } from '../engine/randomModel.js';

const { values } = parseArgs({
  options: {
    tokens: { type: 'string', default: '2048' },
    sequences: { type: 'string', default: '1' },
    new: { type: 'string', default: '32' },
  },
});
const nTokens = Number(values.tokens);
const nSequences = Number(values.sequences);
const nNew = Number(values.new);

const gpu = createNodeGpu();
const device = await requestDevice({ gpu });
const { description, device: name } = device.adapterInfo;
console.log(`${description || name}: ${nSequences} × ${nTokens} tokens of prompt, ${nNew} of each answer`);
for (const attention of ['paged', 'naive'] as const) {
  try {
    console.log(`${attention.padEnd(6)} ${await measure(attention)}`);
  } catch (error) {
    if (!(error instanceof EngineError)) throw error;
    console.log(`${attention.padEnd(6)} does not fit: ${error.message}`);
  }
}
process.exit(0);

async function measure(attention: 'paged' | 'naive'): Promise<string> {
  const times = new KernelTimes(device);
  const timed = await warmEngine(attention, times);
  await times.take();
  const run = await answers(timed, times);
  const { tier, deviceClass } = timed.traits;
  await timed.destroy();
  // A pass for each dispatch, which its time needs, costs a GPU something, and a CPU nothing beside the work.
  const { prefill, decode } = deviceClass === 'software' ? run : await untimed(attention);
  const speeds = `prompt ${perSecond(nSequences * nTokens, prefill)}, answers ${perSecond(nSequences * (nNew - 1), decode)}`;
  return `${tier}: ${speeds}; of GPU time attention has ${run.ofPrompt} in prompts, ${run.ofAnswers} in answers`;
}

async function untimed(attention: 'paged' | 'naive'): Promise<Durations> {
  const engine = await warmEngine(attention);
  const durations = await answers(engine);
  await engine.destroy();
  return durations;
}

/** An engine that has answered something, since some drivers compile only when a kernel first runs. */
async function warmEngine(attention: 'paged' | 'naive', times?: KernelTimes): Promise<Engine> {
  const engine = await engineOf(attention, times);
  const tokens = Array.from({ length: 62 }, (_, i) => i);
  await engine.generate({ tokens, maxNewTokens: 2, stopIds: [] }).done();
  return engine;
}

async function engineOf(attention: 'paged' | 'naive', times?: KernelTimes): Promise<Engine> {
  const model = await openModel(randomModel('SmolLM2-135M with random weights', SMOLLM2_135M));
  const context = Math.min(8192, nTokens + nNew);
  return Engine.create(device, {
    model,
    attention,
    times,
    context,
    nSequences,
    weights: 'f16',
    kvType: 'f16',
  });
}

interface Durations {
  /** Milliseconds until all prompts have their first token. */
  readonly prefill: number;
  /** From there to the end. */
  readonly decode: number;
  /** What attention has of the GPU's time, where it is measured. */
  readonly ofPrompt: string;
  readonly ofAnswers: string;
}

async function answers(engine: Engine, times?: KernelTimes): Promise<Durations> {
  const start = performance.now();
  const all = Array.from({ length: nSequences }, (_, i) => {
    const tokens = Array.from({ length: nTokens - nNew }, (_t, t) => (t * 7 + i * 131 + 34) % 49152);
    return engine.generate({ tokens, maxNewTokens: nNew, stopIds: [] });
  });
  await Promise.all(all.map(async (generation) => (await generation[Symbol.asyncIterator]().next()).value));
  const first = performance.now();
  const ofPrompt = share((await times?.take()) ?? []);
  await Promise.all(all.map((generation) => generation.done()));
  const end = performance.now();
  return {
    prefill: first - start,
    decode: end - first,
    ofPrompt,
    ofAnswers: share((await times?.take()) ?? []),
  };
}

function share(times: Awaited<ReturnType<KernelTimes['take']>>): string {
  const sum = (list: typeof times): number => list.reduce((ms, time) => ms + time.ms, 0);
  const own = times.filter((time) => time.name === 'attention' || time.name.startsWith('naive_'));
  return `${Math.round((100 * sum(own)) / sum(times))} % of ${sum(times).toFixed(0)} ms`;
}

function perSecond(n: number, ms: number): string {
  return `${Math.round((1000 * n) / ms)} tokens/s`;
}
