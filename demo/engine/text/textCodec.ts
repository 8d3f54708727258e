import { Template } from '@huggingface/jinja';
import { Tokenizer } from '@huggingface/tokenizers';
import { refuse } from '../engineError.js';
import { isJson, readJson, type Json, type ModelFiles } from '../files/modelFiles.js';
import { TextStream } from './textStream.js';
import { tokenDecoder, type TokenDecoder, type TokenText } from './tokenText.js';

/** A turn of a conversation. Which roles there are is for the model's template to say; all have user and assistant. */
export interface ChatMessage {
  readonly role: string;
  readonly content: string;
}

export interface DecodeOptions {
  /** Whether tokens such as the end of a turn are left out. Default true. */
  readonly skipSpecial?: boolean;
  /** Whether text comes before, so that a space at the start is one. Default false. */
  readonly isContinuation?: boolean;
}

interface CodecParts {
  readonly name: string;
  readonly tokenizer: Tokenizer;
  readonly decoder: TokenDecoder;
  readonly config: Json;
  readonly template: string | undefined;
}

/** Tokenizers that look at `add_bos_token` of their config; what tokenizer.json says counts for all others. */
const ADDS_BOS_BY_CONFIG = /^(Llama|CodeLlama|Gemma)Tokenizer(Fast)?$/;

/** From text and conversations to tokens and back, as a model's own files have it. */
export class TextCodec {
  /** The token that texts begin with, if the tokenizer names one; it need not be in use. */
  readonly bosId: number | undefined;
  /** The token that ends a text or a turn, if the tokenizer names one. */
  readonly eosId: number | undefined;
  readonly #name: string;
  readonly #tokenizer: Tokenizer;
  readonly #decoder: TokenDecoder;
  readonly #special: ReadonlyMap<number, { readonly content: string; readonly isSpecial: boolean }>;
  readonly #addsBos: boolean | undefined;
  readonly #templateText: string | undefined;
  readonly #templateValues: Readonly<Record<string, string>>;
  #template: Template | undefined;

