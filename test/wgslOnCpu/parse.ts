// A parser of WGSL, as far as compute kernels need it: the tree that compile.ts turns into JavaScript.

export type Expression =
  | { readonly kind: 'number'; readonly text: string }
  | { readonly kind: 'bool'; readonly value: boolean }
  | { readonly kind: 'name'; readonly name: string }
  | { readonly kind: 'call'; readonly callee: TypeName; readonly args: readonly Expression[] }
  | { readonly kind: 'index'; readonly of: Expression; readonly index: Expression }
  | { readonly kind: 'member'; readonly of: Expression; readonly name: string }
  | { readonly kind: 'unary'; readonly operator: string; readonly of: Expression }
  | {
      readonly kind: 'binary';
      readonly operator: string;
      readonly left: Expression;
      readonly right: Expression;
    };

/** A type or function, with what is between `<` and `>`. A count or type there is an expression. */
export interface TypeName {
  readonly name: string;
  readonly template: readonly Expression[];
}

export interface Declaration {
  readonly kind: 'declaration';
  readonly mode: 'var' | 'let' | 'const' | 'override';
  readonly name: string;
  readonly type?: TypeName | undefined;
  readonly value?: Expression | undefined;
  /** Of a var: its address space and access. */
  readonly template: readonly Expression[];
  readonly attributes: Attributes;
}

export type Statement =
  | Declaration
  | {
      readonly kind: 'assign';
      readonly target: Expression;
      readonly operator: string;
      readonly value: Expression;
    }
  | { readonly kind: 'call'; readonly call: Expression }
  | { readonly kind: 'block'; readonly body: readonly Statement[] }
  | {
      readonly kind: 'if';
      readonly condition: Expression;
      readonly body: Statement;
      readonly otherwise?: Statement | undefined;
    }
  | {
      readonly kind: 'for';
      readonly first?: Statement | undefined;
      readonly condition?: Expression | undefined;
      readonly step?: Statement | undefined;
      readonly body: Statement;
    }
  | { readonly kind: 'return'; readonly value?: Expression | undefined }
  | { readonly kind: 'break' }
  | { readonly kind: 'continue' };

export type Attributes = ReadonlyMap<string, readonly Expression[]>;

export interface Member {
  readonly name: string;
  readonly type: TypeName;
  readonly attributes: Attributes;
}

export interface FunctionDeclaration {
  readonly name: string;
  readonly parameters: readonly Member[];
  readonly returns?: TypeName | undefined;
  readonly body: Statement;
  readonly attributes: Attributes;
}

export interface Module {
  readonly structs: ReadonlyMap<string, readonly Member[]>;
  readonly aliases: ReadonlyMap<string, TypeName>;
  readonly variables: ReadonlyMap<string, Declaration>;
  readonly functions: ReadonlyMap<string, FunctionDeclaration>;
}

