import { ATOMICS, bitcast, COMPARISONS, COMPONENTWISE, conversion, operation } from './arithmetic.js';
import type { Expression, TypeName } from './parse.js';
import {
  isAbstract,
  nameOf,
  scalar,
  scalarOf,
  sizeOf,
  strideOf,
  withScalar,
  type Scalar,
  type Type,
} from './types.js';

/** An expression in JavaScript. Vectors, arrays and structs are arrays there, bool is boolean, other scalars are numbers. */
export interface Written {
  readonly type: Type;
  readonly js: string;
  /** Whether a name has it, so that it must be copied before a part of it changes. */
  readonly isShared?: boolean;
}

/** What a name, or a part of what it names, is. */
export type Place =
  | ({ readonly kind: 'value' } & Written)
  | ({ readonly kind: 'variable' } & Written)
  /** Bytes of memory. */
  | { readonly kind: 'memory'; readonly memory: string; readonly offset: string; readonly type: Type };

export interface FunctionOf {
  readonly js: string;
  readonly parameters: readonly Type[];
  readonly returns: Type | undefined;
  readonly hasBarrier: boolean;
}

/** What is declared around an expression. */
export interface Scope {
  typeOf(name: TypeName): Type;
  isType(name: string): boolean;
  placeOf(name: string): Place;
  functionOf(name: string): FunctionOf;
  noteBarrier(): void;
  newNumber(): number;
  accessor(key: string, write: (name: string) => string): string;
}

const BOOL = scalar('bool');
const U32 = scalar('u32');
const F32 = scalar('f32');

/** Translates expressions, each with its type. */
export class ExpressionWriter {
  readonly #scope: Scope;

  constructor(scope: Scope) {
    this.#scope = scope;
  }

  value(expression: Expression): Written {
    switch (expression.kind) {
      case 'number':
        return literal(expression.text);
      case 'bool':
        return { type: BOOL, js: String(expression.value) };
      case 'name':
      case 'index':
      case 'member':
        return this.load(this.place(expression));
      case 'call':
        return this.call(expression);
      case 'unary':
        return this.#unary(expression.operator, this.value(expression.of));
      case 'binary':
        return this.binary(expression.operator, this.value(expression.left), this.value(expression.right));
    }
  }

  /** A value of a type that no variable shares. */
  own(expression: Expression, type?: Type): Written {
    const value = this.value(expression);
    const converted = type ? this.as(value, type) : value;
    return value.isShared && value.type.kind !== 'scalar'
      ? { type: converted.type, js: `copy(${converted.js})` }
      : converted;
  }

  /** Converts what is abstract; anything else must be of that type. */
  as(value: Written, type: Type): Written {
    const [from, to] = [scalarOf(value.type), scalarOf(type)];
    if (from && to && isAbstract(from) && to.name !== 'bool' && shapeOf(value.type) === shapeOf(type))
      return this.converted(value, type);
    if (nameOf(value.type) !== nameOf(type))
      throw new SyntaxError(`${nameOf(type)} is expected, not ${nameOf(value.type)}: ${value.js}`);
    return value;
  }

  /** Converts scalars, or each component of a vector. */
  converted(value: Written, type: Type): Written {
    const [from, to] = [scalarOf(value.type)!, scalarOf(type)!];
    return this.#each(value, type, (js) => conversion(from.name, to.name, js));
  }

  concrete(value: Written): Written {
    const of = scalarOf(value.type);
    if (!of || !isAbstract(of)) return value;
    return this.converted(value, withScalar(value.type, scalar(of.name === 'abstract int' ? 'i32' : 'f32')));
  }

  zero(type: Type): Written {
    if (type.kind === 'scalar') return { type, js: type.name === 'bool' ? 'false' : '0' };
    if (type.kind === 'vector') return { type, js: `splat(${this.zero(type.of).js}, ${type.size})` };
    if (type.kind === 'array')
      return { type, js: `Array.from({ length: ${type.count} }, () => ${this.zero(type.of).js})` };
    if (type.kind === 'struct')
      return { type, js: `[${type.members.map((member) => this.zero(member.type).js).join(', ')}]` };
    throw new SyntaxError(`There is no value of ${nameOf(type)}.`);
  }

  place(expression: Expression): Place {
    if (expression.kind === 'name') return this.#scope.placeOf(expression.name);
    if (expression.kind === 'member') return this.#member(this.place(expression.of), expression.name);
    if (expression.kind === 'index') {
      const index = this.concrete(this.value(expression.index)).js;
      return this.#element(this.place(expression.of), index);
    }
    return { kind: 'value', ...this.value(expression) };
  }

