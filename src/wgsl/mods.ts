import type { Kernel, KernelMod, ModKind, WgslModule } from './kernel.js';
import { SEPARATOR } from './module.js';

// Mods are WGSL functions of a caller's own that become a part of kernels: score_mod and mask_mod. Their text is taken over
// line by line, with the names that it declares renamed, so that they meet neither ours nor those of another mod.

/** The element type of a tensor that a mod reads. */
export type ModElement = 'f32' | 'i32' | 'u32';

/** A mod as it is given, but for numbers. */
export interface ModSource {
  readonly kind: ModKind;
  /** By which users and errors call it. */
  readonly name: string;
  readonly code: string;
  /** By name, the arrays that the code reads. */
  readonly tensors: Readonly<Record<string, ModElement>>;
}

/** A mod whose signature has been checked. */
export interface ParsedMod extends ModSource {
  /** Equal for mods of the same text alone. */
  readonly label: string;
  /** Words, signs and white space; comments are white space. */
  readonly tokens: readonly string[];
  /** What it declares, but for its entry point. */
  readonly declared: ReadonlySet<string>;
}

/** Of each kind, its function. */
export const MOD_FUNCTIONS: Readonly<Record<ModKind, { readonly name: string; readonly signature: string }>> =
  {
    scoreMod: {
      name: 'score_mod',
      signature: 'fn score_mod(score: f32, b: u32, h: u32, q: i32, k: i32) -> f32',
    },
    maskMod: { name: 'mask_mod', signature: 'fn mask_mod(b: u32, h: u32, q: i32, k: i32) -> bool' },
  };

/** Parameters of a mod: its code reads mod_params[0] and so on. */
export const MOD_PARAMS = 8;

const PARAMS = 'mod_params';

/**
 * Reads a mod as far as its declarations go; what is in functions is the compiler's.
 *
 * @throws SyntaxError with a sentence that says what is wrong, and where
 */
export function parseMod(source: ModSource): ParsedMod {
  const tokens = tokensOf(source.code);
  const declared = new ModReader(source, tokens).declarations();
  for (const name of Object.keys(source.tensors))
    if (declared.has(name)) throw new SyntaxError(`it declares ${name}, which is given to it`);
  if (Object.hasOwn(source.tensors, PARAMS))
    throw new SyntaxError(`${PARAMS} cannot be the name of a tensor`);
  declared.delete(MOD_FUNCTIONS[source.kind].name);
  const types = Object.entries(source.tensors).map(([name, element]) => `${name}:${element}`);
  const label = `${source.name}#${hashOf([...types, source.code].join('\n'))}`;
  return { ...source, label, tokens, declared };
}

/** The lines of a mod, as compilers count them. */
export function linesOf(code: string): readonly string[] {
  return code.split(LINE_BREAK);
}

const LINE_BREAK = /\r\n|[\n\v\f\r\u0085\u2028\u2029]/;

const WORD = /^[\p{XID_Start}_]/u;
const TOKEN =
  /[\p{XID_Start}_]\p{XID_Continue}*|0[xX][\da-fA-F.]+(?:[pP][+-]?\d+)?|\.?\d[\d.]*(?:[eE][+-]?\d+)?|[^\S\n]+|->|[^]/gu;

function tokensOf(code: string): readonly string[] {
  return withoutComments(linesOf(code).join('\n')).match(TOKEN) ?? [];
}

/** The same lines; block comments may be nested. */
function withoutComments(code: string): string {
  let depth = 0;
  let at = 0;
  let kept = '';
  while (at < code.length) {
    const pattern = depth > 0 ? WITHIN_COMMENT : OUTSIDE;
    pattern.lastIndex = at;
    const [part] = pattern.exec(code)!;
    at += part.length;
    if (part === '/*') depth++;
    else if (part === '*/' && depth > 0) depth--;
    else if (part === '\n' || (depth === 0 && !part.startsWith('//'))) {
      kept += part;
      continue;
    }
    kept += ' ';
  }
  return kept;
}

const OUTSIDE = /\/\/.*|\/\*|[^]/y;
const WITHIN_COMMENT = /\/\*|\*\/|[^]/y;

function isSpace(token: string): boolean {
  return token.trim() === '';
}

interface Place {
  readonly text: string;
  readonly line: number;
}

const CLOSING: ReadonlyMap<string, string> = new Map([
  ['(', ')'],
  ['[', ']'],
  ['{', '}'],
]);

/** Reads the declarations of a mod. */
class ModReader {
  readonly #source: ModSource;
  readonly #tokens: Place[] = [];
  #at = 0;

