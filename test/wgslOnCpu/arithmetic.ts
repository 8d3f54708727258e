import type { ScalarName } from './types.js';

// What operators and functions compute, as JavaScript that runs in the scope of `ARITHMETIC`. Numbers of f32 are rounded
// after each operation, those of u32 and i32 wrap round.

const { fround } = Math;

/** The names that generated code has in scope. */
export const ARITHMETIC = {
  f: fround,
  mul: Math.imul,
  divide: (a: number, b: number): number => (b === 0 ? a : Math.trunc(a / b)),
  rest: (a: number, b: number): number => (b === 0 ? 0 : a % b),
  zip: <A, B, C>(a: readonly A[], b: readonly B[], of: (x: A, y: B) => C): C[] =>
    a.map((x, i) => of(x, b[i]!)),
  splat: <T>(value: T, size: number): T[] => Array.from({ length: size }, () => value),
  copy: <T>(value: T): T => (Array.isArray(value) ? (value.map(ARITHMETIC.copy) as T) : value),
  at: (index: number, count: number): number => {
    if (index < count && index >= 0) return index;
    throw new RangeError(`There is no element ${index} of ${count}.`);
  },
  /** Loads of what is not chosen may lie beyond the end of their buffer, where WebGPU reads something. */
  choose: <T>(isFirst: boolean, first: () => T, second: () => T): T => {
    const [chosen, other] = isFirst ? [first, second] : [second, first];
    try {
      other();
    } catch (error) {
      if (!(error instanceof RangeError)) throw error;
    }
    return chosen();
  },
  toU32: (x: number): number => Math.min(Math.max(Math.trunc(x) || 0, 0), 2 ** 32 - 1),
  toI32: (x: number): number => Math.min(Math.max(Math.trunc(x) || 0, -(2 ** 31)), 2 ** 31 - 1),
  even: (x: number): number => {
    const low = Math.floor(x);
    if (x - low !== 0.5) return Math.round(x);
    return low % 2 === 0 ? low : low + 1;
  },
  ones: (x: number): number => {
    let count = 0;
    for (let rest = x >>> 0; rest > 0; rest = Math.floor(rest / 2)) count += rest % 2;
    return count;
  },
  f32Bits: (x: number): number => ((FLOATS[0] = x), WORDS[0]!),
  f32Of: (bits: number): number => ((WORDS[0] = bits), FLOATS[0]!),
  halfOf,
  pack: (x: number): number => halfBits(x),
};

const FLOATS = new Float32Array(1);
const WORDS = new Uint32Array(FLOATS.buffer);

/** The number that an f16 of these bits is. */
function halfOf(bits: number): number {
  const [sign, exponent, fraction] = [bits & 0x8000 ? -1 : 1, (bits >>> 10) & 31, bits & 1023];
  if (exponent === 0) return sign * fraction * 2 ** -24;
  if (exponent === 31) return fraction ? Number.NaN : sign * Infinity;
  return sign * (1 + fraction / 1024) * 2 ** (exponent - 15);
}

/** The bits of the nearest f16; of two, the even one. */
function halfBits(x: number): number {
  const sign = x < 0 || Object.is(x, -0) ? 0x8000 : 0;
  if (Number.isNaN(x)) return sign | 0x7e00;
  const size = Math.abs(x);
  if (size >= 65520) return sign | 0x7c00;
  const exponent = Math.max(Math.floor(Math.log2(size)), -14);
  // A fraction that rounds up to 2048 carries into the exponent.
  const steps = ARITHMETIC.even(size / 2 ** (exponent - 10));
  return sign | (exponent === -14 ? steps : ((exponent + 14) << 10) + steps);
}

/** What is around the result of arithmetic to bring it into the range of its type. */
export function wrapped(type: ScalarName, js: string): string {
  if (type === 'f32') return `f(${js})`;
  if (type === 'u32') return `(${js} >>> 0)`;
  if (type === 'i32') return `(${js} | 0)`;
  return `(${js})`;
}

export const COMPARISONS = ['==', '!=', '<', '<=', '>', '>='];

