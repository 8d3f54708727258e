import type { Condition, Index, Size } from '../../src/wgsl/template.js';
import { failAt, isName, tokensOf, type Token, type WgslFile } from './tokens.js';

/** A segment of a template in which names are not yet resolved: each may be a local, a declaration or WGSL's own. */
export type ParsedSegment =
  | string
  | { readonly name: string; readonly line: number }
  | { readonly if: Condition; readonly body: ParsedTemplate }
  | { readonly counter: string; readonly below: Size; readonly body: ParsedTemplate }
  | { readonly turn: string }
  | {
      readonly registers: string;
      readonly space: string;
      readonly type: ParsedTemplate;
      readonly sizes: readonly Size[];
    }
  | { readonly register: string; readonly at: readonly Index[] };

export type ParsedTemplate = readonly ParsedSegment[];

export interface ParsedDeclaration {
  readonly name: string;
  readonly line: number;
  readonly template: ParsedTemplate;
  /** Names of parameters and variables in it, with the lines where they are declared. */
  readonly locals: ReadonlyMap<string, number>;
}

export interface ParsedImport {
  /** The file without its ending, or `constants`. */
  readonly from: string;
  readonly name: string;
  /** What the importing file calls it. */
  readonly as: string;
  /** Undefined if it always holds. */
  readonly condition: Condition | undefined;
  readonly line: number;
}

export interface ParsedModule {
  readonly file: WgslFile;
  readonly imports: readonly ParsedImport[];
  readonly directives: ParsedTemplate;
  readonly declarations: readonly ParsedDeclaration[];
}

/** @throws SyntaxError with file and line */
export function parseModule(file: WgslFile): ParsedModule {
  return new ModuleParser(file).module();
}

/** A statement ends at `;` or with its block, an argument or a member with a comma or before the closing bracket. */
type ElementKind = 'statement' | 'argument' | 'member';

const DIRECTIVES: ReadonlySet<string> = new Set(['enable', 'requires', 'diagnostic']);
const DECLARATIONS: ReadonlySet<string> = new Set(['let', 'var', 'const', 'override', 'alias']);
const BLOCK_STATEMENTS: ReadonlySet<string> = new Set([
  'for',
  'while',
  'if',
  'switch',
  'case',
  'default',
  'loop',
  'continuing',
]);

/** Attributes whose arguments are words of WGSL. */
const WORDED_ATTRIBUTES: ReadonlySet<string> = new Set(['builtin', 'interpolate', 'diagnostic']);

/** Reads one element after another: each declaration, statement, argument and member may have a condition. */
class ModuleParser {
  readonly #file: WgslFile;
  readonly #tokens: readonly Token[];
  readonly #imports: ParsedImport[] = [];
  readonly #directives: ParsedSegment[] = [];
  readonly #declarations: ParsedDeclaration[] = [];
  #at = 0;
  /** Stands in for the white space before the next token, where marks before it are left out. */
  #space: string | undefined;
  #out: ParsedSegment[] = [];
  /** Of the declaration that is being read. */
  #declared: { readonly name: string; readonly line: number } | undefined;
  #locals = new Map<string, number>();
  #ranks = new Map<string, number>();
  /** Of the loops around. */
  #counters: readonly string[] = [];

  constructor(file: WgslFile) {
    this.#file = file;
    this.#tokens = tokensOf(file);
  }