  constructor(source: ModSource, tokens: readonly string[]) {
    this.#source = source;
    let line = 1;
    for (const text of tokens) {
      if (/[$?#`]/.test(text)) throw new SyntaxError(`line ${line} has ${text}, which is no WGSL`);
      if (!isSpace(text)) this.#tokens.push({ text, line });
      if (text === '\n') line++;
    }
    this.#tokens.forEach((token, i) => {
      const [before, after] = [this.#tokens[i - 1]?.text, this.#tokens[i + 1]?.text];
      if (token.text === PARAMS && before !== '.' && after !== '[')
        throw new SyntaxError(`line ${token.line} has ${PARAMS} otherwise than as ${PARAMS}[i]`);
    });
  }

  declarations(): Set<string> {
    const declared = new Set<string>();
    const { name, signature } = MOD_FUNCTIONS[this.#source.kind];
    while (this.#at < this.#tokens.length) {
      const declaration = this.#declaration();
      if (declaration === undefined) continue;
      if (declared.has(declaration)) throw new SyntaxError(`it declares ${declaration} twice`);
      declared.add(declaration);
    }
    if (!declared.has(name)) throw new SyntaxError(`it must declare ${signature}`);
    return declared;
  }

  /** Reads over one; returns its name, if it has one. */
  #declaration(): string | undefined {
    while (this.#text === '@') this.#attribute();
    const { text, line } = this.#take();
    switch (text) {
      case ';':
        return undefined;
      case 'fn':
        return this.#function(line);
      case 'struct': {
        const { text: name } = this.#take();
        this.#group('{');
        return name;
      }
      case 'const':
      case 'alias': {
        const { text: name } = this.#take();
        this.#statement();
        return name;
      }
      case 'const_assert':
        this.#statement();
        return undefined;
      default:
        throw new SyntaxError(
          `line ${line} has ${text} outside of functions, where there can be fn, struct, const and alias`,
        );
    }
  }

  #function(line: number): string {
    const { text: name } = this.#take();
    const first = this.#at - 2;
    this.#group('(');
    while (this.#at < this.#tokens.length && this.#text !== '{') this.#at++;
    const { name: own, signature } = MOD_FUNCTIONS[this.#source.kind];
    if (name === own) {
      const given = this.#tokens.slice(first, this.#at).map(({ text }) => text);
      if (shapeOf(given) !== shapeOf(tokensOf(signature).filter((token) => !isSpace(token)))) {
        throw new SyntaxError(`line ${line} has ${inWords(given)}, but it must be ${signature}`);
      }
    }
    this.#group('{');
    return name;
  }

  #attribute(): void {
    const { line } = this.#take();
    const { text } = this.#take();
    if (ENTRY_POINTS.has(text))
      throw new SyntaxError(`line ${line} has @${text}, but a mod has no entry points`);
    if (this.#text === '(') this.#group('(');
  }

  #statement(): void {
    while (this.#at < this.#tokens.length && this.#text !== ';') {
      if (CLOSING.has(this.#text!)) this.#group(this.#text!);
      else this.#at++;
    }
    this.#take();
  }

  /** Reads over what is between brackets, and these. */
  #group(opening: string): void {
    const { text, line } = this.#take();
    if (text !== opening) throw new SyntaxError(`line ${line} has ${text}, where ${opening} is expected`);
    for (;;) {
      const { text: next, line: nextLine } = this.#take();
      if (next === CLOSING.get(opening)) return;
      if (CLOSING.has(next)) {
        this.#at--;
        this.#group(next);
      } else if (next === ')' || next === ']' || next === '}') {
        throw new SyntaxError(`line ${nextLine} has ${next}, which closes no bracket`);
      }
    }
  }

  get #text(): string | undefined {
    return this.#tokens[this.#at]?.text;
  }

  #take(): Place {
    const token = this.#tokens[this.#at++];
    if (!token) throw new SyntaxError('it ends within a declaration');
    return token;
  }
}

const ENTRY_POINTS: ReadonlySet<string> = new Set(['compute', 'vertex', 'fragment']);

/** A signature without the names of its parameters. */
function shapeOf(tokens: readonly string[]): string {
  return tokens
    .map((token, i) => (tokens[i + 1] === ':' ? '_' : token))
    .join(' ')
    .replace(', )', ')');
}

function inWords(tokens: readonly string[]): string {
  return tokens
    .join(' ')
    .replace(/ (?=[(),:])|(?<=\() /g, '')
    .trim();
}

/** A mod, and where the arrays that it reads are bound. */
export interface PlacedMod extends ParsedMod {
  /** By name. */
  readonly bindings: Readonly<Record<string, number>>;
}

/**
 * A file with the functions of mods, in place of one that declares what kernels call.
 *
 * @param taken names that have another meaning in the kernel
 * @param paramsBinding where the parameters of both are bound: a uniform of `MOD_PARAMS` numbers for each kind
 */
export function modModule(
  mods: readonly PlacedMod[],
  taken: ReadonlySet<string>,
  paramsBinding: number,
): WgslModule {
  const params = `\n@group(0) @binding(${paramsBinding}) var<uniform> ${PARAMS}: array<vec4f, ${MOD_PARAMS / 2}>;`;
  return ['', params, ...mods.flatMap((mod) => declarationsOf(mod, taken))].join(SEPARATOR);
}

function declarationsOf(mod: PlacedMod, taken: ReadonlySet<string>): readonly string[] {
  const names = newNames(mod, taken);
  const { name } = MOD_FUNCTIONS[mod.kind];
  const first = mod.kind === 'scoreMod' ? 0 : MOD_PARAMS / 4;
  const arrays = Object.entries(mod.tensors).map(
    ([tensor, element]) =>
      `\n@group(0) @binding(${mod.bindings[tensor]!}) var<storage, read> ${names.get(tensor)!}: array<${element}>;`,
  );
  const param = `\nfn ${name}_param(i: u32) -> f32 {\nreturn $${PARAMS}[${first}u + min(i, ${MOD_PARAMS - 1}u) / 4u][i % 4u];\n}`;
  return [...arrays, param, `\n${markerOf(mod.kind)}\n${renamed(mod, names)}`];
}

/** The line before the first one of a mod. It begins what is looked up by the name of the mod's function. */
export function markerOf(kind: ModKind): string {
  return `// fn ${MOD_FUNCTIONS[kind].name}, as ${kind} has it:`;
}

/** What the names of a mod become: no word of its text, and none that has another meaning. */
export function newNames(
  { kind, tokens, declared, tensors }: ParsedMod,
  taken: ReadonlySet<string> = new Set(),
): ReadonlyMap<string, string> {
  const words = tokens.filter((token) => WORD.test(token));
  const ending = `_of_${MOD_FUNCTIONS[kind].name}`;
  let suffix = ending;
  while (words.some((word) => word.endsWith(suffix))) suffix += ending;
  const own = MOD_FUNCTIONS[kind].name;
  const all = [...declared, ...Object.keys(tensors), ...words.filter((word) => taken.has(word))];
  return new Map(all.filter((word) => word !== own).map((word) => [word, word + suffix]));
}

/** The text of a mod, in the same lines. */
function renamed({ kind, tokens, tensors }: ParsedMod, names: ReadonlyMap<string, string>): string {
  const param = `$${MOD_FUNCTIONS[kind].name}_param(u32(`;
  /** What closes each open bracket. */
  const closings: string[] = [];
  let structDepth = 0;
  let isStruct = false;
  let before = '';
  let written = '';
  tokens.forEach((token, i) => {
    if (isSpace(token)) {
      written += token;
      return;
    }
    if (token === 'struct') isStruct = true;
    const next = tokens.slice(i + 1).find((one) => !isSpace(one));
    const isMember = before === '.' || (structDepth > 0 && closings.length === structDepth && next === ':');
    if (token === PARAMS && !isMember && next === '[') written += param;
    else if (CLOSING.has(token)) {
      const isParam = token === '[' && before === PARAMS;
      closings.push(isParam ? '))' : CLOSING.get(token)!);
      if (token === '{' && isStruct) [isStruct, structDepth] = [false, closings.length];
      if (!isParam) written += token;
    } else if (token === ')' || token === ']' || token === '}') {
      if (closings.length === structDepth) structDepth = 0;
      written += closings.pop() ?? token;
    } else if (isMember || before === '@' || !names.has(token)) written += token;
    else written += (Object.hasOwn(tensors, token) ? '$' : '') + names.get(token)!;
    before = token;
  });
  return written.replace(/^[^\S\n]+|[^\S\n]+$/gm, '');
}

/**
 * The mods of a kernel, as those who look for the cause of a compiler's errors need them: for a line of the linked text, the
 * mod and its own line, counted from 1.
 */
export function modLineOf(
  { mods }: Pick<Kernel, 'mods'>,
  lines: readonly string[],
  lineNumber: number,
): { readonly mod: KernelMod; readonly line: number } | undefined {
  for (const mod of mods ?? []) {
    const line = lineNumber - 1 - lines.indexOf(markerOf(mod.kind));
    if (line >= 1 && line <= linesOf(mod.code).length && line < lineNumber) return { mod, line };
  }
  return undefined;
}

/** What a compiler says of a mod, with the names that its code has. */
export function inOwnNames(message: string, { names }: KernelMod): string {
  return message.replace(/[\p{XID_Start}_]\p{XID_Continue}*/gu, (word) => names.get(word) ?? word);
}

/** FNV-1a. */
function hashOf(text: string): string {
  let hash = 0x811c9dc5;
  for (let i = 0; i < text.length; i++) hash = Math.imul(hash ^ text.charCodeAt(i), 0x01000193);
  return (hash >>> 0).toString(16);
}
