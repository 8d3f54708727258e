import { PagedKvCache } from '../../src/cache/pagedKvCache.js';
import { attnVariants, attnVarlen, createRuntime, requestDevice, type Runtime } from '../../src/index.js';
import { refusal, rejection } from '../check/refusal.js';
import { TwoChats } from './twoChats.js';
import { draw, place, type VarlenCase } from '../attention/varlenCase.js';

// A page that goes on after its GPU process has crashed. The test outside does the crashing, between `begin` and `hear`.

declare global {
  /** Starts work, and leaves some of it pending. */
  var begin: () => Promise<void>;
  /** The errors of what was pending and of a new call, by the name of the call. */
  var hear: () => Promise<Record<string, string>>;
  /** Goes on with a new device. Rejects if anything is not as before. */
  var goOn: () => Promise<void>;
}

const CACHE = { nLayers: 2, nKvHeads: 1, headDim: 32, dtype: 'f32', pageSize: 4, nPages: 8 } as const;
/** So long that all calls of it take seconds, and the crash comes first. */
const LONG: VarlenCase = {
  why: '',
  lengths: [[4, 8192]],
  heads: [4, 2],
  headDim: 32,
  dtype: 'f32',
  numSplits: 1,
};

const chats = new TwoChats();
let runtime: Runtime;
let call: () => void;
let pending: [caller: string, sentence: Promise<string>][];

globalThis.begin = async () => {
  const device = await requestDevice();
  device.addEventListener('uncapturederror', ({ error }) => console.error(error.message));
  await chats.begin(device);
  runtime = createRuntime(device);
  const cache = await PagedKvCache.create(runtime, CACHE);
  const { args } = place(device, LONG, draw(LONG));
  call = () => void attnVarlen(runtime, args);
  // Compiled before the crash, so that there is work in the queue when it comes.
  call();
  await runtime.done();
  for (let i = 0; i < 2000; i++) call();
  pending = [
    ['done', rejection(runtime.done())],
    ['PagedKvCache.readPages', rejection(cache.readPages([0, 5]))],
    ['prepare', rejection(runtime.prepare(attnVariants(runtime, { headDim: 64, dtype: 'f16' })))],
  ];
};

globalThis.hear = async () => {
  const sentences: Record<string, string> = {};
  for (const [caller, sentence] of pending) sentences[caller] = await sentence.catch(String);
  sentences['attnVarlen'] = refusal(call);
  return sentences;
};

globalThis.goOn = async () => {
  await chats.goOn(await requestDevice());
};
