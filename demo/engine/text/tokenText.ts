import { refuse } from '../engineError.js';
import { isJson, type Json } from '../files/modelFiles.js';

/** What a token is in a text: bytes, which may be part of a character only, or text that stands for itself. */
export type TokenText = Uint8Array<ArrayBuffer> | string;

/** How the tokens of a model become a text. */
export interface TokenDecoder {
  /** Returns what a token of the vocabulary stands for. */
  textOf(token: string): TokenText;
  /** Spaces that a text loses at its start, since its first word is stored with one in front. */
  readonly leadingSpaces: number;
}

/**
 * Returns the decoder that a tokenizer.json describes. Two kinds are in use by language models: byte-level ones, whose
 * tokens are bytes written as letters, and those of SentencePiece, whose tokens are text with ▁ for a space, and single
 * bytes as `<0x0A>`.
 *
 * @throws EngineError for another kind
 */
export function tokenDecoder(decoder: unknown, name: string): TokenDecoder {
  const steps = stepsOf(decoder);
  const types = steps.map(({ type }) => type).join(', ');
  const [first, ...others] = steps;
  if (types === 'ByteLevel') return { textOf: bytesOfLetters, leadingSpaces: 0 };
  if (types === 'Metaspace') {
    const { replacement = '▁', prepend_scheme: scheme } = first!;
    const isPrepended = scheme !== 'never' && first!.add_prefix_space !== false;
    return { textOf: replacing(String(replacement), ' '), leadingSpaces: isPrepended ? 1 : 0 };
  }
  if (first?.type === 'Replace' && isJson(first.pattern) && typeof first.pattern.String === 'string') {
    const replace = replacing(first.pattern.String, String(first.content));
    const rest = others.map(({ type }) => type).join(', ');
    const textOf = rest.startsWith('ByteFallback') ? bytesOr(replace) : replace;
    const last = steps.at(-1)!;
    if (/^(ByteFallback, )?Fuse$/.test(rest)) return { textOf, leadingSpaces: 0 };
    if (/^(ByteFallback, )?Fuse, Strip$/.test(rest) && last.content === ' ' && !last.stop)
      return { textOf, leadingSpaces: Number(last.start) };
  }
  return refuse(
    `The tokenizer of ${name} turns tokens into text by ${types || 'nothing'}, which the engine does not know: it knows byte-level tokens and those of SentencePiece.`,
  );
}

/** Returns the steps of a decoder, one after the other. */
function stepsOf(decoder: unknown): readonly Json[] {
  if (!isJson(decoder)) return [];
  if (decoder.type !== 'Sequence') return [decoder];
  return Array.isArray(decoder.decoders) ? decoder.decoders.flatMap((step: unknown) => stepsOf(step)) : [];
}

function replacing(pattern: string, content: string): (token: string) => string {
  return (token) => token.replaceAll(pattern, content);
}

/** Tokens such as `<0x0A>` are bytes. */
function bytesOr(textOf: (token: string) => string): (token: string) => TokenText {
  return (token) => {
    const byte = /^<0x([0-9A-Fa-f]{2})>$/.exec(token)?.[1];
    return byte === undefined ? textOf(token) : Uint8Array.of(Number.parseInt(byte, 16));
  };
}

/** Byte-level tokens have a letter for each byte: itself where that can be seen, otherwise one from U+0100 on. */
const BYTES_BY_LETTER: ReadonlyMap<string, number> = new Map(
  (() => {
    const isSeen = (byte: number): boolean =>
      (byte >= 0x21 && byte <= 0x7e) || (byte >= 0xa1 && byte <= 0xac) || byte >= 0xae;
    let next = 0x100;
    return Array.from(
      { length: 256 },
      (_, byte) => [String.fromCodePoint(isSeen(byte) ? byte : next++), byte] as const,
    );
  })(),
);

function bytesOfLetters(token: string): TokenText {
  const bytes = [...token].map((letter) => BYTES_BY_LETTER.get(letter));
  // A token with another letter is text.
  return bytes.includes(undefined) ? token : Uint8Array.from(bytes as readonly number[]);
}
