import { isTensor, type Tensor } from '../../src/core/tensor.js';
import type { Random } from '../../tools/random.js';
import type { Args } from './callMaker.js';

/** What was done to the arguments of a call. */
export interface Mutation {
  readonly what: string;
  /** Whether there is no call for which the result would do. */
  readonly mustFail: boolean;
}

/** A place in arguments: what is there, and how to put something else there. */
interface Slot {
  readonly path: string;
  readonly value: unknown;
  readonly put: (value: unknown) => void;
  readonly remove: () => void;
}

interface Replacement {
  readonly name: string;
  readonly value: unknown;
  /** Default false. */
  readonly mustFail?: boolean;
}

/** Change arguments in one place, mostly so that they are malformed. */
export function mutate(random: Random, args: Args): Mutation {
  const slots = slotsOf(args, '');
  const kind = random.int(0, 20);
  if (kind === 0) return addUnknown(random, slots, args);
  if (kind === 1) return alias(random, slots);
  const slot = random.pick(slots);
  if (!slot) return { what: 'nothing', mustFail: false };
  if (kind === 2) {
    slot.remove();
    return { what: `${slot.path} removed`, mustFail: false };
  }
  const { name, value, mustFail = false } = random.pick(replacementsOf(slot));
  slot.put(value);
  return { what: `${slot.path} = ${name}`, mustFail };
}

/** Places in plain objects and arrays. Buffers are replaced as a whole. */
function slotsOf(container: object, path: string): Slot[] {
  const holder = container as Record<string, unknown>;
  return Object.keys(holder).flatMap((key) => {
    const value = holder[key];
    const at = path === '' ? key : `${path}.${key}`;
    const slot: Slot = {
      path: at,
      value,
      put: (other) => (holder[key] = other),
      remove: () => delete holder[key],
    };
    const isPlain = Array.isArray(value) || Object.getPrototypeOf(value ?? 0) === Object.prototype;
    return isPlain && key !== 'buffer' ? [slot, ...slotsOf(value as object, at)] : [slot];
  });
}

function addUnknown(random: Random, slots: readonly Slot[], args: Args): Mutation {
  const holder = random.pick([args, ...slots.map(({ value }) => value).filter(isTensor)]);
  (holder as Args)['windowsize'] = [3, 3];
  return { what: 'an unknown name', mustFail: false };
}

/** One tensor in the place, or in the buffer, of another. */
function alias(random: Random, slots: readonly Slot[]): Mutation {
  const tensors = slots.filter(({ value }) => isTensor(value));
  if (tensors.length < 2) return { what: 'nothing', mustFail: false };
  const [from, to] = [random.pick(tensors), random.pick(tensors)];
  const [source, target] = [from.value as Tensor, to.value as Tensor];
  // It may have been changed before.
  const offset = typeof source.offset === 'number' ? source.offset : 0;
  const value = random.pick([
    source,
    { ...target, buffer: source.buffer },
    { ...target, buffer: source.buffer, offset: offset + random.pick([0, 1, 64, 256]) },
  ]);
  to.put(value);
  return { what: `${to.path} in the buffer of ${from.path}`, mustFail: false };
}

function replacementsOf(slot: Slot): readonly Replacement[] {
  const values = malformedValues(slot);
  // What an adapter calls itself and its types may be any text.
  if (/\badapterInfo\..*(vendor|architecture|device|description|omponentType)$/.test(slot.path))
    return values.filter(({ value }) => typeof value !== 'string');
  // In a config.json null is nothing, and a tuning without matrices has null.
  if (/^config\.|^matrices$/.test(slot.path)) return values.filter(({ value }) => value !== null);
  return values;
}

function malformedValues({ path, value }: Slot): readonly Replacement[] {
  if (path.endsWith('buffer')) return value ? buffersFor(value as GPUBuffer) : KINDS;
  if (isTensor(value)) return isIntact(value) ? [...KINDS, ...tensorsFor(value)] : KINDS;
  if (typeof value === 'number') return [...KINDS, ...numbersFor(path, value)];
  // A mod may have any name.
  if (path.endsWith('Mod.name')) return KINDS.filter(({ value: kind }) => typeof kind !== 'string');
  if (typeof value === 'string') return [...KINDS, ...WORDS];
  if (typeof value === 'boolean') return [...KINDS, { name: 'the opposite', value: !value }];
  if (isShort(value)) return [...KINDS, ...listsFor(path, value)];
  if (typeof value === 'function') return KINDS.filter(({ value: kind }) => typeof kind !== 'function');
  // An object of any kind may stand for one without any options.
  return KINDS.filter(({ value: kind }) => typeof kind !== 'object' || kind === null);
}

