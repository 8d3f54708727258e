// npm run generate: see --help.
import { existsSync } from 'node:fs';
import { writeFile } from 'node:fs/promises';
import { PageflashError, requestDevice } from 'pageflash';
import { createNodeGpu } from '../../tools/nodeDevice.js';
import { EngineError, refuse } from '../engine/engineError.js';
import { cachedHubFiles } from '../engine/files/diskCache.js';
import { folderFiles } from '../engine/files/folderFiles.js';
import type { ModelFiles } from '../engine/files/modelFiles.js';
import { KernelTimes } from '../engine/gpu/kernelTimes.js';
import { openModel } from '../engine/model/openModel.js';
import { Engine } from '../engine/serving/engine.js';
import { TextCodec } from '../engine/text/textCodec.js';
import { answer, chat } from './conversation.js';
import { readOptions, type GenerateCommand } from './options.js';
import { ProgressBar } from './progressBar.js';
import { printStats, Speed } from './stats.js';

const SHIPPED_MODEL = 'demo/model';

try {
  const command = readOptions(process.argv.slice(2));
  if (typeof command === 'string') console.log(command);
  else await run(command);
  // Devices would keep the process alive.
  process.exit(0);
} catch (error) {
  if ((error as Error).name === 'AbortError') process.exit(130);
  if (!(error instanceof EngineError || error instanceof PageflashError || error instanceof RangeError))
    throw error;
  console.error(error.message);
  process.exit(1);
}

async function run(command: GenerateCommand): Promise<void> {
  const stop = new AbortController();
  process.once('SIGINT', () => {
    stop.abort();
    // A second time, at once.
    process.once('SIGINT', () => process.exit(130));
  });
  const files = await filesOf(command.model, stop.signal);
  const model = await openModel(files);
  const codec = command.ids ? undefined : await TextCodec.load(files);
  const device = await openDevice();
  const times = command.hasStats ? timesOf(device) : undefined;
  const bar = new ProgressBar();
  const engine = await Engine.create(device, {
    model,
    weights: command.weights,
    kvType: command.kvType,
    rotaryType: command.rotaryType ?? (command.ids ? (model.config.dtype ?? undefined) : undefined),
    context: command.context,
    nSequences: command.nAnswers,
    nDrafts: command.nDrafts,
    budgetBytes: command.budgetBytes,
    attention: command.isNaive ? 'naive' : 'paged',
    times,
    signal: stop.signal,
    onProgress: (progress) => bar.show(progress),
  });
  bar.end();
  await times?.take();
  const speed = new Speed(engine);
  if (codec) await (command.isChat ? chat : answer)({ command, engine, codec, signal: stop.signal });
  else await continueIds(engine, command);
  if (command.hasStats) await printStats(engine, speed, times);
  await engine.destroy();
}

async function filesOf(model: string | undefined, signal: AbortSignal): Promise<ModelFiles> {
  if (model === undefined || existsSync(model)) return folderFiles(model ?? SHIPPED_MODEL);
  if (/^[\w.-]+\/[\w.-]+$/.test(model) && !/^\.{1,2}\//.test(model)) return hubModel(model, signal);
  return refuse(`There is no folder ${model}, and an id of the hub is OWNER/NAME.`);
}

/** With the settings that all programs of the hub share. */
function hubModel(id: string, signal: AbortSignal): Promise<ModelFiles> {
  const { HF_TOKEN, HF_ENDPOINT } = process.env;
  return cachedHubFiles(id, { signal, token: HF_TOKEN || undefined, endpoint: HF_ENDPOINT || undefined });
}

async function openDevice(): Promise<GPUDevice> {
  const device = await requestDevice({ gpu: createNodeGpu() });
  device.addEventListener('uncapturederror', ({ error }) => {
    console.error(`The GPU refuses something: ${error.message}`);
    process.exit(1);
  });
  void device.lost.then(({ reason, message }) => {
    if (reason !== 'destroyed') console.error(`The GPU is lost: ${message}`);
    process.exit(1);
  });
  return device;
}

function timesOf(device: GPUDevice): KernelTimes {
  if (!device.features.has('timestamp-query'))
    refuse('--stats needs a GPU that has timestamp-query, which this one has not.');
  return new KernelTimes(device);
}

/** Token ids in, token ids out. */
async function continueIds(engine: Engine, { ids, greedy, logits }: GenerateCommand): Promise<void> {
  if (logits !== undefined) {
    const all = await engine.logits(ids!);
    await writeFile(logits, new Uint8Array(all.buffer));
  }
  if (greedy === 0) return;
  const generation = engine.generate({ tokens: ids!, maxNewTokens: greedy, stopIds: [] });
  console.log((await generation.done()).join(' '));
}
