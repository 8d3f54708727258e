import { isHostArray, type Call } from '../check/call.js';
import { dtypeInWords, listed } from '../check/checkTensor.js';
import { describe, fail } from '../core/errors.js';
import {
  bytesPerElement,
  decode,
  encode,
  FLOATS,
  INTS,
  isDType,
  QUANTISED,
  type DType,
  type FloatDType,
} from '../core/dtype.js';

/** A `Float16Array`, as a type that older versions of TypeScript's library can express. */
export interface Float16Numbers extends ArrayBufferView, ArrayLike<number> {
  readonly [Symbol.toStringTag]: 'Float16Array';
}

/** The data that `tensorFrom` takes. */
export type TensorData =
  | readonly number[]
  | Float32Array
  | Float64Array
  | Float16Numbers
  | Int32Array
  | Uint32Array
  | Uint16Array
  | Int8Array
  | Uint8Array;

/** Checked data on the host, to be stored as elements of a type. */
export interface Elements {
  readonly dtype: DType;
  /** Bytes of all elements as they are stored. */
  readonly byteLength: number;
  /** Whether the data is a `Uint8Array` of bytes as they are stored. */
  readonly isBytes: boolean;
  /** The bytes of a range of elements: without a copy where the array holds them already. */
  bytes(from: number, to: number): Uint8Array<ArrayBuffer>;
}

interface Kind {
  /** The types that the numbers can become, the default first. */
  readonly dtypes: readonly DType[];
  /** The types whose bits the array holds already. */
  readonly stored: readonly DType[];
  /** What the array holds, where its class does not determine the type. */
  readonly holds?: string;
}

const BYTES: Kind = {
  dtypes: [...FLOATS, ...INTS, ...QUANTISED],
  stored: [...FLOATS, ...INTS, ...QUANTISED],
  holds: 'bytes as they are stored',
};

/** Kinds of data, by the class of the array. */
const KINDS: ReadonlyMap<string, Kind> = new Map<string, Kind>([
  ['Array', { dtypes: [...FLOATS, ...INTS], stored: [] }],
  ['Float32Array', { dtypes: FLOATS, stored: ['f32'] }],
  ['Float64Array', { dtypes: FLOATS, stored: [] }],
  ['Float16Array', { dtypes: ['f16', 'f32', 'bf16'], stored: ['f16'] }],
  ['Int32Array', { dtypes: INTS, stored: INTS }],
  ['Uint32Array', { dtypes: ['u32', 'i32'], stored: INTS }],
  ['Uint16Array', { dtypes: ['f16', 'bf16'], stored: ['f16', 'bf16'], holds: 'the bits of halves' }],
  ['Int8Array', { dtypes: ['i8'], stored: ['i8'] }],
  ['Uint8Array', BYTES],
]);

const INT_RANGES = { i32: [-(2 ** 31), 2 ** 31 - 1], u32: [0, 2 ** 32 - 1] } as const;

/** Checks data that is to be stored as `asked`, by default as the type of its array. */
export function checkElements(call: Call, data: TensorData, asked: DType | undefined): Elements {
  const kind = KINDS.get(classOf(data));
  if (!kind) {
    call.refuse(
      'argument',
      `data must be an array of numbers, a Float32Array, Float64Array, Float16Array, Int32Array or Uint32Array, a Uint16Array of halves, an Int8Array or a Uint8Array of bytes, not ${describe(data)}. Convert it first.`,
    );
  }
  const dtype = checkType(call, data, kind, asked);
  if (isPlain(data)) checkNumbers(call.name, 'data', data);
  else checkAttached(call, data);
  if (isInt(dtype) && kind !== BYTES) checkInts(call, data as ArrayLike<number>, dtype);
  if (isPlain(data) || !kind.stored.includes(dtype))
    return convertedElements(data as readonly number[] | Float64Array, dtype as Converted);
  return storedElements(data, dtype, kind === BYTES);
}

/** The class of an array, also of one from another realm, such as a frame. */
function classOf(data: unknown): string {
  if (Array.isArray(data)) return 'Array';
  return ArrayBuffer.isView(data) && Symbol.toStringTag in data ? String(data[Symbol.toStringTag]) : '';
}

function isPlain(data: unknown): data is readonly number[] {
  return Array.isArray(data);
}

function isInt(dtype: DType): dtype is 'i32' | 'u32' {
  return dtype === 'i32' || dtype === 'u32';
}

function checkType(call: Call, data: TensorData, { dtypes, holds }: Kind, asked: DType | undefined): DType {
  if (asked === undefined && holds)
    call.refuse('dtype', `data holds ${holds}, so say which type: dtype must be ${listed(dtypes)}.`);
  const dtype = asked === undefined ? dtypes[0]! : asked;
  if (isDType(dtype) && dtypes.includes(dtype)) return dtype;
  call.refuse('dtype', `of ${describe(data)}, dtype must be ${listed(dtypes)}, not ${dtypeInWords(dtype)}.`);
}

