import { createInterface } from 'node:readline';
import type { Engine } from '../engine/serving/engine.js';
import type { Generation } from '../engine/serving/generation.js';
import { StopStrings } from '../engine/text/stopStrings.js';
import type { ChatMessage, TextCodec } from '../engine/text/textCodec.js';
import type { GenerateCommand } from './options.js';

export interface Conversation {
  readonly command: GenerateCommand;
  readonly engine: Engine;
  readonly codec: TextCodec;
  readonly signal: AbortSignal;
}

const DEFAULT_PROMPT = 'What is a KV cache?';

/** Answers one prompt, several times if asked for, and streams the first answer. */
export async function answer({ command, engine, codec, signal }: Conversation): Promise<void> {
  const { prompt = DEFAULT_PROMPT, isRaw, nAnswers, sampling } = command;
  if (command.prompt === undefined) console.log(`> ${prompt}`);
  const isChat = !isRaw && codec.hasChatTemplate;
  const tokens = isChat ? codec.encodeChat([{ role: 'user', content: prompt }]) : codec.encode(prompt);
  const seed = sampling.seed ?? 0;
  const conversation = { command, engine, codec, signal };
  const first = start(conversation, tokens, seed);
  // By then the prompt is computed, and the others find its pages.
  if (nAnswers > 1) await first[Symbol.asyncIterator]().next();
  const others = Array.from({ length: nAnswers - 1 }, (_, i) => start(conversation, tokens, seed + 1 + i));
  const texts = await Promise.all(
    [first, ...others].map((generation, i) =>
      readText(generation, { command, codec }, (text) => {
        if (nAnswers === 1) process.stdout.write(text);
        else if (i === 0) process.stdout.write('.');
      }),
    ),
  );
  console.log();
  if (nAnswers > 1) texts.forEach((text, i) => console.log(`${i + 1}. ${text.trim()}`));
}

/** A conversation in the terminal. Each turn reuses what was computed for those before it. */
export async function chat(conversation: Conversation): Promise<void> {
  const { command, engine, codec, signal } = conversation;
  const terminal = createInterface({ input: process.stdin, output: process.stdout });
  // Lines that are piped in come all at once, and wait.
  const lines = terminal[Symbol.asyncIterator]();
  signal.addEventListener('abort', () => terminal.close());
  const messages: ChatMessage[] = [];
  console.log('Ask something. An empty line ends the conversation, as does Ctrl-C.');
  for (let given = command.prompt; ; given = undefined) {
    process.stdout.write(given === undefined ? '> ' : `> ${given}\n`);
    const question = given ?? String((await lines.next()).value ?? '');
    if (question.trim() === '' || signal.aborted) break;
    messages.push({ role: 'user', content: question });
    const tokens = codec.encodeChat(messages);
    if (tokens.length >= engine.context) {
      console.log('The conversation is as long as the context: start a new one, or pass a larger --context.');
      break;
    }
    const generation = start(conversation, tokens, command.sampling.seed ?? 0);
    const text = await readText(generation, { command, codec }, (piece) => process.stdout.write(piece));
    console.log();
    messages.push({ role: 'assistant', content: text });
  }
  terminal.close();
}

function start(
  { command, engine, codec, signal }: Conversation,
  tokens: readonly number[],
  seed: number,
): Generation {
  const room = engine.context - tokens.length;
  const generation = engine.generate({
    tokens,
    maxNewTokens: Math.max(1, Math.min(command.maxNewTokens, room)),
    sampling: { ...command.sampling, seed },
    stopIds: [...engine.config.eosIds, ...(codec.eosId === undefined ? [] : [codec.eosId])],
  });
  signal.addEventListener('abort', () => generation.cancel(), { once: true });
  return generation;
}

interface TextOptions {
  readonly command: GenerateCommand;
  readonly codec: TextCodec;
}

/** Turns tokens into text as they come, up to a stop string. */
async function readText(
  generation: Generation,
  { command, codec }: TextOptions,
  onText: (text: string) => void,
): Promise<string> {
  const stream = codec.stream();
  const stops = new StopStrings(command.stops);
  let all = '';
  const take = (text: string): void => {
    if (text === '') return;
    all += text;
    onText(text);
  };
  for await (const token of generation) {
    take(stops.push(stream.push(token)));
    if (stops.isStopped) generation.cancel();
  }
  take(stops.push(stream.flush()));
  take(stops.flush());
  return all;
}
