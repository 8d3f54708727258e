import { compileFunction } from 'node:vm';
import { ARITHMETIC } from './arithmetic.js';
import { ExpressionWriter, type FunctionOf, type Place, type Scope, type Written } from './expressions.js';
import type { Memory } from './memory.js';
import {
  parse,
  type Declaration,
  type Expression,
  type FunctionDeclaration,
  type Member,
  type Module,
  type Statement,
  type TypeName,
} from './parse.js';
import { scalar, sizeOf, structOf, type ScalarName, type Type } from './types.js';

/** Memory that an entry point uses. */
export interface ModuleVariable {
  readonly name: string;
  readonly space: 'workgroup' | 'storage' | 'uniform';
  /** `@group(0) @binding(n)`; undefined for workgroup memory */
  readonly binding: number | undefined;
  readonly isWritable: boolean;
  readonly type: Type;
}

/** Its values as they are in generated code. */
export type Builtins = Readonly<Record<string, number | readonly number[]>>;

/** An entry point that runs on the CPU. */
export interface Program {
  readonly nInvocations: number;
  readonly variables: readonly ModuleVariable[];
  /** Starts an invocation. It stops at each barrier, whose number it yields. */
  start(memory: Readonly<Record<string, Memory>>, builtins: Builtins): Iterator<number, void>;
}

/**
 * Translates an entry point into JavaScript.
 *
 * @param constants numbers for `override` constants
 * @throws SyntaxError for what is not WGSL, or not known here
 */
export function compile(
  code: string,
  entryPoint: string,
  constants: Readonly<Record<string, number>> = {},
): Program {
  return new Compiler(parse(code), constants).program(entryPoint);
}

/** Workgroup memory that a text declares, as WebGPU counts it: each variable by whole 16 bytes. */
export function workgroupBytes(code: string): number {
  const declared = new Compiler(parse(code), {}).workgroupVariables();
  return declared.reduce((bytes, { type }) => bytes + Math.ceil(sizeOf(type) / 16) * 16, 0);
}

const SCALARS: Readonly<Record<string, ScalarName>> = { f: 'f32', u: 'u32', i: 'i32', b: 'bool' };

class Compiler implements Scope {
  readonly #module: Module;
  readonly #constants: Readonly<Record<string, number>>;
  readonly #values = new Map<string, Written>();
  readonly #functions = new Map<string, FunctionOf>();
  readonly #texts: string[] = [];
  readonly #variables = new Map<string, ModuleVariable>();
  readonly #structs = new Map<string, Type>();
  readonly #accessors = new Map<string, string>();
  readonly #expressions = new ExpressionWriter(this);
  #locals: Map<string, Place>[] = [];
  #nNames = 0;
  /** Of the function that is written. */
  #returns: Type | undefined;
  #hasBarrier = false;

  constructor(module: Module, constants: Readonly<Record<string, number>>) {
    this.#module = module;
    this.#constants = constants;
    for (const name of Object.keys(constants))
      if (module.variables.get(name)?.mode !== 'override')
        throw new SyntaxError(`There is no override ${name}.`);
  }

