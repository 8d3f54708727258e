import { both, conditionText, either, not, type Condition } from './condition.js';
import { TokenReader, type ParsedTemplate } from './tokens.js';

/** A statement ends at `;` or with its block, an argument or a member with a comma or before the closing bracket. */
type ElementKind = 'statement' | 'argument' | 'member';

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

/** The end of what a mark begins. */
const END = '#}';

/** Reads a declaration, one element after another: each statement, argument and member may have a condition. */
export class CodeParser extends TokenReader {
  /** What is being declared. */
  declared: { readonly name: string; readonly line: number } | undefined;
  /** Names of its parameters and variables, with the lines where they are declared. */
  locals = new Map<string, number>();
  /** Constants in bounds of loops and sizes of registers. */
  readonly sizes = new Set<string>();
  /** Fields of the structs that were read. */
  readonly structs = new Map<string, { readonly name: string; readonly type: string }[]>();
  /** Of arrays of registers: how many indices they have. */
  #ranks = new Map<string, number>();
  /** Of the loops around. */
  #counters: readonly string[] = [];

  /** A declaration or a directive. */
  declaration(): ParsedTemplate {
    this.declared = undefined;
    this.locals = new Map();
    this.#ranks = new Map();
    return this.within(() => this.#element('statement'));
  }

  /** `@if(…)` */
  condition(): Condition {
    this.takeAll('@', 'if', '(');
    const condition = this.#anyOf();
    this.take(')');
    return condition;
  }

  takeElse(): boolean {
    if (!this.is('@', 'else')) return false;
    this.takeAll('@', 'else');
    return true;
  }

  #anyOf(): Condition {
    let condition = this.#allOf();
    while (this.is('|', '|')) {
      this.takeAll('|', '|');
      condition = either(condition, this.#allOf());
    }
    return condition;
  }

  #allOf(): Condition {
    let condition = this.#term();
    while (this.is('&', '&')) {
      this.takeAll('&', '&');
      condition = both(condition, this.#term());
    }
    return condition;
  }

  #term(): Condition {
    if (this.is('!')) {
      this.take();
      return not(this.#term());
    }
    if (!this.is('(')) return [[this.takeName()]];
    this.take();
    const condition = this.#anyOf();
    this.take(')');
    return condition;
  }

  #element(kind: ElementKind): void {
    if (this.is('@', 'if')) return this.#conditional(kind);
    if (this.is('@', 'else')) this.fail('@else must follow what has an @if.');
    if (this.is('@', 'unroll')) return this.#loop();
    if (this.is('@', 'registers')) return this.#registers();
    while (this.is('@')) this.#attributeOf();
    if (kind !== 'statement') return this.#part(kind);
    const { text } = this.token;
    if (text === '{') return this.#block();
    if (text === 'fn') return this.#function();
    if (text === 'struct') return this.#struct();
    if (BLOCK_STATEMENTS.has(text)) return this.#blockStatement();
    while (!this.is(';')) this.#any();
    this.copy();
  }

  #conditional(kind: ElementKind): void {
    const condition = this.condition();
    this.put(
      ...conditional(
        condition,
        this.within(() => this.#element(kind)),
      ),
    );
    if (this.takeElse())
      this.put(
        ...conditional(
          not(condition),
          this.within(() => this.#element(kind)),
        ),
      );
  }

  /** `@unroll for (var i = 0u; i < N; i++) { … }` */
  #loop(): void {
    this.takeAll('@', 'unroll');
    const counter = this.textAt(3) ?? '';
    const head = ['for', '(', 'var', counter, '=', '0u', ';', counter, '<'];
    if (!this.is(...head)) this.fail('what is to be unrolled must be for (var i = 0u; i < N; i++) { … }.');
    this.takeAll(...head);
    const below = this.#size();
    this.takeAll(';', counter, '+', '+', ')');
    const outer = this.#counters;
    this.#counters = [...outer, counter];
    const body = this.within(() => this.#block());
    this.#counters = outer;
    this.put(`#${counter}<${below}{`, ...body, END);
  }

  /** `@registers var a: array<array<T, INNER>, OUTER>;` */
  #registers(): void {
    this.takeAll('@', 'registers', 'var');
    const { line } = this.token;
    const name = this.takeName();
    this.take(':');
    this.takeSpace();
    const sizes: string[] = [];
    const type = this.#arrayOf(sizes);
    this.take(';');
    this.takeSpace();
    this.locals.set(name, line);
    this.#ranks.set(name, sizes.length);
    this.put(`#${name}${sizes.map((size) => `[${size}]`).join('')}:`, ...type, ';');
  }