/** Whether a tensor has not been changed before. */
function isIntact({ shape, buffer }: Tensor): boolean {
  return Array.isArray(shape) && shape.length < 9 && shape.every(Number.isFinite) && Boolean(buffer?.size);
}

/** Whether a value is an array that has not been made endless before. */
function isShort(value: unknown): value is readonly number[] {
  return (Array.isArray(value) || value instanceof Int32Array) && value.length < 1e6;
}

/** The longest array there can be, with nothing in it. */
export function endlessArray(): number[] {
  const list: number[] = [];
  list.length = 2 ** 32 - 1;
  return list;
}

/** The list without its first element, which is a hole then. */
export function withHole<T>(list: T[]): T[] {
  delete list[0];
  return list;
}

/** Values that are no valid argument anywhere, and `undefined`. */
const KINDS: readonly Replacement[] = [
  { name: 'null', value: null, mustFail: true },
  { name: 'a symbol', value: Symbol('malformed'), mustFail: true },
  { name: 'a bigint', value: 3n, mustFail: true },
  { name: 'a function', value: () => 3, mustFail: true },
  { name: 'an object without prototype', value: Object.create(null) as unknown, mustFail: true },
  { name: 'a string', value: 'toString', mustFail: true },
  { name: 'a Map', value: new Map(), mustFail: true },
  { name: 'an endless array', value: endlessArray(), mustFail: true },
  { name: 'undefined', value: undefined },
];

const HUGE = [
  2 ** 31 - 1,
  2 ** 31,
  2 ** 32,
  2 ** 32 + 1,
  2 ** 53 - 1,
  2 ** 53,
  1e300,
  -(2 ** 31),
  -(2 ** 53),
];

/** Numbers that may have a fraction. */
const REAL =
  /softmaxScale|softcap|alibiSlopes|sinks|rotaryCos|rotarySin|budgetBytes|options.bytes|^data|theta|Factor|rope_|Mod\.params/;

/** Numbers that may be any. */
const ANY = /^data/;

function numbersFor(path: string, value: number): readonly Replacement[] {
  return [
    ...[NaN, Infinity, -Infinity].map((n) => ({
      name: String(n),
      value: n,
      // A head without a sink has −∞.
      mustFail: !ANY.test(path) && !(n === -Infinity && /\bsinks\./.test(path)),
    })),
    {
      name: 'a fraction',
      value: value + 0.5,
      mustFail: !REAL.test(path) || /\.shape|\.offset|\.strides/.test(path),
    },
    { name: 'a string', value: String(value), mustFail: true },
    ...[-1, 0, 1, value + 1, value - 1, 2 * value + 1, 100, 1e5].map((n) => ({ name: String(n), value: n })),
    ...HUGE.map((n) => ({ name: String(n), value: n })),
  ];
}

const WORDS: readonly Replacement[] = [
  { name: "''", value: '', mustFail: true },
  { name: "'f64'", value: 'f64', mustFail: true },
  { name: "'__proto__'", value: '__proto__', mustFail: true },
  ...['f32', 'f16', 'bf16', 'i32', 'u32'].map((value) => ({ name: value, value })),
];

function listsFor(path: string, list: ArrayLike<number>): readonly Replacement[] {
  const values = Array.from(list);
  const isOfNumbers = values.length > 0 && values.every(Number.isFinite);
  const holes = values.slice();
  delete holes[0];
  const wrongKinds = isOfNumbers
    ? [
        { name: 'strings', value: values.map(String), mustFail: true },
        { name: 'bigints', value: BigInt64Array.from(values, (n) => BigInt(Math.trunc(n))), mustFail: true },
        { name: 'nulls', value: values.map(() => null), mustFail: true },
        { name: 'symbols', value: values.map(() => Symbol('malformed')), mustFail: true },
        { name: 'falling to the least', value: [5, -(2 ** 31) + 1, ...values.slice(2)] },
        { name: 'falling from 0 to the least', value: [0, 5, -(2 ** 31) + 1, ...values.slice(3)] },
        { name: 'beginning with 1', value: [1, ...values.slice(1)], mustFail: /cuSeqlens\w+$/.test(path) },
        { name: 'all the most', value: values.map(() => 2 ** 31 - 1) },
        { name: 'doubles', value: Float64Array.from(values) },
        { name: 'bytes', value: Uint8Array.from(values) },
      ]
    : [];
  return [
    ...(values.length > 0 ? [{ name: 'a list with a hole', value: holes, mustFail: true }] : []),
    {
      name: 'an array-like',
      value: Object.assign({ length: values.length }, values) as unknown,
      mustFail: true,
    },
    {
      name: 'lists in a list',
      value: [values],
      mustFail: !/pairs|parts|pools/.test(path) || values.length === 0,
    },
    { name: 'nothing', value: [] },
    { name: 'one fewer', value: values.slice(1) },
    { name: 'one more', value: [...values, values.at(-1) ?? 0] },
    { name: 'backwards', value: values.toReversed() },
    ...wrongKinds,
  ];
}