  #element(of: Place, index: string): Place {
    const { type } = of;
    const element = type.kind === 'array' ? type.of : type.kind === 'vector' ? type.of : undefined;
    if (!element) throw new SyntaxError(`${nameOf(type)} has no elements.`);
    const count = type.kind === 'vector' ? type.size : type.kind === 'array' ? type.count : undefined;
    const at = count === undefined ? index : `at(${index}, ${count})`;
    if (of.kind !== 'memory') return { ...of, type: element, js: `${of.js}[${at}]` };
    return { ...of, type: element, offset: `${of.offset} + ${at} * ${strideOf(element)}` };
  }

  #member(of: Place, name: string): Place {
    const { type } = of;
    if (type.kind === 'struct') {
      const index = type.members.findIndex((member) => member.name === name);
      const member = type.members[index];
      if (!member) throw new SyntaxError(`${type.name} has no ${name}.`);
      if (of.kind !== 'memory') return { ...of, type: member.type, js: `${of.js}[${index}]` };
      return { ...of, type: member.type, offset: `${of.offset} + ${member.offset}` };
    }
    const components = Array.from(name, (letter) => Math.max('xyzw'.indexOf(letter), 'rgba'.indexOf(letter)));
    if (type.kind !== 'vector' || components.some((c) => c < 0 || c >= type.size))
      throw new SyntaxError(`${nameOf(type)} has no ${name}.`);
    if (components.length === 1) return this.#element(of, String(components[0]));
    const some: Type = { ...type, size: components.length };
    const value = this.load(of).js;
    return {
      kind: 'value',
      type: some,
      js: `((v) => [${components.map((c) => `v[${c}]`).join(', ')}])(${value})`,
    };
  }

  load(place: Place): Written {
    if (place.kind !== 'memory') return place;
    const { memory, offset, type } = place;
    const size = sizeOf(type);
    const name = this.#scope.accessor(
      `load ${nameOf(type)}`,
      (access) => `function ${access}(m, at) { m.touch(at, ${size}, 'read'); return ${loaded(type, 'at')}; }`,
    );
    return { type, js: `${name}(${memory}, ${offset})` };
  }

  store(place: Exclude<Place, { kind: 'value' }>, js: string): string {
    if (place.kind === 'variable') return `${place.js} = ${js}`;
    const { memory, offset, type } = place;
    const size = sizeOf(type);
    const name = this.#scope.accessor(
      `store ${nameOf(type)}`,
      (access) =>
        `function ${access}(m, at, v) { m.touch(at, ${size}, 'write'); ${stored(type, 'at', 'v')} }`,
    );
    return `${name}(${memory}, ${offset}, ${js})`;
  }

  #unary(operator: string, value: Written): Written {
    const of = scalarOf(value.type);
    if (!of) throw new SyntaxError(`${operator} of ${nameOf(value.type)} is not known.`);
    if (operator === '!') return this.#each(value, value.type, (js) => `!${js}`);
    if (operator === '~') return this.#each(value, value.type, (js) => operation('^', of.name, [js, '-1']));
    if (operator === '-')
      return this.#each(value, value.type, (js) => (of.name === 'i32' ? `(- ${js} | 0)` : `(- ${js})`));
    throw new SyntaxError(`${operator} is not known here.`);
  }

  binary(operator: string, left: Written, right: Written): Written {
    const isShift = operator === '<<' || operator === '>>';
    const [a, b] = isShift ? [this.concrete(left), right] : this.#alike(left, right);
    const of = scalarOf(a.type);
    if (!of) throw new SyntaxError(`${operator} of ${nameOf(a.type)} is not known.`);
    const shape = a.type.kind === 'vector' ? a.type : b.type;
    const type = withScalar(shape, COMPARISONS.includes(operator) ? BOOL : of);
    return this.#each2([a, b], type, (x, y) => operation(operator, of.name, [x, y]));
  }

  /** Both with the same scalars. */
  #alike(a: Written, b: Written): readonly [Written, Written] {
    const [ofA, ofB] = [scalarOf(a.type), scalarOf(b.type)];
    if (!ofA || !ofB) throw new SyntaxError(`${nameOf(a.type)} and ${nameOf(b.type)} do not go together.`);
    const of = commonOf([ofA, ofB]);
    return [this.as(a, withScalar(a.type, of)), this.as(b, withScalar(b.type, of))];
  }

  #each({ type, js }: Written, into: Type, of: (js: string) => string): Written {
    if (type.kind !== 'vector') return { type: into, js: of(js) };
    const text = of('x');
    return { type: into, js: text === 'x' ? js : `${js}.map((x) => ${text})` };
  }

  /** A scalar goes with every component of a vector. */
  #each2([a, b]: readonly [Written, Written], into: Type, of: (a: string, b: string) => string): Written {
    const isVector = [a, b].map(({ type }) => type.kind === 'vector');
    if (isVector[0] && isVector[1])
      return { type: into, js: `zip(${a.js}, ${b.js}, (x, y) => ${of('x', 'y')})` };
    if (isVector[0]) return { type: into, js: `((a, y) => a.map((x) => ${of('x', 'y')}))(${a.js}, ${b.js})` };
    if (isVector[1]) return { type: into, js: `((x, b) => b.map((y) => ${of('x', 'y')}))(${a.js}, ${b.js})` };
    return { type: into, js: of(a.js, b.js) };
  }

  call(expression: Expression): Written {
    if (expression.kind !== 'call') throw new SyntaxError('A call is expected.');
    const { callee, args } = expression;
    const { name } = callee;
    if (this.#scope.isType(name)) return this.#constructed(callee, args);
    const builtin = this.#memoryFunction(name, args) ?? this.#builtin(callee, args);
    if (builtin) return builtin;
    const { js, parameters, returns, hasBarrier } = this.#scope.functionOf(name);
    if (args.length !== parameters.length)
      throw new SyntaxError(`${name} takes ${parameters.length} arguments.`);
    const values = args.map((arg, i) => this.as(this.value(arg), parameters[i]!).js);
    const text = `${js}(${['M', ...values].join(', ')})`;
    if (hasBarrier) this.#scope.noteBarrier();
    return { type: returns ?? BOOL, js: hasBarrier ? `(yield* ${text})` : text };
  }

  #constructed(callee: TypeName, args: readonly Expression[]): Written {
    const { name, template } = callee;
    if (/^vec[234]$/.test(name) && template.length === 0 && args.length > 0) {
      const of = commonOf(args.map((arg) => scalarOf(this.value(arg).type)!));
      return this.#vector({ kind: 'vector', size: Number(name[3]), of }, args);
    }
    if (name === 'array' && template.length === 0) throw new SyntaxError('array() needs its type here.');
    const type = this.#scope.typeOf(callee);
    if (args.length === 0) return this.zero(type);
    if (type.kind === 'vector') return this.#vector(type, args);
    if (type.kind === 'scalar') return this.converted(this.value(args[0]!), type);
    const types =
      type.kind === 'struct'
        ? type.members.map((member) => member.type)
        : type.kind === 'array'
          ? args.map(() => type.of)
          : [];
    if (types.length !== args.length)
      throw new SyntaxError(`${nameOf(type)} is not made of ${args.length} values.`);
    return { type, js: `[${args.map((arg, i) => this.own(arg, types[i]).js).join(', ')}]` };
  }

  #vector(type: Extract<Type, { kind: 'vector' }>, args: readonly Expression[]): Written {
    const values = args.map((arg) => this.value(arg));
    const parts = values.map((value) => this.converted(value, withScalar(value.type, type.of)));
    if (parts.length === 1 && parts[0]!.type.kind === 'scalar')
      return { type, js: `splat(${parts[0]!.js}, ${type.size})` };
    const size = parts.reduce((sum, part) => sum + (part.type.kind === 'vector' ? part.type.size : 1), 0);
    if (size !== type.size) throw new SyntaxError(`${nameOf(type)} is not made of ${size} numbers.`);
    return {
      type,
      js: `[${parts.map(({ type: { kind }, js }) => (kind === 'vector' ? `...${js}` : js)).join(', ')}]`,
    };
  }

  /** Barriers, atomics, and the length of an array. */
  #memoryFunction(name: string, args: readonly Expression[]): Written | undefined {
    if (name === 'workgroupBarrier' || name === 'storageBarrier') {
      this.#scope.noteBarrier();
      return { type: BOOL, js: `(yield ${this.#scope.newNumber()})` };
    }
    const [target, operand] = args;
    if (target?.kind !== 'unary' || target.operator !== '&') return undefined;
    const place = this.place(target.of);
    if (place.kind !== 'memory') throw new SyntaxError(`${name} takes memory.`);
    const { memory, offset, type } = place;
    if (name === 'arrayLength' && type.kind === 'array')
      return { type: U32, js: `Math.floor(${memory}.u32.byteLength / ${strideOf(type.of)})` };
    if (name === 'workgroupUniformLoad') {
      this.#scope.noteBarrier();
      const uniform = this.#scope.accessor(
        'workgroupUniformLoad',
        (access) =>
          `function* ${access}(barrier, load) { yield barrier; const v = load(); yield -barrier; return v; }`,
      );
      const loadedValue = this.load(place);
      return { type, js: `(yield* ${uniform}(${this.#scope.newNumber()}, () => ${loadedValue.js}))` };
    }
    if (type.kind !== 'atomic') throw new SyntaxError(`${name} of ${nameOf(type)} is not known.`);
    const value = operand && this.as(this.value(operand), type.of).js;
    const after = ATOMICS[name]?.('before', 'v') ?? (name === 'atomicStore' ? 'v' : 'before');
    if (!ATOMICS[name] && name !== 'atomicStore' && name !== 'atomicLoad')
      throw new SyntaxError(`${name} is not known here.`);
    const view = `m.${type.of.name}`;
    const access = this.#scope.accessor(
      `${name} ${type.of.name}`,
      (named) =>
        `function ${named}(m, at, v) { m.touch(at, 4, 'atomic'); const before = ${view}[at >> 2]; ${view}[at >> 2] = ${after}; return before; }`,
    );
    return { type: type.of, js: `${access}(${[memory, offset, ...(value ? [value] : [])].join(', ')})` };
  }

  #builtin({ name, template }: TypeName, args: readonly Expression[]): Written | undefined {
    const componentwise = COMPONENTWISE[name];
    if (componentwise) return this.#componentwise(args, componentwise);
    const values = (): Written[] => args.map((arg) => this.value(arg));
    const [first, second, third] = [
      'select',
      'dot',
      'any',
      'all',
      'bitcast',
      'unpack2x16float',
      'pack2x16float',
    ].includes(name)
      ? values()
      : [];
    if (!first) return undefined;
    if (name === 'select') return this.#select([first, second!], third!);
    if (name === 'any' || name === 'all') {
      const test = name === 'any' ? 'some' : 'every';
      return { type: BOOL, js: first.type.kind === 'vector' ? `${first.js}.${test}(Boolean)` : first.js };
    }
    if (name === 'dot') {
      const [a, b] = this.#alike(first, second!).map((value) => this.concrete(value)) as [Written, Written];
      const of = scalarOf(a.type)!;
      const products = this.#each2([a, b], a.type, (x, y) => operation('*', of.name, [x, y])).js;
      return { type: of, js: `${products}.reduce((x, y) => ${operation('+', of.name, ['x', 'y'])})` };
    }
    if (name === 'bitcast') {
      const target = template[0];
      if (target?.kind !== 'name') throw new SyntaxError('bitcast needs its type.');
      const type = this.#scope.typeOf({ name: target.name, template: [] });
      const from = this.concrete(first);
      if (shapeOf(from.type) !== shapeOf(type))
        throw new SyntaxError(`${nameOf(from.type)} is no ${nameOf(type)}.`);
      return this.#each(from, type, (js) => bitcast(scalarOf(from.type)!.name, scalarOf(type)!.name, js));
    }
    if (name === 'unpack2x16float')
      return {
        type: { kind: 'vector', size: 2, of: F32 },
        js: `((x) => [halfOf(x & 0xffff), halfOf(x >>> 16)])(${first.js})`,
      };
    return { type: U32, js: `(([x, y]) => (pack(x) | pack(y) << 16) >>> 0)(${first.js})` };
  }

  #componentwise(args: readonly Expression[], of: (...args: readonly string[]) => string): Written {
    const values = args.map((arg) => this.value(arg));
    const common = commonOf(values.map(({ type }) => scalarOf(type)!));
    const parts = values.map((value) => this.as(value, withScalar(value.type, common)));
    const concrete = parts.map((part) => this.concrete(part));
    const { type } = concrete[0]!;
    if (concrete.some((part) => nameOf(part.type) !== nameOf(type)))
      throw new SyntaxError(`A function takes ${concrete.map((part) => nameOf(part.type)).join(', ')}.`);
    const names = ['x', 'y', 'z'].slice(0, parts.length);
    const lambda = `(${names.join(', ')}) => ${of(...names)}`;
    const [x, ...others] = concrete.map(({ js }) => js);
    if (type.kind !== 'vector') return { type, js: `(${lambda})(${[x, ...others].join(', ')})` };
    const list = names.slice(1);
    const rest = list.map((each) => `${each}s[i]`);
    const call = `(${lambda})(${['x', ...rest].join(', ')})`;
    return {
      type,
      js: `((${['xs', ...list.map((each) => `${each}s`)].join(', ')}) => xs.map((x, i) => ${call}))(${[x, ...others].join(', ')})`,
    };
  }

  #select(choices: readonly [Written, Written], condition: Written): Written {
    const isScalar = scalarOf(choices[0].type) !== undefined;
    const [no, yes] = isScalar ? this.#alike(...choices) : choices;
    const { type } = yes;
    if (condition.type.kind !== 'vector') {
      if (/yield/.test(yes.js + no.js)) throw new SyntaxError('A barrier within select is not known here.');
      return { type, js: `choose(${condition.js}, () => ${yes.js}, () => ${no.js})` };
    }
    return {
      type,
      js: `((no, yes, all) => all.map((c, i) => (c ? yes[i] : no[i])))(${no.js}, ${yes.js}, ${condition.js})`,
    };
  }
}