/** An operator on two scalars of a type. */
export function operation(operator: string, type: ScalarName, [a, b]: readonly [string, string]): string {
  if (COMPARISONS.includes(operator)) return `(${a} ${operator.replace(/^[=!]=$/, '$&=')} ${b})`;
  if (type === 'bool') {
    if (operator === '&&' || operator === '||') return `(${a} ${operator} ${b})`;
    return `Boolean(${a} ${operator} ${b})`;
  }
  switch (operator) {
    case '+':
    case '-':
      return wrapped(type, `${a} ${operator} ${b}`);
    case '*':
      return wrapped(type, type === 'u32' || type === 'i32' ? `mul(${a}, ${b})` : `${a} * ${b}`);
    case '/':
      return wrapped(type, isWhole(type) ? `divide(${a}, ${b})` : `${a} / ${b}`);
    case '%':
      return wrapped(type, isWhole(type) ? `rest(${a}, ${b})` : `${a} % ${b}`);
    case '<<':
      return wrapped(type, `${a} << ${b}`);
    case '>>':
      return type === 'u32' ? `(${a} >>> ${b})` : `(${a} >> ${b})`;
    default:
      return wrapped(type, `(${a} ${operator} ${b})`);
  }
}

function isWhole(type: ScalarName): boolean {
  return type === 'u32' || type === 'i32' || type === 'abstract int';
}

/** A conversion between scalars, as `u32(x)` does it. */
export function conversion(from: ScalarName, to: ScalarName, js: string): string {
  if (from === to) return js;
  if (to === 'bool') return `(${js} !== 0)`;
  if (to === 'abstract float') return js;
  if (from === 'bool') return `Number(${js})`;
  if (to === 'f32') return `f(${js})`;
  if (from === 'f32' || from === 'abstract float') return to === 'u32' ? `toU32(${js})` : `toI32(${js})`;
  return wrapped(to, js);
}

export function bitcast(from: ScalarName, to: ScalarName, js: string): string {
  if (from === 'f32') return to === 'f32' ? js : wrapped(to, `f32Bits(${js})`);
  return to === 'f32' ? `f32Of(${js})` : wrapped(to, js);
}

type Components = (...args: readonly string[]) => string;

/** Functions of each component alone. They return what they take. */
export const COMPONENTWISE: Readonly<Record<string, Components>> = {
  abs: (x) => `Math.abs(${x})`,
  ceil: (x) => `Math.ceil(${x})`,
  clamp: (x, low, high) => `Math.min(Math.max(${x}, ${low}), ${high})`,
  cos: (x) => `f(Math.cos(${x}))`,
  exp: (x) => `f(Math.exp(${x}))`,
  exp2: (x) => `f(2 ** ${x})`,
  floor: (x) => `Math.floor(${x})`,
  fma: (a, b, c) => `f(${a} * ${b} + ${c})`,
  fract: (x) => `f(${x} - Math.floor(${x}))`,
  inverseSqrt: (x) => `f(1 / Math.sqrt(${x}))`,
  log: (x) => `f(Math.log(${x}))`,
  log2: (x) => `f(Math.log2(${x}))`,
  max: (a, b) => `Math.max(${a}, ${b})`,
  min: (a, b) => `Math.min(${a}, ${b})`,
  pow: (a, b) => `f(${a} ** ${b})`,
  round: (x) => `even(${x})`,
  sign: (x) => `Math.sign(${x})`,
  sin: (x) => `f(Math.sin(${x}))`,
  sqrt: (x) => `f(Math.sqrt(${x}))`,
  tanh: (x) => `f(Math.tanh(${x}))`,
  trunc: (x) => `Math.trunc(${x})`,
  countLeadingZeros: (x) => `Math.clz32(${x})`,
  countOneBits: (x) => `ones(${x})`,
  countTrailingZeros: (x) => `(${x} === 0 ? 32 : 31 - Math.clz32(${x} & -${x}))`,
};

/** Atomics that return what was there before: what they leave, of that and their value. */
export const ATOMICS: Readonly<Record<string, (before: string, value: string) => string>> = {
  atomicAdd: (before, value) => `${before} + ${value}`,
  atomicSub: (before, value) => `${before} - ${value}`,
  atomicMax: (before, value) => `Math.max(${before}, ${value})`,
  atomicMin: (before, value) => `Math.min(${before}, ${value})`,
  atomicAnd: (before, value) => `${before} & ${value}`,
  atomicOr: (before, value) => `${before} | ${value}`,
  atomicXor: (before, value) => `${before} ^ ${value}`,
  atomicExchange: (_, value) => value,
};
