/** A word, a number or a sign of WGSL. */
export interface Token {
  readonly text: string;
  /** White space before it, without comments: a line break, a space or nothing. */
  readonly before: string;
  readonly line: number;
}

/** A file that is being read. */
export interface WgslFile {
  /** For errors. */
  readonly path: string;
  readonly text: string;
}

/** @throws SyntaxError that begins with file and line */
export function failAt({ path }: Pick<WgslFile, 'path'>, line: number, sentence: string): never {
  throw new SyntaxError(`${path}:${line}: ${sentence}`);
}

const SPACE = /(?:\s+|\/\/.*|\/\*[^]*?\*\/)*/y;
const TOKEN = /[A-Za-z_]\w*|0[xX][\da-fA-F]+[iu]?|(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?[iufh]?|::|[^\s\w$?#]/y;

/** What a file consists of; the last token is empty. */
export function tokensOf(file: WgslFile): Token[] {
  const tokens: Token[] = [];
  let line = 1;
  for (let at = 0; ;) {
    SPACE.lastIndex = at;
    const space = SPACE.exec(file.text)![0];
    line += countLines(space);
    at += space.length;
    TOKEN.lastIndex = at;
    const text = TOKEN.exec(file.text)?.[0] ?? '';
    if (!text && at < file.text.length) failAt(file, line, `${file.text[at]} is no WGSL.`);
    tokens.push({ text, before: whiteSpace(space), line });
    if (!text) return tokens;
    at += text.length;
  }
}

function countLines(text: string): number {
  return text.split('\n').length - 1;
}

function whiteSpace(space: string): string {
  if (space === '') return '';
  return space.replace(/\/\*[^]*?\*\//g, ' ').includes('\n') ? '\n' : ' ';
}

function isName({ text }: Token): boolean {
  return /^[A-Za-z_]/.test(text);
}

/** A name that code uses: of a local, of a declaration, or WGSL's own. */
export interface NameUse {
  readonly name: string;
  readonly line: number;
}

/** Text with the marks that `src/wgsl/link.ts` reads, in which names are not resolved yet. */
export type ParsedTemplate = readonly (string | NameUse)[];

/** Goes through the tokens of a file: they are taken, and left out, or copied to a template. */
export class TokenReader {
  readonly file: WgslFile;
  readonly #tokens: readonly Token[];
  #at = 0;
  /** Stands in for the white space before the next token, where tokens before it were left out. */
  #space: string | undefined;
  #out: (string | NameUse)[] = [];

  constructor(file: WgslFile) {
    this.file = file;
    this.#tokens = tokensOf(file);
  }

  get token(): Token {
    const token = this.#tokens[this.#at];
    if (!token?.text)
      failAt(this.file, this.#tokens.at(-1)!.line, 'the file ends in the middle of something.');
    return token;
  }

  get isAtEnd(): boolean {
    return this.is('');
  }

  get isName(): boolean {
    return isName(this.token);
  }

  /** The text of the token so many tokens further on, or back. */
  textAt(distance: number): string | undefined {
    return this.#tokens[this.#at + distance]?.text;
  }

  is(...texts: readonly string[]): boolean {
    return texts.every((text, i) => this.textAt(i) === text);
  }

  fail(sentence: string): never {
    failAt(this.file, this.token.line, sentence);
  }

  /** Reads a token that is left out. */
  take(text?: string): Token {
    const token = this.token;
    if (text !== undefined && token.text !== text) this.fail(`there must be ${text}, not ${token.text}.`);
    this.#space ??= token.before;
    this.#at++;
    return token;
  }

  takeAll(...texts: readonly string[]): void {
    for (const text of texts) this.take(text);
  }

  takeName(): string {
    if (!this.isName) this.fail(`there must be a name, not ${this.token.text}.`);
    return this.take().text;
  }

  /** The white space before what was left out, unless the next token stands there already. */
  takeSpace(): string | undefined {
    const space = this.#space;
    this.#space = undefined;
    return space;
  }

  /** Reads a token into the template: its text, or what stands for it. */
  copy(as: string | NameUse = this.token.text): void {
    this.put(this.takeSpace() ?? this.token.before);
    this.put(as);
    this.#at++;
  }

  copyTo(end: string): void {
    while (!this.is(end)) this.copy();
    this.copy();
  }

  put(...parts: ParsedTemplate): void {
    for (const part of parts) if (part !== '') this.#out.push(part);
  }

  /** What `read` copies. */
  within(read: () => void): ParsedTemplate {
    const outer = this.#out;
    this.#out = [];
    read();
    const inner = this.#out;
    this.#out = outer;
    return inner;
  }
}