  program(entryPoint: string): Program {
    const declaration = this.#module.functions.get(entryPoint);
    if (!declaration) throw new SyntaxError(`There is no function ${entryPoint}.`);
    const size = declaration.attributes.get('workgroup_size') ?? [];
    const nInvocations = size.reduce((product, part) => product * this.count(part), 1);
    const { js, hasBarrier } = this.functionOf(entryPoint);
    const builtins = declaration.parameters.map(({ attributes, name }) => {
      const [builtin] = attributes.get('builtin') ?? [];
      if (builtin?.kind !== 'name') throw new SyntaxError(`${name} is no builtin.`);
      return `builtins.${builtin.name}`;
    });
    const call = `${js}(${['M', ...builtins].join(', ')})`;
    const names = Object.keys(ARITHMETIC);
    const text = `${this.#texts.join('\n')}\nreturn function* (M, builtins) { ${hasBarrier ? 'yield* ' : ''}${call}; };`;
    const start = compileFunction(text, names)(...Object.values(ARITHMETIC)) as Program['start'];
    return { nInvocations, variables: [...this.#variables.values()], start };
  }

  workgroupVariables(): readonly ModuleVariable[] {
    const declared = [...this.#module.variables.values()].filter(
      ({ template: [space] }) => space?.kind === 'name' && space.name === 'workgroup',
    );
    return declared.map((declaration) => this.#moduleVariable(declaration));
  }

  // What expressions ask for.

  typeOf({ name, template }: TypeName): Type {
    const alias = this.#module.aliases.get(name);
    if (alias) return this.typeOf(alias);
    if (/^([fui]32|bool)$/.test(name)) return scalar(name as ScalarName);
    const [, size, letter] = /^vec([234])([fui]?)$/.exec(name) ?? [];
    const [first, second] = template;
    if (size) {
      const of = letter ? scalar(SCALARS[letter]!) : this.#typeOfExpression(first);
      if (of.kind === 'scalar') return { kind: 'vector', size: Number(size), of };
    }
    if (name === 'array' && first)
      return {
        kind: 'array',
        of: this.#typeOfExpression(first),
        count: second && this.count(second),
      };
    if (name === 'atomic') {
      const of = this.#typeOfExpression(first);
      if (of.kind === 'scalar') return { kind: 'atomic', of };
    }
    const members = this.#module.structs.get(name);
    if (!members) throw new SyntaxError(`The type ${name} is not known.`);
    const found = this.#structs.get(name);
    if (found) return found;
    const struct = structOf(
      name,
      members.map((member) => [member.name, this.typeOf(member.type)]),
    );
    this.#structs.set(name, struct);
    return struct;
  }

  #typeOfExpression(expression: Expression | undefined): Type {
    if (expression?.kind === 'name') return this.typeOf({ name: expression.name, template: [] });
    if (expression?.kind === 'call') return this.typeOf(expression.callee);
    throw new SyntaxError('A type is expected in a template.');
  }

  isType(name: string): boolean {
    const { structs, aliases } = this.#module;
    return structs.has(name) || aliases.has(name) || /^([fui]32|bool|array|vec[234][fui]?)$/.test(name);
  }

  /** A constant, evaluated: an override, too. */
  count(expression: Expression): number {
    return this.#evaluate(this.#expressions.value(expression).js) as number;
  }

  #evaluate(js: string): unknown {
    const names = Object.keys(ARITHMETIC);
    return compileFunction(`return ${js};`, names)(...Object.values(ARITHMETIC)) as unknown;
  }

  placeOf(name: string): Place {
    for (const scope of this.#locals.toReversed()) {
      const found = scope.get(name);
      if (found) return found;
    }
    const declaration = this.#module.variables.get(name);
    if (!declaration) throw new SyntaxError(`${name} is not known.`);
    if (declaration.mode !== 'var') return { kind: 'value', ...this.#constant(name, declaration) };
    const { type } = this.#moduleVariable(declaration);
    return { kind: 'memory', memory: `M.${name}`, offset: '0', type };
  }

  #constant(name: string, { mode, type, value }: Declaration): Written {
    const found = this.#values.get(name);
    if (found) return found;
    const given = this.#constants[name];
    const locals = this.#locals;
    this.#locals = [];
    let written = value && this.#expressions.value(value);
    this.#locals = locals;
    const declared = type ? this.typeOf(type) : written?.type;
    if (given !== undefined) written = { type: scalar('abstract float'), js: String(given) };
    if (!written || !declared) throw new SyntaxError(`The override ${name} has no value.`);
    const kept = mode === 'override' ? this.#expressions.concrete({ type: declared, js: '' }).type : declared;
    const converted =
      given === undefined ? this.#expressions.as(written, kept) : this.#expressions.converted(written, kept);
    const result = { type: kept, js: textOf(this.#evaluate(converted.js)) };
    this.#values.set(name, result);
    return result;
  }

  #moduleVariable({ name, type, template, attributes }: Declaration): ModuleVariable {
    const found = this.#variables.get(name);
    if (found) return found;
    const [space, access] = template.map((word) => (word.kind === 'name' ? word.name : ''));
    if (!type || (space !== 'workgroup' && space !== 'storage' && space !== 'uniform'))
      throw new SyntaxError(`The memory of ${name} is not known.`);
    const [binding] = attributes.get('binding') ?? [];
    const variable: ModuleVariable = {
      name,
      space,
      binding: binding && this.count(binding),
      isWritable: space === 'workgroup' || access === 'read_write',
      type: this.typeOf(type),
    };
    this.#variables.set(name, variable);
    return variable;
  }

  functionOf(name: string): FunctionOf {
    const found = this.#functions.get(name);
    if (found) return found;
    const declaration = this.#module.functions.get(name);
    if (!declaration) throw new SyntaxError(`There is no function ${name}.`);
    const outer = { locals: this.#locals, returns: this.#returns, hasBarrier: this.#hasBarrier };
    const written = this.#function(declaration);
    this.#locals = outer.locals;
    this.#returns = outer.returns;
    this.#hasBarrier = outer.hasBarrier;
    this.#functions.set(name, written);
    return written;
  }

  /** A barrier, or a call that comes to one. */
  noteBarrier(): void {
    this.#hasBarrier = true;
  }

  /** A number of its own for each barrier of the text. */
  newNumber(): number {
    return (this.#nNames += 1);
  }

  /** Writes a function once, and returns its name. */
  accessor(key: string, write: (name: string) => string): string {
    let name = this.#accessors.get(key);
    if (!name) {
      name = this.#newName('access');
      this.#accessors.set(key, name);
      this.#texts.push(write(name));
    }
    return name;
  }

  #newName(name: string): string {
    return `${name}$${this.newNumber()}`;
  }

  #function({ name, parameters, returns, body }: FunctionDeclaration): FunctionOf {
    const locals = new Map<string, Place>();
    this.#locals = [locals];
    this.#returns = returns && this.typeOf(returns);
    this.#hasBarrier = false;
    const types = parameters.map((parameter: Member): Type => {
      const type = this.typeOf(parameter.type);
      locals.set(parameter.name, { kind: 'value', type, js: this.#newName(parameter.name), isShared: true });
      return type;
    });
    const result = this.#returns;
    const list = ['M', ...[...locals.values()].map((local) => (local as Written).js)].join(', ');
    const text = this.#statement(body);
    const js = this.#newName(name);
    const hasBarrier = this.#hasBarrier;
    this.#texts.push(`function${hasBarrier ? '*' : ''} ${js}(${list}) ${text}`);
    return { js, parameters: types, returns: result, hasBarrier };
  }

  #statement(statement: Statement): string {
    switch (statement.kind) {
      case 'declaration':
        return this.#local(statement);
      case 'assign':
        return this.#assignment(statement);
      case 'call':
        return `${this.#expressions.call(statement.call).js};`;
      case 'block':
        return this.#scoped(() => `{\n${statement.body.map((each) => this.#statement(each)).join('\n')}\n}`);
      case 'if': {
        const { condition, body, otherwise } = statement;
        const rest = otherwise ? ` else ${this.#statement(otherwise)}` : '';
        return `if (${this.#condition(condition)}) ${this.#statement(body)}${rest}`;
      }
      case 'for': {
        const { first, condition, step, body } = statement;
        return this.#scoped(() => {
          const head = first ? this.#statement(first) : ';';
          const test = condition ? this.#condition(condition) : '';
          const next = step ? this.#statement(step).replace(/;$/, '') : '';
          return `for (${head} ${test}; ${next}) ${this.#statement(body)}`;
        });
      }
      case 'return': {
        if (!statement.value) return 'return;';
        if (!this.#returns) throw new SyntaxError('A function without a result returns one.');
        return `return ${this.#expressions.own(statement.value, this.#returns).js};`;
      }
      case 'break':
      case 'continue':
        return `${statement.kind};`;
    }
  }

  #condition(expression: Expression): string {
    return this.#expressions.as(this.#expressions.value(expression), scalar('bool')).js;
  }

  #scoped(write: () => string): string {
    this.#locals.push(new Map());
    const text = write();
    this.#locals.pop();
    return text;
  }