function literal(text: string): Written {
  const isHex = /^0x/i.test(text);
  const [, digits, suffix] = (isHex ? /^(.*?)([iu]?)$/ : /^(.*?)([iufh]?)$/).exec(text)!;
  const value = isHex ? hexadecimal(digits!) : Number(digits);
  if (suffix === 'u') return { type: U32, js: String(value) };
  if (suffix === 'i') return { type: scalar('i32'), js: String(value) };
  if (suffix === 'f') return { type: F32, js: String(Math.fround(value)) };
  const isFloat = isHex ? /[.p]/i.test(digits!) : /[.e]/i.test(digits!);
  return { type: scalar(isFloat ? 'abstract float' : 'abstract int'), js: String(value) };
}

function hexadecimal(digits: string): number {
  const [, whole, fraction = '', exponent = '0'] = /^0x([\da-f]*)\.?([\da-f]*)(?:p([+-]?\d+))?$/i.exec(
    digits,
  )!;
  return Number.parseInt(`${whole}${fraction}` || '0', 16) * 2 ** (Number(exponent) - 4 * fraction.length);
}

/** The scalar that all of them become. */
function commonOf(all: readonly Scalar[]): Scalar {
  const concrete = all.find((of) => !isAbstract(of));
  return concrete ?? all.find(({ name }) => name === 'abstract float') ?? all[0]!;
}