  /** The innermost elements of an array of arrays; adds its sizes, outermost first. */
  #arrayOf(sizes: string[]): ParsedTemplate {
    this.takeAll('array', '<');
    const outer = sizes.push('') - 1;
    this.takeSpace();
    const type = this.is('array') ? this.#arrayOf(sizes) : this.within(() => this.#any());
    this.take(',');
    sizes[outer] = this.#size();
    this.take('>');
    return type;
  }

  /** A number, a constant or a counter. */
  #size(): string {
    const number = /^(\d+)u?$/.exec(this.token.text)?.[1];
    if (number === undefined) {
      const name = this.takeName();
      if (!this.#counters.includes(name)) this.sizes.add(name);
      return name;
    }
    this.take();
    return number;
  }

  /** `a[r][c / N]` */
  #register(name: string, rank: number): void {
    this.copy(`#${name}`);
    for (let i = 0; i < rank; i++) {
      if (!this.is('[')) this.fail(`${name} has ${rank} indices.`);
      this.take();
      this.put(`[${this.#index(name)}]`);
      this.take(']');
    }
    this.takeSpace();
  }

  #index(register: string): string {
    const first = this.#size();
    if (!/^\d/.test(first) && !this.#counters.includes(first)) {
      this.fail(
        `${first} cannot be an index of ${register}: registers are named, so it takes a number or the counter of an unrolled loop.`,
      );
    }
    if (this.is(']')) return first;
    const operator = this.take().text;
    if (operator !== '/' && operator !== '%')
      this.fail(`an index of ${register} can be divided by a size, but not more: there is ${operator}.`);
    return first + operator + this.#size();
  }

  /** An attribute, with a condition if it is not the first of a declaration. */
  #attributeOf(): void {
    if (!this.is('@', 'if')) return this.#attribute();
    const condition = this.condition();
    this.put(
      ...conditional(
        condition,
        this.within(() => this.#attribute()),
      ),
    );
  }

  #attribute(): void {
    this.copy();
    const isWorded = WORDED_ATTRIBUTES.has(this.token.text);
    this.copy();
    if (!this.is('(')) return;
    if (isWorded) this.copyTo(')');
    else this.#any();
  }

  /** An argument, a parameter or a member, with the comma behind it. */
  #part(kind: ElementKind): void {
    if (this.textAt(1) === ':') {
      const { text, line } = this.token;
      if (kind === 'argument') this.locals.set(text, line);
      else this.structs.get(this.declared!.name)!.push({ name: text, type: this.textAt(2)! });
      this.copy();
    }
    let angles = 0;
    while (!this.is(')') && !this.is('}')) {
      const { text } = this.token;
      if (text === '<') angles++;
      if (text === '>') angles--;
      this.#any();
      // In a call, angles may be comparisons; but there, no argument has a condition.
      if (text === ',' && angles <= 0) return;
    }
  }

  #block(): void {
    this.copy();
    while (!this.is('}')) this.#element('statement');
    this.copy();
  }

  #function(): void {
    this.copy();
    this.declaredName();
    while (!this.is('{')) this.#any();
    this.#block();
  }

  #struct(): void {
    this.copy();
    this.structs.set(this.token.text, []);
    this.declaredName();
    this.copy();
    while (!this.is('}')) this.#element('member');
    this.copy();
  }

  #blockStatement(): void {
    const isIf = this.is('if');
    this.copy();
    while (!this.is('{')) this.#any();
    this.#block();
    if (!isIf || !this.is('else')) return;
    this.copy();
    if (this.is('if')) this.#blockStatement();
    else this.#block();
  }

  /** The name that a declaration declares: outside of functions, or in one. */
  protected declaredName(): void {
    const { text, line } = this.token;
    if (!this.isName) this.fail(`there must be a name, not ${text}.`);
    if (this.declared) this.locals.set(text, line);
    else this.declared = { name: text, line };
    this.copy();
  }

  /** A token, or all that is between brackets. */
  #any(): void {
    const { text } = this.token;
    if (text === '(') {
      this.copy();
      while (!this.is(')')) this.#element('argument');
      return this.copy();
    }
    if (text === '{') return this.#block();
    if (!this.isName || this.textAt(-1) === '.') return this.copy();
    if (DECLARATIONS.has(text)) {
      this.copy();
      if (this.is('<')) this.copyTo('>');
      return this.declaredName();
    }
    this.#name();
  }

  #name(): void {
    const { text, line } = this.token;
    const next = this.textAt(1);
    if (next === '::') this.fail(`${text}:: in the middle of code is not understood. Import what it names.`);
    const rank = this.#ranks.get(text);
    if (rank !== undefined && next === '[') this.#register(text, rank);
    else this.copy(this.#counters.includes(text) ? `$${text}` : { name: text, line });
  }
}

/** Text of the variants in which a condition holds. */
export function conditional(condition: Condition | undefined, text: ParsedTemplate): ParsedTemplate {
  return condition ? [`?${conditionText(condition)}{`, ...text, END] : text;
}
