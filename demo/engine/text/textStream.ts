import type { TokenText } from './tokenText.js';

export interface TextStreamOptions {
  /** Returns what a token stands for; undefined for one that is not shown. */
  readonly textOf: (id: number) => TokenText | undefined;
  /** Spaces to leave out at the start. Default 0. */
  readonly leadingSpaces?: number;
}

/** An emoji may become another one by what follows: a skin, a second letter of a flag, or a joined emoji. */
const EMOJI = /\p{Extended_Pictographic}|\p{Regional_Indicator}|\uFE0F/u;

/** Longer runs of joined emoji are no single one. */
const MAX_HELD = 64;

const graphemes = new Intl.Segmenter(undefined, { granularity: 'grapheme' });

/**
 * Turns tokens into text one by one, without decoding anything twice. A token may end in the middle of a character, and
 * an emoji may be several characters that are joined: text is held back until it is whole.
 */
export class TextStream {
  readonly #textOf: (id: number) => TokenText | undefined;
  // U+FEFF at the start is a token's text, not a mark of the encoding.
  readonly #utf8 = new TextDecoder('utf-8', { ignoreBOM: true });
  #leadingSpaces: number;
  /** An emoji that may not be whole. */
  #held = '';

  constructor({ textOf, leadingSpaces = 0 }: TextStreamOptions) {
    this.#textOf = textOf;
    this.#leadingSpaces = leadingSpaces;
  }

  /** Returns the text that is whole by now and was not returned before; often that of the token, sometimes none. */
  push(id: number): string {
    const text = this.#textOf(id);
    if (text === undefined) return '';
    return this.#whole(
      typeof text === 'string'
        ? this.#utf8.decode() + text // text ends a character that bytes left unfinished: it is broken
        : this.#utf8.decode(text, { stream: true }),
    );
  }

  /** Returns what was held back, at the end. A character that was left unfinished becomes U+FFFD. */
  flush(): string {
    const rest = this.#whole(this.#utf8.decode()) + this.#held;
    this.#held = '';
    return rest;
  }

  #whole(next: string): string {
    const text = this.#held + this.#withoutLeadingSpaces(next);
    this.#held = text && unfinishedEmoji(text);
    return text.slice(0, text.length - this.#held.length);
  }

  #withoutLeadingSpaces(text: string): string {
    let nSpaces = 0;
    while (nSpaces < this.#leadingSpaces && text[nSpaces] === ' ') nSpaces++;
    this.#leadingSpaces = nSpaces < text.length ? 0 : this.#leadingSpaces - nSpaces;
    return text.slice(nSpaces);
  }
}

/** Returns the emoji at the end of a text, if there is one. */
function unfinishedEmoji(text: string): string {
  const end = text.slice(-MAX_HELD);
  const last = [...graphemes.segment(end)].at(-1)!.segment;
  return EMOJI.test(last) && last.length < MAX_HELD ? last : '';
}