  #local({ mode, name, type, value }: Declaration): string {
    const declared = type && this.typeOf(type);
    let initial: Written;
    if (value) initial = this.#expressions.own(value, declared);
    else if (declared) initial = this.#expressions.zero(declared);
    else throw new SyntaxError(`${name} has neither a type nor a value.`);
    if (mode !== 'const') initial = this.#expressions.concrete(initial);
    const js = this.#newName(name);
    const kind = mode === 'var' ? 'variable' : 'value';
    this.#locals.at(-1)!.set(name, { kind, type: initial.type, js, isShared: true });
    return `let ${js} = ${initial.js};`;
  }

  #assignment({ target, operator, value }: Extract<Statement, { kind: 'assign' }>): string {
    if (target.kind === 'name' && target.name === '_') return `${this.#expressions.value(value).js};`;
    const place = this.#expressions.place(target);
    if (place.kind === 'value') throw new SyntaxError('What is assigned to is no variable.');
    const written =
      operator === '='
        ? this.#expressions.own(value, place.type)
        : this.#expressions.as(
            this.#expressions.binary(
              operator.slice(0, -1),
              this.#expressions.load(place),
              this.#expressions.value(value),
            ),
            place.type,
          );
    return `${this.#expressions.store(place, written.js)};`;
  }
}

/** A value as JavaScript: numbers that JSON has not, too. */
function textOf(value: unknown): string {
  if (Array.isArray(value)) return `[${value.map(textOf).join(', ')}]`;
  if (typeof value === 'number' || typeof value === 'boolean')
    return Object.is(value, -0) ? '-0' : String(value);
  throw new SyntaxError(`A constant is ${String(value)}.`);
}