  private constructor({ name, tokenizer, decoder, config, template }: CodecParts) {
    this.#name = name;
    this.#tokenizer = tokenizer;
    this.#decoder = decoder;
    this.#special = new Map(
      [...tokenizer.get_added_tokens_decoder()].map(([id, { content, special: isSpecial }]) => [
        id,
        { content, isSpecial },
      ]),
    );
    this.#templateValues = namedTokens(config);
    this.bosId = tokenizer.token_to_id(this.#templateValues.bos_token ?? '');
    this.eosId = tokenizer.token_to_id(this.#templateValues.eos_token ?? '');
    const { tokenizer_class: kind, add_bos_token: addsBos } = config;
    if (typeof addsBos === 'boolean' && ADDS_BOS_BY_CONFIG.test(String(kind))) this.#addsBos = addsBos;
    this.#templateText = template;
  }

  /**
   * Reads the tokenizer and the chat template of a model.
   *
   * @throws EngineError if there is no tokenizer, or one of an unknown kind
   */
  static async load(files: ModelFiles): Promise<TextCodec> {
    const { name } = files;
    const json = await readJson(files, 'tokenizer.json');
    if (!json)
      refuse(`${name} has no tokenizer.json, so the engine can read and write token ids alone, not text.`);
    const config = (await readJson(files, 'tokenizer_config.json')) ?? {};
    const decoder = tokenDecoder(json.decoder, name);
    const template = await templateOf(files, config);
    let tokenizer: Tokenizer;
    try {
      tokenizer = new Tokenizer(json, config);
    } catch (cause) {
      refuse(`The tokenizer.json of ${name} cannot be used: ${messageOf(cause)}.`, { cause });
    }
    return new TextCodec({ name, tokenizer, decoder, config, template });
  }

  get hasChatTemplate(): boolean {
    return this.#templateText !== undefined;
  }

  /** Returns the tokens of a text, with the one that begins a text in front if the model wants it, but never twice. */
  encode(text: string): number[] {
    const ids = this.#encode(text, true);
    const { bosId } = this;
    if (bosId === undefined) return ids;
    const hasBos = ids[0] === bosId;
    if (hasBos && (ids[1] === bosId || (this.#addsBos === false && !this.#beginsWithBos(text))))
      return ids.slice(1);
    return this.#addsBos === true && !hasBos ? [bosId, ...ids] : ids;
  }

  /**
   * Returns the tokens of a conversation by the model's template, which writes the token that begins a text itself if the
   * model wants it.
   *
   * @param options addGenerationPrompt: whether the model's next turn is begun, so that it goes on there. Default true
   * @throws EngineError if there is no template, or it refuses the messages
   */
  encodeChat(
    messages: readonly ChatMessage[],
    options?: { readonly addGenerationPrompt?: boolean },
  ): number[] {
    return this.#encode(this.formatChat(messages, options), false);
  }

  /** Returns the text of a conversation by the model's template. */
  formatChat(
    messages: readonly ChatMessage[],
    { addGenerationPrompt = true }: { readonly addGenerationPrompt?: boolean } = {},
  ): string {
    // Templates ask whether tools is none, not whether it is there.
    const values = { messages, add_generation_prompt: addGenerationPrompt, tools: null, documents: null };
    const template = this.#chatTemplate();
    try {
      return template.render({ ...values, ...this.#templateValues });
    } catch (cause) {
      refuse(`The chat template of ${this.#name} refuses this conversation: ${messageOf(cause)}.`, { cause });
    }
  }

  /** Returns the text of some tokens as they have it: spaces before marks are kept. */
  decode(ids: Iterable<number>, options: DecodeOptions = {}): string {
    const stream = this.stream(options);
    let text = '';
    for (const id of ids) text += stream.push(id);
    return text + stream.flush();
  }

  /** Begins a text that comes token by token. All of it together is what `decode` gives. */
  stream({ skipSpecial = true, isContinuation = false }: DecodeOptions = {}): TextStream {
    return new TextStream({
      textOf: (id) => this.#textOf(id, skipSpecial),
      leadingSpaces: isContinuation ? 0 : this.#decoder.leadingSpaces,
    });
  }

  /** Models have more ids than tokens: those beyond are never right, and have no text. */
  #textOf(id: number, skipSpecial: boolean): TokenText | undefined {
    const added = this.#special.get(id);
    if (added) return skipSpecial && added.isSpecial ? undefined : added.content;
    const token = this.#tokenizer.id_to_token(id);
    return token === undefined ? undefined : this.#decoder.textOf(token);
  }

  #encode(text: string, addsSpecial: boolean): number[] {
    // A vocabulary without a token for unknown text leaves such text out.
    return this.#tokenizer
      .encode(text, { add_special_tokens: addsSpecial })
      .ids.filter((id) => id !== undefined);
  }

  #beginsWithBos(text: string): boolean {
    return text.startsWith(this.#templateValues.bos_token ?? '');
  }

  #chatTemplate(): Template {
    if (this.#template) return this.#template;
    if (this.#templateText === undefined)
      refuse(`${this.#name} has no chat template: it continues texts, but is not made for conversations.`);
    try {
      this.#template = new Template(this.#templateText);
    } catch (cause) {
      refuse(`The chat template of ${this.#name} cannot be read: ${messageOf(cause)}.`, { cause });
    }
    return this.#template;
  }
}

/** Returns the template, which newer models have in a file of its own. Of several, the one for plain conversations. */
async function templateOf(files: ModelFiles, config: Json): Promise<string | undefined> {
  const own = await files.text('chat_template.jinja');
  if (own !== undefined) return own;
  const template = config.chat_template ?? (await readJson(files, 'chat_template.json'))?.chat_template;
  if (typeof template === 'string') return template;
  const named: readonly unknown[] = Array.isArray(template) ? template : [];
  const plain = named.find((item) => isJson(item) && item.name === 'default');
  return isJson(plain) && typeof plain.template === 'string' ? plain.template : undefined;
}

/** Returns the tokens that templates call by name, such as `bos_token`. */
function namedTokens(config: Json): Readonly<Record<string, string>> {
  const tokens: Record<string, string> = {};
  for (const [key, value] of Object.entries(config)) {
    const content = isJson(value) ? value.content : value;
    if (key.endsWith('_token') && typeof content === 'string') tokens[key] = content;
  }
  return tokens;
}

function messageOf(error: unknown): string {
  return (error instanceof Error ? error.message : String(error)).replace(/\.$/, '');
}