const TOKEN =
  /\s+|\/\/[^\n]*|\/\*[^]*?\*\/|(0[xX][\da-fA-F.]+(?:[pP][+-]?\d+)?[iufh]?|(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?[iufh]?|[A-Za-z_]\w*|->|&&|\|\||<<=|>>=|<<|>>|<=|>=|==|!=|\+\+|--|[-+*/%&|^]=|[-+*/%&|^~!=<>()[\]{},;:.@])/y;

/** Names that `<` follows as the beginning of a template, not as less. */
const TEMPLATES = /^(array|atomic|bitcast|ptr|var|vec[234])$/;

const PRECEDENCE: readonly (readonly string[])[] = [
  ['||'],
  ['&&'],
  ['|'],
  ['^'],
  ['&'],
  ['==', '!='],
  ['<', '>', '<=', '>='],
  ['<<', '>>'],
  ['+', '-'],
  ['*', '/', '%'],
];

const ASSIGNMENTS = new Set(['=', '+=', '-=', '*=', '/=', '%=', '&=', '|=', '^=', '<<=', '>>=']);

/** @throws SyntaxError for what is not WGSL, or is not known here */
export function parse(code: string): Module {
  return new Parser(code).module();
}

class Parser {
  readonly #tokens: string[] = [];
  readonly #lines: number[] = [];
  #at = 0;

  constructor(code: string) {
    let line = 1;
    for (TOKEN.lastIndex = 0; TOKEN.lastIndex < code.length;) {
      const match = TOKEN.exec(code);
      if (!match) throw new SyntaxError(`Line ${line} is not WGSL.`);
      line += match[0].split('\n').length - 1;
      if (match[1] === undefined) continue;
      this.#tokens.push(match[1]);
      this.#lines.push(line);
    }
  }

  module(): Module {
    const structs = new Map<string, readonly Member[]>();
    const aliases = new Map<string, TypeName>();
    const variables = new Map<string, Declaration>();
    const functions = new Map<string, FunctionDeclaration>();
    while (this.#at < this.#tokens.length) {
      if (this.#takes(';')) continue;
      const attributes = this.#attributes();
      const word = this.#next;
      if (word === 'enable' || word === 'requires' || word === 'diagnostic') {
        while (!this.#takes(';')) this.#at++;
      } else if (this.#takes('struct')) {
        const name = this.#word();
        this.#expect('{');
        structs.set(name, this.#members('}'));
      } else if (this.#takes('alias')) {
        const name = this.#word();
        this.#expect('=');
        aliases.set(name, this.#type());
      } else if (this.#takes('fn')) {
        const name = this.#word();
        this.#expect('(');
        const parameters = this.#members(')');
        let returns: TypeName | undefined;
        if (this.#takes('->')) {
          this.#attributes();
          returns = this.#type();
        }
        functions.set(name, { name, parameters, returns, body: this.#block(), attributes });
      } else {
        const declaration = this.#declaration(attributes);
        this.#expect(';');
        variables.set(declaration.name, declaration);
      }
    }
    return { structs, aliases, variables, functions };
  }

  get #next(): string {
    return this.#tokens[this.#at] ?? '';
  }

  #takes(token: string): boolean {
    if (this.#next !== token) return false;
    this.#at++;
    return true;
  }

  #expect(token: string): void {
    if (!this.#takes(token)) this.#fail(`${token} expected`);
  }

  #fail(what: string): never {
    throw new SyntaxError(`Line ${this.#lines[this.#at] ?? 'last'}: ${what}, not ${this.#next}.`);
  }

  #word(): string {
    const word = this.#next;
    if (!/^[A-Za-z_]\w*$/.test(word)) this.#fail('a name is expected');
    this.#at++;
    return word;
  }

  #attributes(): Attributes {
    const attributes = new Map<string, readonly Expression[]>();
    while (this.#takes('@')) {
      const name = this.#word();
      attributes.set(name, this.#next === '(' ? this.#arguments() : []);
    }
    return attributes;
  }

  #members(end: string): readonly Member[] {
    const members: Member[] = [];
    while (!this.#takes(end)) {
      const attributes = this.#attributes();
      const name = this.#word();
      this.#expect(':');
      members.push({ name, type: this.#type(), attributes });
      this.#takes(',');
    }
    return members;
  }

  #type(): TypeName {
    const name = this.#word();
    return { name, template: TEMPLATES.test(name) ? this.#template() : [] };
  }

  #template(): readonly Expression[] {
    if (!this.#takes('<')) return [];
    const list: Expression[] = [];
    for (;;) {
      // `array<f32, N>>` ends two templates.
      if (this.#next === '>>') {
        this.#tokens.splice(this.#at, 1, '>', '>');
        this.#lines.splice(this.#at, 0, this.#lines[this.#at]!);
      }
      if (this.#takes('>')) return list;
      list.push(this.#binary(PRECEDENCE.length - 2));
      this.#takes(',');
    }
  }

  #arguments(): readonly Expression[] {
    this.#expect('(');
    const list: Expression[] = [];
    while (!this.#takes(')')) {
      list.push(this.#expression());
      if (this.#next !== ')') this.#expect(',');
    }
    return list;
  }

  #declaration(attributes: Attributes = new Map()): Declaration {
    const mode = this.#word();
    if (mode !== 'var' && mode !== 'let' && mode !== 'const' && mode !== 'override')
      this.#fail(`${mode} is not known here. A declaration is expected`);
    const template = mode === 'var' ? this.#template() : [];
    const name = this.#word();
    const type = this.#takes(':') ? this.#type() : undefined;
    const value = this.#takes('=') ? this.#expression() : undefined;
    return { kind: 'declaration', mode, name, type, value, template, attributes };
  }

  #block(): Statement {
    this.#expect('{');
    const body: Statement[] = [];
    while (!this.#takes('}')) if (!this.#takes(';')) body.push(this.#statement());
    return { kind: 'block', body };
  }

  #statement(): Statement {
    if (this.#next === '{') return this.#block();
    if (this.#takes('if')) return this.#if();
    if (this.#takes('for')) return this.#for();
    if (this.#takes('while')) return { kind: 'for', condition: this.#expression(), body: this.#block() };
    const statement = this.#simple();
    this.#expect(';');
    return statement;
  }

  #if(): Statement {
    const condition = this.#expression();
    const body = this.#block();
    let otherwise: Statement | undefined;
    if (this.#takes('else')) otherwise = this.#takes('if') ? this.#if() : this.#block();
    return { kind: 'if', condition, body, otherwise };
  }

  #for(): Statement {
    this.#expect('(');
    const first = this.#next === ';' ? undefined : this.#simple();
    this.#expect(';');
    const condition = this.#next === ';' ? undefined : this.#expression();
    this.#expect(';');
    const step = this.#next === ')' ? undefined : this.#simple();
    this.#expect(')');
    return { kind: 'for', first, condition, step, body: this.#block() };
  }

  /** A statement that may stand in the head of a loop, or that ends with a semicolon. */
  #simple(): Statement {
    if (this.#takes('break')) return { kind: 'break' };
    if (this.#takes('continue')) return { kind: 'continue' };
    if (this.#takes('return'))
      return { kind: 'return', value: this.#next === ';' ? undefined : this.#expression() };
    if (/^(var|let|const)$/.test(this.#next)) return this.#declaration();
    const target = this.#unary();
    if (this.#takes('++')) return { kind: 'assign', target, operator: '+=', value: ONE };
    if (this.#takes('--')) return { kind: 'assign', target, operator: '-=', value: ONE };
    const operator = this.#next;
    if (ASSIGNMENTS.has(operator)) {
      this.#at++;
      return { kind: 'assign', target, operator, value: this.#expression() };
    }
    if (target.kind !== 'call') this.#fail('a statement is expected');
    return { kind: 'call', call: target };
  }

  #expression(): Expression {
    return this.#binary(0);
  }

  #binary(level: number): Expression {
    const operators = PRECEDENCE[level];
    if (!operators) return this.#unary();
    let left = this.#binary(level + 1);
    while (operators.includes(this.#next)) {
      const operator = this.#tokens[this.#at++]!;
      left = { kind: 'binary', operator, left, right: this.#binary(level + 1) };
    }
    return left;
  }

  #unary(): Expression {
    if (/^[-!~&*]$/.test(this.#next)) {
      const operator = this.#tokens[this.#at++]!;
      return { kind: 'unary', operator, of: this.#unary() };
    }
    let value = this.#primary();
    for (;;) {
      if (this.#takes('.')) value = { kind: 'member', of: value, name: this.#word() };
      else if (this.#takes('[')) {
        value = { kind: 'index', of: value, index: this.#expression() };
        this.#expect(']');
      } else return value;
    }
  }

  #primary(): Expression {
    if (this.#takes('(')) {
      const value = this.#expression();
      this.#expect(')');
      return value;
    }
    if (/^[\d.]/.test(this.#next)) return { kind: 'number', text: this.#tokens[this.#at++]! };
    if (this.#takes('true')) return { kind: 'bool', value: true };
    if (this.#takes('false')) return { kind: 'bool', value: false };
    const callee = this.#type();
    if (this.#next === '(') return { kind: 'call', callee, args: this.#arguments() };
    // Types within templates are calls without arguments.
    if (callee.template.length > 0) return { kind: 'call', callee, args: [] };
    return { kind: 'name', name: callee.name };
  }
}

const ONE: Expression = { kind: 'number', text: '1' };
