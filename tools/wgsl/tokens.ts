/** A word, a number or a sign of WGSL. */
export interface Token {
  readonly text: string;
  /** White space before it; comments count as such. */
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
const TOKEN = /[A-Za-z_]\w*|0[xX][\da-fA-F]+[iu]?|(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?[iufh]?|::|[^\s\w]/y;

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

/** White space without comments and without empty lines: what is left of it shows how the text is laid out. */
function whiteSpace(space: string): string {
  const lines = space.replace(/\/\/.*|\/\*[^]*?\*\//g, ' ').split('\n');
  return lines.length > 1 ? `\n${lines.at(-1)}` : lines[0] ? ' ' : '';
}

export function isName({ text }: Token): boolean {
  return /^[A-Za-z_]/.test(text);
}