function tensorsFor(tensor: Tensor): readonly Replacement[] {
  const { shape, buffer } = tensor;
  const rank = shape.length;
  const roomy = { ...buffer, size: 2 ** 40 } as GPUBuffer;
  const zeros = shape.map((_, axis) => (axis === rank - 1 ? 1 : 0));
  const larger = (axis: number, n: number): number[] => shape.map((size, i) => (i === axis ? n : size));
  const enormous = [0, rank - 1].flatMap((axis) =>
    [2 ** 20, 2 ** 31 - 1, 2 ** 31, 2 ** 32, 2 ** 40].flatMap((n) => [
      {
        name: `${n} along ${axis}`,
        value: { ...tensor, buffer: roomy, shape: larger(axis, n), strides: undefined },
      },
      {
        name: `${n} times the same along ${axis}`,
        value: { ...tensor, shape: larger(axis, n), strides: zeros },
      },
    ]),
  );
  return [
    { name: 'a plain object', value: {}, mustFail: true },
    { name: 'a typed array', value: new Float32Array(0) },
    { name: 'a tensor without shape', value: { buffer, shape: null }, mustFail: true },
    { name: 'a tensor with a number for a shape', value: { ...tensor, shape: 5 }, mustFail: true },
    { name: 'a tensor with a string for a shape', value: { ...tensor, shape: shape.join() }, mustFail: true },
    { name: 'strides of null', value: { ...tensor, strides: null }, mustFail: true },
    { name: 'strides of zero', value: { ...tensor, strides: zeros } },
    { name: 'negative strides', value: { ...tensor, strides: shape.map(() => -1) }, mustFail: rank > 0 },
    { name: 'short strides', value: { ...tensor, strides: [1] }, mustFail: rank !== 1 },
    { name: 'a last stride of two', value: { ...tensor, strides: shape.map(() => 2) }, mustFail: rank > 0 },
    { name: 'all strides one', value: { ...tensor, strides: shape.map(() => 1) } },
    { name: 'strides with a hole', value: { ...tensor, strides: holed(shape) }, mustFail: rank > 1 },
    { name: 'a negative offset', value: { ...tensor, offset: -1 }, mustFail: true },
    { name: 'an offset of one', value: { ...tensor, offset: 1 } },
    { name: 'a huge offset', value: { ...tensor, offset: 2 ** 53 - 1 }, mustFail: true },
    { name: 'an axis more', value: { ...tensor, shape: [1, ...shape], strides: undefined } },
    { name: 'an axis fewer', value: { ...tensor, shape: shape.slice(1), strides: undefined } },
    { name: 'axes backwards', value: { ...tensor, shape: shape.toReversed(), strides: undefined } },
    { name: 'no element', value: { ...tensor, shape: larger(0, 0) } },
    {
      name: 'very many of nothing',
      value: { ...tensor, shape: shape.map((_, axis) => (axis === rank - 1 ? 0 : 2 ** 40)) },
    },
    ...enormous,
  ];
}

/** Strides without the first. */
function holed(shape: readonly number[]): number[] {
  const strides = shape.map(() => 1);
  if (strides.length > 1) delete strides[0];
  return strides;
}

function buffersFor(buffer: GPUBuffer): readonly Replacement[] {
  const kinds = KINDS.map((kind) => ({ ...kind, mustFail: true }));
  // It may have been changed before.
  if (typeof buffer?.size !== 'number') return kinds;
  return [
    ...kinds,
    { name: 'a buffer of a word', value: { ...buffer, size: 4 } },
    { name: 'a buffer of an odd size', value: { ...buffer, size: buffer.size - 1 } },
    { name: 'a buffer of nothing', value: { ...buffer, size: 0 }, mustFail: true },
    { name: 'a buffer of another usage', value: { ...buffer, usage: 8 | 64 }, mustFail: true },
    { name: 'a mapped buffer', value: { ...buffer, mapState: 'mapped' }, mustFail: true },
    { name: 'a buffer about to be mapped', value: { ...buffer, mapState: 'pending' }, mustFail: true },
    { name: 'an ArrayBuffer', value: new ArrayBuffer(64), mustFail: true },
    { name: 'a texture', value: { usage: 128, width: 4, height: 4 }, mustFail: true },
  ];
}
