import { openModel } from '../../engine/model/openModel.js';
import type { ChatMessage } from '../../engine/text/textCodec.js';
import type { FitReport, ModelChoice, PatternChoice, Reply, Request } from '../protocol.js';
import { Answers, promptOf } from './answers.js';
import { EngineHost } from './engineHost.js';
import { fitModel } from './fit.js';
import { KeptPages } from './keptPages.js';
import { LiveFigures } from './liveFigures.js';
import { forgetKept, freeBytes, listKept, nameOf, peekFiles } from './modelStore.js';
import { pageTokens } from './pageOwners.js';
import { readPattern } from './readPattern.js';

// The worker of the page: owns the device, the engine and the tokenizer, so that the page never waits for them.

/** While answers run, figures are sent so often. */
const LIVE_MS = 125;

const reply = (message: Reply): void => postMessage(message);
let timer: ReturnType<typeof setInterval> | undefined;

const host: EngineHost = new EngineHost({
  onStatus: (status) => reply({ type: 'status', status }),
  onOpened: (opened) => keptPages.restore(opened),
  onReady: (loaded) => {
    figures.watch(loaded);
    answers.resume(loaded);
    showLive();
  },
  onFailed: ({ title, text }) => answers.refuseAll(`${title}. ${text}`),
});
const answers = new Answers(host, reply);
const keptPages = new KeptPages(answers);
const figures = new LiveFigures(answers);

addEventListener('message', ({ data }: MessageEvent<Request>) => void receive(data));

async function receive(request: Request): Promise<void> {
  switch (request.type) {
    case 'load':
      answers.cancelAll();
      return host.load(request.choice, request.mode);
    case 'stopLoading':
      return host.stop();
    case 'measure':
      return reply({ type: 'fit', choice: request.choice, report: await measure(request.choice) });
    case 'setMode':
      return host.setMode(request.mode);
    case 'ask':
      answers.ask(request.options, request.messages);
      return showLive();
    case 'fork':
      void answers.fork(request.from, request.options);
      return showLive();
    case 'cancel':
      return answers.cancel(request.answer);
    case 'drop':
      answers.drop(request.conversation);
      void keptPages.drop(request.conversation);
      return showLive();
    case 'keepOnly':
      return keptPages.keepOnly(request.conversations);
    case 'readPage':
      return readPage(request.page);
    case 'readPattern':
      return sendPattern(request.choice, request.messages);
    case 'listKept':
      return sendKept();
    case 'forgetKept':
      await forgetKept(request.name);
      return sendKept();
  }
}

/** Sends figures now, and as long as answers run. */
function showLive(): void {
  sendLive();
  timer ??= setInterval(() => {
    sendLive();
    if (answers.nRunning > 0) return;
    clearInterval(timer);
    timer = undefined;
    if (host.loaded) void keptPages.save(host.loaded);
    // What was timed in the last steps comes a little later.
    setTimeout(sendLive, LIVE_MS);
  }, LIVE_MS);
}

function sendLive(): void {
  const live = host.loaded && figures.measure();
  if (live) reply({ type: 'live', live });
}

async function measure(choice: ModelChoice): Promise<FitReport> {
  try {
    const device = await host.device();
    const model = await openModel(await peekFiles(choice.source));
    const name = nameOf(choice.source);
    const { fits, sentence } = fitModel({ ...choice, name, model, limits: device.limits });
    return { fits, sentence };
  } catch (error) {
    return { fits: false, sentence: (error as Error).message };
  }
}

function readPage(page: number): void {
  const { loaded } = host;
  if (!loaded) return;
  const { engine, codec } = loaded;
  const tokens = pageTokens(page, engine.pages.snapshot(), (id) => engine.pages.sequence(id));
  const text = codec.decode(tokens, { skipSpecial: false, isContinuation: true });
  reply({ type: 'pageText', page, text });
}

async function sendPattern(choice: PatternChoice, messages: readonly ChatMessage[]): Promise<void> {
  const { loaded } = host;
  if (!loaded) return;
  let pattern;
  let problem;
  try {
    // What was computed of a conversation before a reload is known by its text alone.
    const tokens = answers.tokensOf(choice.conversation) ?? promptOf(messages, loaded.codec);
    pattern = await readPattern(loaded, tokens, choice);
  } catch (error) {
    problem = (error as Error).message;
  }
  // Another engine is asked again.
  if (host.loaded !== loaded) return;
  reply({ type: 'pattern', choice, pattern, problem });
  sendLive();
}

async function sendKept(): Promise<void> {
  reply({ type: 'kept', models: await listKept(), freeBytes: await freeBytes() });
}