/** Checks that an array, plain or typed, holds only numbers. */
function checkNumbers(caller: string, name: string, values: ArrayLike<number>): void {
  // The entries of a typed array are all of one kind.
  const n = ArrayBuffer.isView(values) ? Math.min(values.length, 1) : values.length;
  for (let i = 0; i < n; i++) {
    if (typeof values[i] !== 'number')
      fail('argument', caller, `${name}[${i}] must be a number, not ${describe(values[i])}.`);
  }
}

function checkInts(call: Call, data: ArrayLike<number>, dtype: 'i32' | 'u32'): void {
  const [least, most] = INT_RANGES[dtype];
  for (let i = 0; i < data.length; i++) {
    const value = data[i]!;
    if (Number.isInteger(value) && value >= least && value <= most) continue;
    call.refuse(
      'argument',
      `data[${i}] must be a whole number from ${least} to ${most} for ${dtype}, not ${value}.`,
    );
  }
}

/** Checks that the memory of an array was not transferred: such an array looks empty. */
function checkAttached(call: Call, { buffer, byteLength }: ArrayBufferView): void {
  if (byteLength > 0) return;
  try {
    buffer.slice(0, 0);
  } catch {
    call.refuse('argument', 'data has no memory any more: its buffer was transferred.');
  }
}

function storedElements(data: ArrayBufferView, dtype: DType, isBytes: boolean): Elements {
  const { buffer, byteOffset, byteLength } = data;
  const size = bytesPerElement(dtype);
  return {
    dtype,
    byteLength,
    isBytes,
    bytes: (from, to) => {
      const bytes = new Uint8Array(buffer, byteOffset + from * size, (to - from) * size);
      return isOrdinary(buffer) ? (bytes as Uint8Array<ArrayBuffer>) : new Uint8Array(bytes);
    },
  };
}

/** Whether every implementation of WebGPU accepts the memory: some refuse it if it is shared or resizable. */
function isOrdinary(buffer: ArrayBufferLike): boolean {
  return (
    buffer[Symbol.toStringTag] === 'ArrayBuffer' && (buffer as { resizable?: boolean }).resizable !== true
  );
}

/** Types that numbers become by themselves, without a scale. */
type Converted = FloatDType | 'i32' | 'u32';

function convertedElements(data: readonly number[] | Float64Array, dtype: Converted): Elements {
  return {
    dtype,
    byteLength: data.length * bytesPerElement(dtype),
    isBytes: false,
    bytes: (from, to) => {
      const some = isPlain(data) ? data.slice(from, to) : data.subarray(from, to);
      return new Uint8Array(converted(some, dtype).buffer);
    },
  };
}

function converted(numbers: ArrayLike<number>, dtype: Converted): ArrayBufferView<ArrayBuffer> {
  switch (dtype) {
    case 'i32':
      return new Int32Array(numbers);
    case 'u32':
      return new Uint32Array(numbers);
    default:
      return encode(dtype, numbers);
  }
}

/**
 * Converts numbers to the bits of f16 or bf16, as a tensor stores them: rounded to the nearest, ties to even, overflow to
 * infinity, every NaN to the quiet one. Numbers in f64 are rounded once.
 *
 * @throws PageflashError `argument`, `dtype`
 * @example
 * const bits = toHalves('bf16', weights); // Float32Array → Uint16Array
 */
export function toHalves(dtype: 'f16' | 'bf16', values: ArrayLike<number>): Uint16Array<ArrayBuffer> {
  const caller = 'toHalves';
  checkHalfType(caller, dtype);
  if (!isHostArray(values))
    fail('argument', caller, `values must be an array of numbers, not ${describe(values)}.`);
  checkNumbers(caller, 'values', values);
  return encode(dtype, values);
}

/**
 * Converts the bits of f16 or bf16 to f32, which is exact.
 *
 * @throws PageflashError `argument`, `dtype`
 */
export function fromHalves(dtype: 'f16' | 'bf16', bits: Uint16Array): Float32Array<ArrayBuffer> {
  const caller = 'fromHalves';
  checkHalfType(caller, dtype);
  if (!(bits instanceof Uint16Array))
    fail('argument', caller, `bits must be a Uint16Array, not ${describe(bits)}.`);
  return decode(dtype, bits);
}

function checkHalfType(caller: string, dtype: unknown): void {
  if (dtype === 'f16' || dtype === 'bf16') return;
  fail('dtype', caller, `the first argument must be 'f16' or 'bf16', not ${describe(dtype)}.`);
}
