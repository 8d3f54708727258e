// npm run bench:engine [-- --tokens 2048 --sequences 1 --new 32]: tokens a second of the engine on pageflash and on naive
// attention, with random weights of the shape of SmolLM2-135M.
import { parseArgs } from 'node:util';
import { requestDevice } from 'pageflash';
import { EngineError } from '../../demo/engine/engineError.js';
import { KernelTimes } from '../../demo/engine/gpu/kernelTimes.js';
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
  const engine = await engineOf(attention);
  // Some drivers compile only when a kernel first runs.
  await answers(engine, { nTokens: 64, nNew: 2, seed: 1 });
  const { prefill, decode } = await answers(engine, { nTokens, nNew, seed: 2 });
  const tier = engine.traits.tier;
  engine.destroy();
  const times = new KernelTimes(device);
  const timed = await engineOf(attention, times);
  await answers(timed, { nTokens: 64, nNew: 2, seed: 1 });
  await times.take();
  await answers(timed, { nTokens, nNew: 1, seed: 2 });
  const ofPrompt = share(await times.take());
  await answers(timed, { nTokens, nNew, seed: 2 });
  const ofAll = share(await times.take());
  timed.destroy();
  return `${tier}: prompt ${perSecond(nSequences * nTokens, prefill)}, answers ${perSecond(nSequences * (nNew - 1), decode)}; of GPU time attention has ${ofPrompt} in prompts, ${ofAll} in all`;
}

function engineOf(attention: 'paged' | 'naive', times?: KernelTimes): Promise<Engine> {
  const files = randomModel('SmolLM2-135M with random weights', SMOLLM2_135M);
  const context = Math.min(8192, nTokens + nNew);
  return Engine.create(device, {
    files,
    attention,
    times,
    context,
    nSequences,
    weights: 'f16',
    kvType: 'f16',
  });
}

interface Load {
  readonly nTokens: number;
  readonly nNew: number;
  readonly seed: number;
}

/** Milliseconds until all prompts have their first token, and from there to the end. */
async function answers(engine: Engine, load: Load): Promise<{ prefill: number; decode: number }> {
  const start = performance.now();
  const all = Array.from({ length: nSequences }, (_, i) => {
    const tokens = Array.from(
      { length: load.nTokens - load.nNew },
      (_t, t) => (t * 7 + i * 131 + load.seed * 17) % 49152,
    );
    return engine.generate({ tokens, maxNewTokens: load.nNew, stopIds: [] });
  });
  await Promise.all(all.map(async (generation) => (await generation[Symbol.asyncIterator]().next()).value));
  const first = performance.now();
  await Promise.all(all.map((generation) => generation.done()));
  return { prefill: first - start, decode: performance.now() - first };
}

function share(times: Awaited<ReturnType<KernelTimes['take']>>): string {
  const sum = (list: typeof times): number => list.reduce((ms, time) => ms + time.ms, 0);
  const own = times.filter((time) => time.name === 'attention' || time.name.startsWith('naive_'));
  return `${Math.round((100 * sum(own)) / sum(times))} % of ${sum(times).toFixed(0)} ms`;
}

function perSecond(n: number, ms: number): string {
  return `${Math.round((1000 * n) / ms)} tokens/s`;
}