function shapeOf(type: Type): number {
  return type.kind === 'vector' ? type.size : 1;
}

function loaded(type: Type, at: string): string {
  switch (type.kind) {
    case 'scalar':
      return `m.${type.name}[(${at}) >> 2]`;
    case 'vector':
      return `[${Array.from({ length: type.size }, (_, c) => loaded(type.of, `${at} + ${4 * c}`)).join(', ')}]`;
    case 'struct':
      return `[${type.members.map((member) => loaded(member.type, `${at} + ${member.offset}`)).join(', ')}]`;
    case 'array':
      return `Array.from({ length: ${type.count} }, (_, i) => ((b) => ${loaded(type.of, 'b')})(${at} + i * ${strideOf(type.of)}))`;
    case 'atomic':
      throw new SyntaxError('Atomics are loaded by atomicLoad.');
  }
}

function stored(type: Type, at: string, value: string): string {
  switch (type.kind) {
    case 'scalar':
      return `m.${type.name}[(${at}) >> 2] = ${value};`;
    case 'vector':
      return Array.from({ length: type.size }, (_, c) =>
        stored(type.of, `${at} + ${4 * c}`, `${value}[${c}]`),
      ).join(' ');
    case 'struct':
      return type.members
        .map((member, i) => stored(member.type, `${at} + ${member.offset}`, `${value}[${i}]`))
        .join(' ');
    case 'array':
      return `${value}.forEach((e, i) => { const b = ${at} + i * ${strideOf(type.of)}; ${stored(type.of, 'b', 'e')} });`;
    case 'atomic':
      throw new SyntaxError('Atomics are stored by atomicStore.');
  }
}