  module(): ParsedModule {
    while (!this.#is('')) this.#topLevel(undefined);
    return {
      file: this.#file,
      imports: this.#imports,
      directives: this.#directives,
      declarations: this.#declarations,
    };
  }

  #topLevel(outer: Condition | undefined): void {
    if (this.#is('@', 'if')) {
      const condition = this.#condition();
      const within = (inner: Condition): Condition => (outer ? ['&&', outer, inner] : inner);
      this.#topLevel(within(condition));
      if (this.#takeElse()) this.#topLevel(within(['!', condition]));
      return;
    }
    if (this.#is('import')) return this.#import(outer);
    const { line } = this.#token;
    const isDirective = DIRECTIVES.has(this.#token.text);
    this.#begin();
    const plain = this.#within(() => this.#element('statement'));
    const template = outer ? [{ if: outer, body: plain }] : plain;
    if (isDirective) this.#directives.push(...template);
    else if (this.#declared) this.#declarations.push({ ...this.#declared, template, locals: this.#locals });
    else failAt(this.#file, line, 'this is neither a declaration nor a directive.');
  }

  #begin(): void {
    this.#declared = undefined;
    this.#locals = new Map();
    this.#ranks = new Map();
  }

  /**
   * `import package::file::name as other;`, or `package::file::{…, …}`, or `constants` for `package::file`; folders
   * come before the file: `package::shared::file`.
   */
  #import(condition: Condition | undefined): void {
    const { line } = this.#take('import');
    const from = this.#take().text;
    this.#take('::');
    let file = from;
    if (from === 'package') {
      file = this.#takeName();
      this.#take('::');
      while (this.#isBefore('::')) {
        file += `/${this.#takeName()}`;
        this.#take('::');
      }
    } else if (from !== 'constants') {
      this.#fail(`imports come from package:: or constants::, not from ${from}::.`);
    }
    const item = (): void => {
      const name = this.#takeName();
      const as = this.#is('as') ? (this.#take(), this.#takeName()) : name;
      this.#imports.push({ from: file, name, as, condition, line });
    };
    if (this.#is('{')) {
      this.#take();
      while (!this.#is('}')) {
        item();
        if (!this.#is('}')) this.#take(',');
      }
      this.#take();
    } else {
      item();
    }
    this.#take(';');
    this.#space = undefined;
  }

  #element(kind: ElementKind): void {
    if (this.#is('@', 'if')) return this.#conditional(kind);
    if (this.#is('@', 'else')) this.#fail('@else must follow what has an @if.');
    if (this.#is('@', 'unroll')) return this.#loop();
    if (this.#is('@', 'registers')) return this.#registers();
    while (this.#is('@')) this.#attribute();
    if (kind !== 'statement') return this.#part(kind);
    const { text } = this.#token;
    if (text === '{') return this.#block();
    if (text === 'fn') return this.#function();
    if (text === 'struct') return this.#struct();
    if (BLOCK_STATEMENTS.has(text)) return this.#blockStatement();
    while (!this.#is(';')) this.#any();
    this.#copy();
  }

  #conditional(kind: ElementKind): void {
    const condition = this.#condition();
    this.#put({ if: condition, body: this.#within(() => this.#element(kind)) });
    if (this.#takeElse()) this.#put({ if: ['!', condition], body: this.#within(() => this.#element(kind)) });
  }

  #takeElse(): boolean {
    if (!this.#is('@', 'else')) return false;
    this.#take();
    this.#take();
    return true;
  }

  /** `@if(…)` */
  #condition(): Condition {
    for (const text of ['@', 'if', '(']) this.#take(text);
    const condition = this.#anyOf();
    this.#take(')');
    return condition;
  }

  #anyOf(): Condition {
    let condition = this.#allOf();
    while (this.#is('|', '|')) {
      this.#at += 2;
      condition = ['||', condition, this.#allOf()];
    }
    return condition;
  }

  #allOf(): Condition {
    let condition = this.#term();
    while (this.#is('&', '&')) {
      this.#at += 2;
      condition = ['&&', condition, this.#term()];
    }
    return condition;
  }

  #term(): Condition {
    if (this.#is('!')) {
      this.#take();
      return ['!', this.#term()];
    }
    if (!this.#is('(')) return this.#takeName();
    this.#take();
    const condition = this.#anyOf();
    this.#take(')');
    return condition;
  }

  /** `@unroll for (var i = 0u; i < N; i++) { … }` */
  #loop(): void {
    this.#take('@');
    this.#take('unroll');
    const counter = this.#tokens[this.#at + 3]?.text ?? '';
    const head = ['for', '(', 'var', counter, '=', '0u', ';', counter, '<'];
    if (!this.#is(...head)) this.#fail('what is to be unrolled must be for (var i = 0u; i < N; i++) { … }.');
    for (const text of head) this.#take(text);
    const below = this.#size();
    for (const text of [';', counter, '+', '+', ')']) this.#take(text);
    const outer = this.#counters;
    this.#counters = [...outer, counter];
    const body = this.#within(() => this.#block());
    this.#counters = outer;
    this.#put({ counter, below, body });
  }

  #size(): Size {
    const number = /^(\d+)u?$/.exec(this.#token.text)?.[1];
    if (number === undefined) return this.#takeName();
    this.#take();
    return Number(number);
  }

  /** `@registers var a: array<array<T, INNER>, OUTER>;` */
  #registers(): void {
    for (const text of ['@', 'registers', 'var']) this.#take(text);
    const { line } = this.#token;
    const registers = this.#takeName();
    this.#take(':');
    const space = this.#takeSpace() ?? '';
    const sizes: Size[] = [];
    const type = this.#arrayOf(sizes);
    this.#take(';');
    this.#takeSpace();
    this.#locals.set(registers, line);
    this.#ranks.set(registers, sizes.length);
    this.#put({ registers, space, type, sizes });
  }

  /** The innermost elements of an array of arrays; adds its sizes, outermost first. */
  #arrayOf(sizes: Size[]): ParsedTemplate {
    this.#take('array');
    this.#take('<');
    const outer = sizes.push(0) - 1;
    this.#space = '';
    const type = this.#is('array') ? this.#arrayOf(sizes) : this.#within(() => this.#any());
    this.#take(',');
    sizes[outer] = this.#size();
    this.#take('>');
    return type;
  }

  #attribute(): void {
    this.#copy();
    const isWorded = WORDED_ATTRIBUTES.has(this.#token.text);
    this.#copy();
    if (!this.#is('(')) return;
    if (isWorded) this.#copyTo(')');
    else this.#any();
  }

  /** An argument, a parameter or a member, with the comma behind it. */
  #part(kind: ElementKind): void {
    if (this.#tokens[this.#at + 1]?.text === ':') {
      if (kind === 'argument') this.#locals.set(this.#token.text, this.#token.line);
      this.#copy();
    }
    let angles = 0;
    while (!this.#is(')') && !this.#is('}')) {
      const { text } = this.#token;
      if (text === '<') angles++;
      if (text === '>') angles--;
      this.#any();
      // In a call, angles may be comparisons; but there, no argument has a condition.
      if (text === ',' && angles <= 0) return;
    }
  }

  #block(): void {
    this.#copy();
    while (!this.#is('}')) this.#element('statement');
    this.#copy();
  }

  #function(): void {
    this.#copy();
    this.#declaredName();
    while (!this.#is('{')) this.#any();
    this.#block();
  }

  #struct(): void {
    this.#copy();
    this.#declaredName();
    this.#copy();
    while (!this.#is('}')) this.#element('member');
    this.#copy();
  }

  #blockStatement(): void {
    const isIf = this.#is('if');
    this.#copy();
    while (!this.#is('{')) this.#any();
    this.#block();
    if (!isIf || !this.#is('else')) return;
    this.#copy();
    if (this.#is('if')) this.#blockStatement();
    else this.#block();
  }

  /** The name that a declaration declares: outside of functions, or in one. */
  #declaredName(): void {
    const { text, line } = this.#token;
    if (!isName(this.#token)) this.#fail(`there must be a name, not ${text}.`);
    if (this.#declared) this.#locals.set(text, line);
    else this.#declared = { name: text, line };
    this.#copy();
  }

  /** A token, or all that is between brackets. */
  #any(): void {
    const { text } = this.#token;
    if (text === '(') {
      this.#copy();
      while (!this.#is(')')) this.#element('argument');
      return this.#copy();
    }
    if (text === '{') return this.#block();
    if (!isName(this.#token) || this.#tokens[this.#at - 1]?.text === '.') return this.#copy();
    if (DECLARATIONS.has(text)) {
      this.#copy();
      if (this.#is('<')) this.#copyTo('>');
      return this.#declaredName();
    }
    this.#name();
  }

  #name(): void {
    const { text, line } = this.#token;
    const next = this.#tokens[this.#at + 1]?.text;
    if (next === '::') this.#fail(`${text}:: in the middle of code is not understood. Import what it names.`);
    const rank = this.#ranks.get(text);
    if (rank !== undefined && next === '[') return this.#register(text, rank);
    this.#put(this.#takeSpace() ?? this.#token.before);
    this.#put(this.#counters.includes(text) ? { turn: text } : { name: text, line });
    this.#at++;
  }

  /** `a[r][c / N]` */
  #register(register: string, rank: number): void {
    this.#put(this.#takeSpace() ?? this.#token.before);
    this.#at++;
    const at = Array.from({ length: rank }, () => {
      if (!this.#is('[')) this.#fail(`${register} has ${rank} indices.`);
      this.#take();
      const index = this.#index(register);
      this.#take(']');
      return index;
    });
    this.#takeSpace();
    this.#put({ register, at });
  }

  #index(register: string): Index {
    const first = this.#size();
    if (typeof first === 'string' && !this.#counters.includes(first)) {
      this.#fail(
        `${first} cannot be an index of ${register}: registers are named, so it takes a number or the counter of an unrolled loop.`,
      );
    }
    if (this.#is(']')) return first;
    const operator = this.#take().text;
    if (operator !== '/' && operator !== '%')
      this.#fail(`an index of ${register} can be divided by a size, but not more: there is ${operator}.`);
    return [first, operator, this.#size()];
  }

  get #token(): Token {
    const token = this.#tokens[this.#at];
    if (!token?.text)
      failAt(this.#file, this.#tokens.at(-1)!.line, 'the file ends in the middle of something.');
    return token;
  }

  #is(...texts: readonly string[]): boolean {
    return texts.every((text, i) => this.#tokens[this.#at + i]?.text === text);
  }

  #fail(sentence: string): never {
    failAt(this.#file, this.#token.line, sentence);
  }

  /** Reads a token that is left out. */
  #take(text?: string): Token {
    const token = this.#token;
    if (text !== undefined && token.text !== text) this.#fail(`there must be ${text}, not ${token.text}.`);
    this.#space ??= token.before;
    this.#at++;
    return token;
  }

  /** Whether this token comes after the present one. */
  #isBefore(text: string): boolean {
    return this.#tokens[this.#at + 1]?.text === text;
  }

  #takeName(): string {
    if (!isName(this.#token)) this.#fail(`there must be a name, not ${this.#token.text}.`);
    return this.#take().text;
  }

  #takeSpace(): string | undefined {
    const space = this.#space;
    this.#space = undefined;
    return space;
  }

  /** Reads a token as text of the template. */
  #copy(): void {
    this.#put(this.#takeSpace() ?? this.#token.before);
    this.#put(this.#token.text);
    this.#at++;
  }

  #copyTo(end: string): void {
    while (!this.#is(end)) this.#copy();
    this.#copy();
  }

  #put(segment: ParsedSegment): void {
    if (segment !== '') this.#out.push(segment);
  }

  /** What `read` reads. */
  #within(read: () => void): ParsedTemplate {
    const outer = this.#out;
    this.#out = [];
    read();
    const inner = this.#out;
    this.#out = outer;
    return inner;
  }
}
