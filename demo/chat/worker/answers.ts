import { EngineError } from '../../engine/engineError.js';
import type { EndReason, Generation } from '../../engine/serving/generation.js';
import type { ChatMessage, TextCodec } from '../../engine/text/textCodec.js';
import type { TextStream } from '../../engine/text/textStream.js';
import type { AnswerOptions, Reply } from '../protocol.js';
import type { EngineHost, LoadedModel } from './engineHost.js';

/** Text is sent so often at most; a screen shows no more. */
const SEND_MS = 30;

/** An answer that is on its way, or waits for a model. */
interface Answer {
  readonly options: AnswerOptions;
  readonly messages: readonly ChatMessage[];
  prompt: readonly number[];
  /** Its tokens so far, those of earlier engines included. */
  readonly tokens: number[];
  readonly startMs: number;
  /** Whether none of the text of its tokens was sent. */
  isUnsent: boolean;
  generation: Generation | undefined;
  stream: TextStream | undefined;
  /** Text that was not sent yet. */
  unsent: string;
  sentMs: number;
}

/** The last tokens of a conversation, by which pages are told whose they are. */
export interface ConversationTokens {
  readonly conversation: string;
  readonly tokens: readonly number[];
}

/**
 * The answers that are on their way. They outlive the engine: after a lost device, or in another mode, each goes on from
 * its tokens so far.
 */
export class Answers {
  readonly #host: EngineHost;
  readonly #reply: (reply: Reply) => void;
  readonly #answers = new Map<string, Answer>();
  /** By conversation: what was last computed. */
  readonly #last = new Map<string, { readonly answer: Answer; readonly end: EndReason }>();

  #restored: readonly ConversationTokens[] = [];

  constructor(host: EngineHost, reply: (reply: Reply) => void) {
    this.#host = host;
    this.#reply = reply;
  }

  get nRunning(): number {
    return this.#answers.size;
  }

  /** Which conversation a sequence of the engine belongs to. */
  conversationOf(sequence: number): string | undefined {
    for (const { generation, options } of this.#answers.values())
      if (generation?.sequence === sequence) return options.conversation;
    return undefined;
  }

  /** Of the conversations whose last answer has ended, or was put into the cache again. */
  ended(): readonly ConversationTokens[] {
    const ended = Array.from(this.#last, ([conversation, { answer }]) => ({
      conversation,
      tokens: [...answer.prompt, ...answer.tokens],
    }));
    return [...this.#restored.filter(({ conversation }) => !this.#last.has(conversation)), ...ended];
  }

  /** The tokens of a conversation, as far as its last answer is; undefined if this engine has computed none. */
  tokensOf(conversation: string): readonly number[] | undefined {
    const running = [...this.#answers.values()].find(({ options }) => options.conversation === conversation);
    const answer = running ?? this.#last.get(conversation)?.answer;
    return answer?.prompt.length ? [...answer.prompt, ...answer.tokens] : undefined;
  }

  /** Begins to answer, or waits for a model. */
  ask(options: AnswerOptions, messages: readonly ChatMessage[]): void {
    this.#begin(options, messages, []);
  }

  /** A second end of an answer: with the pages of the first one, as long as that is on its way. */
  async fork(from: string, options: AnswerOptions): Promise<void> {
    const source = this.#answers.get(from);
    const loaded = this.#host.loaded;
    if (!source) {
      const ended = [...this.#last.values()].find(({ answer }) => answer.options.answer === from);
      if (!ended || !loaded)
        return this.#refuse(options.answer, 'The answer is no longer there to be forked.');
      const { answer, end } = ended;
      const copy = { ...answer, options, unsent: loaded.codec.decode(answer.tokens) };
      this.#last.set(options.conversation, { answer: copy, end });
      return this.#end(copy, end);
    }
    const { generation } = source;
    if (!loaded || !generation || loaded.mode.attention === 'naive') {
      return this.#begin(options, source.messages, source.tokens);
    }
    const { temperature, seed } = options;
    // Those before are the generation's prompt.
    const nBefore = source.tokens.length - generation.tokens.length;
    try {
      const forked = await loaded.engine.fork(generation, { temperature, seed });
      const answer = newAnswer(options, source.messages);
      answer.prompt = source.prompt;
      answer.stream = loaded.codec.stream();
      answer.isUnsent = false;
      for (const token of source.tokens.slice(0, nBefore)) this.#take(answer, token);
      this.#answers.set(options.answer, answer);
      await this.#follow(answer, forked, loaded);
    } catch (error) {
      // It has ended meanwhile.
      if (error instanceof EngineError && !this.#answers.has(from)) return this.fork(from, options);
      this.#refuse(options.answer, (error as Error).message);
    }
  }

  cancel(id: string): void {
    const answer = this.#answers.get(id);
    if (answer?.generation) answer.generation.cancel();
    else if (answer) this.#end(answer, 'cancelled');
  }

  /** A conversation is gone. */
  drop(conversation: string): void {
    for (const answer of this.#answers.values())
      if (answer.options.conversation === conversation) this.#cancelNow(answer);
    this.#last.delete(conversation);
    this.#restored = this.#restored.filter((one) => one.conversation !== conversation);
  }

  /** A model is ready: all that waits goes on. What was known of pages is void. */
  resume(loaded: LoadedModel): void {
    this.#last.clear();
    this.#restored = loaded.restored.conversations;
    for (const answer of this.#answers.values()) this.#start(answer, loaded);
  }

  /** Another model is to come, which cannot go on with the tokens of this one. */
  cancelAll(): void {
    for (const answer of this.#answers.values()) this.#cancelNow(answer);
  }

  /** There is no model, and none will come. */
  refuseAll(message: string): void {
    for (const { options } of this.#answers.values()) this.#refuse(options.answer, message);
  }

  /** Ends an answer before its generation says so. */
  #cancelNow(answer: Answer): void {
    const { generation } = answer;
    answer.generation = undefined;
    generation?.cancel();
    this.#end(answer, 'cancelled');
  }

  #begin(options: AnswerOptions, messages: readonly ChatMessage[], tokens: readonly number[]): void {
    const answer = newAnswer(options, messages);
    answer.tokens.push(...tokens);
    this.#answers.set(options.answer, answer);
    const { loaded } = this.#host;
    if (loaded) this.#start(answer, loaded);
  }

  /** Begins with an answer, or goes on with it. */
  #start(answer: Answer, loaded: LoadedModel): void {
    const { engine, codec } = loaded;
    const { temperature, seed, maxNewTokens } = answer.options;
    try {
      answer.prompt = promptOf(answer.messages, codec);
      answer.stream = codec.stream();
      const before = answer.tokens.map((token) => answer.stream!.push(token)).join('');
      if (answer.isUnsent) answer.unsent = before;
      answer.isUnsent = false;
      const tokens = [...answer.prompt, ...answer.tokens];
      const room = engine.context - tokens.length;
      const nLeft = maxNewTokens - answer.tokens.length;
      if (room < 1) {
        const why = `The conversation has ${tokens.length} tokens, and the model reads ${engine.context} at most. Begin a new one.`;
        return this.#refuse(answer.options.answer, why);
      }
      if (nLeft < 1) return this.#end(answer, 'length');
      const generation = engine.generate({
        tokens,
        maxNewTokens: Math.min(nLeft, room),
        sampling: { temperature, seed },
        stopIds: [...engine.config.eosIds, ...(codec.eosId === undefined ? [] : [codec.eosId])],
      });
      void this.#follow(answer, generation, loaded);
    } catch (error) {
      this.#refuse(answer.options.answer, (error as Error).message);
    }
  }

  async #follow(answer: Answer, generation: Generation, loaded: LoadedModel): Promise<void> {
    answer.generation = generation;
    try {
      for await (const token of generation) {
        if (answer.generation !== generation) return;
        this.#take(answer, token);
      }
      if (answer.generation === generation && this.#host.loaded === loaded)
        this.#end(answer, generation.end ?? 'stop');
    } catch (error) {
      await this.#fail(answer, error as Error, loaded);
    }
  }

  /** An answer goes on after a lost device; after another error it ends, as does what the engine knows. */
  async #fail(answer: Answer, error: Error, loaded: LoadedModel): Promise<void> {
    answer.generation = undefined;
    if (this.#host.loaded !== loaded || (await this.#host.isLost(loaded.device))) return;
    if (!this.#answers.has(answer.options.answer)) return;
    if (!(error instanceof EngineError)) console.error(error);
    this.#refuse(answer.options.answer, error.message);
    if (this.#host.loaded === loaded) this.#host.restart();
  }

  #take(answer: Answer, token: number): void {
    answer.tokens.push(token);
    answer.unsent += answer.stream!.push(token);
    if (performance.now() - answer.sentMs >= SEND_MS) this.#send(answer);
  }

  #send(answer: Answer): void {
    const { options, unsent: text, tokens } = answer;
    answer.unsent = '';
    answer.sentMs = performance.now();
    this.#reply({ type: 'text', answer: options.answer, text, nTokens: tokens.length });
  }

  #end(answer: Answer, end: EndReason): void {
    const { options, startMs, tokens, prompt } = answer;
    this.#answers.delete(options.answer);
    answer.unsent += answer.stream?.flush() ?? '';
    if (answer.unsent !== '') this.#send(answer);
    if (prompt.length > 0) this.#last.set(options.conversation, { answer, end });
    this.#reply({
      type: 'end',
      answer: options.answer,
      end,
      nTokens: tokens.length,
      nPromptTokens: prompt.length,
      seconds: (performance.now() - startMs) / 1000,
    });
  }

  #refuse(answer: string, message: string): void {
    this.#answers.delete(answer);
    this.#reply({ type: 'refused', answer, message });
  }
}

function newAnswer(options: AnswerOptions, messages: readonly ChatMessage[]): Answer {
  return {
    options,
    messages,
    prompt: [],
    tokens: [],
    startMs: performance.now(),
    isUnsent: true,
    generation: undefined,
    stream: undefined,
    unsent: '',
    sentMs: 0,
  };
}

/** A model without a chat template continues the text of the conversation. */
export function promptOf(messages: readonly ChatMessage[], codec: TextCodec): readonly number[] {
  if (codec.hasChatTemplate) return codec.encodeChat(messages);
  return codec.encode(messages.map(({ content }) => content).join(''));
}
