import { describe, expect, test } from 'vitest';
import { encode, type DType } from '../../src/core/dtype.js';
import {
  createRuntime,
  fromHalves,
  tensorFrom,
  toHalves,
  type TensorData,
  type TensorFromOptions,
} from '../../src/index.js';
import { ramDevice } from '../runtime/ramDevice.js';
import { refusal } from '../check/refusal.js';

function setUp(limits: Partial<GPUSupportedLimits> = {}) {
  const ram = ramDevice(limits);
  return { ...ram, runtime: createRuntime(ram.device) };
}

const NUMBERS = [1, -2.5, 0.1, 70000, -0];

describe('tensorFrom', () => {
  const made = (data: TensorData, options?: TensorFromOptions) => {
    const { runtime, bytesOf } = setUp();
    const tensor = tensorFrom(runtime, data, options);
    const bytes = bytesOf(tensor.buffer);
    return { ...tensor, bytes };
  };
  const bytesOf = ({ buffer, byteOffset, byteLength }: ArrayBufferView) =>
    Array.from(new Uint8Array(buffer, byteOffset, byteLength));

  test.each<{ data: TensorData; dtype?: DType; becomes: DType; stored: ArrayBufferView; why: string }>([
    { data: Float32Array.from(NUMBERS), becomes: 'f32', stored: Float32Array.from(NUMBERS), why: 'as it is' },
    { data: NUMBERS, becomes: 'f32', stored: Float32Array.from(NUMBERS), why: 'plain numbers are reals' },
    { data: Float64Array.from(NUMBERS), becomes: 'f32', stored: Float32Array.from(NUMBERS), why: 'rounded' },
    {
      data: Float32Array.from(NUMBERS),
      dtype: 'f16',
      becomes: 'f16',
      stored: encode('f16', NUMBERS.map(Math.fround)),
      why: 'halves',
    },
    { data: NUMBERS, dtype: 'bf16', becomes: 'bf16', stored: encode('bf16', NUMBERS), why: 'other halves' },
    {
      data: [1 + 2 ** -11 + 2 ** -40],
      dtype: 'f16',
      becomes: 'f16',
      stored: Uint16Array.of(0x3c01),
      why: 'by way of f32 it would be a tie',
    },
    {
      data: Float64Array.of(1 + 2 ** -11 + 2 ** -40),
      dtype: 'f16',
      becomes: 'f16',
      stored: Uint16Array.of(0x3c01),
      why: 'likewise',
    },
    { data: Int32Array.of(-1, 7), becomes: 'i32', stored: Int32Array.of(-1, 7), why: 'as it is' },
    {
      data: Uint32Array.of(2 ** 32 - 1),
      becomes: 'u32',
      stored: Uint32Array.of(2 ** 32 - 1),
      why: 'as it is',
    },
    {
      data: Int32Array.of(0, 7),
      dtype: 'u32',
      becomes: 'u32',
      stored: Uint32Array.of(0, 7),
      why: 'none is negative',
    },
    {
      data: Uint32Array.of(2 ** 31 - 1),
      dtype: 'i32',
      becomes: 'i32',
      stored: Int32Array.of(2 ** 31 - 1),
      why: 'none is too large',
    },
    {
      data: [-(2 ** 31), -0],
      dtype: 'i32',
      becomes: 'i32',
      stored: Int32Array.of(-(2 ** 31), 0),
      why: 'whole numbers',
    },
    {
      data: Uint16Array.of(0x3c00, 0xffff, 1),
      dtype: 'bf16',
      becomes: 'bf16',
      stored: Uint16Array.of(0x3c00, 0xffff, 1),
      why: 'bits stay bits',
    },
    { data: new Float32Array(), becomes: 'f32', stored: new Float32Array(), why: 'nothing' },
    { data: [], dtype: 'u32', becomes: 'u32', stored: new Float32Array(), why: 'nothing at all' },
  ])('$data.constructor.name $dtype → $becomes: $why', ({ data, dtype, becomes, stored }) => {
    const tensor = made(data, { dtype });
    expect(tensor).toMatchObject({ dtype: becomes, shape: [data.length] });
    expect(Array.from(tensor.bytes).slice(0, stored.byteLength)).toEqual(bytesOf(stored));
    expect(tensor.bytes.length).toBe(Math.max(4, Math.ceil(stored.byteLength / 4) * 4));
    expect(tensor.buffer.usage).toBe(128 | 4 | 8);
  });

  test('bytes of a file may begin anywhere', () => {
    const file = Uint8Array.from({ length: 40 }, (_, i) => i);
    for (const [dtype, size] of [
      ['f32', 4],
      ['bf16', 2],
      ['u32', 4],
    ] as const) {
      const data = file.subarray(3, 3 + 6 * size);
      const tensor = made(data, { dtype, shape: [3, 2] });
      expect(tensor).toMatchObject({ dtype, shape: [3, 2] });
      expect(Array.from(tensor.bytes)).toEqual(Array.from(data));
    }
  });

  test('a view of a part of a buffer, and shared memory', () => {
    const all = Float32Array.from({ length: 10 }, (_, i) => i);
    expect(bytesOf(made(all.subarray(2, 5)).bytes)).toEqual(bytesOf(Float32Array.of(2, 3, 4)));
    const shared = new Float32Array(new SharedArrayBuffer(16));
    shared.set([1, 2, 3, 4]);
    expect(bytesOf(made(shared).bytes)).toEqual(bytesOf(Float32Array.of(1, 2, 3, 4)));
    expect(bytesOf(made(shared.subarray(1), { dtype: 'f16' }).bytes)).toEqual([
      ...bytesOf(encode('f16', [2, 3, 4])),
      0,
      0,
    ]);
  });

  test('more than is written at a time', () => {
    const n = 2 ** 20 + 3;
    const values = Float32Array.from({ length: n }, (_, i) => i % 1000);
    const halves = encode('f16', values);
    // Compared by a loop, as expect() takes a minute for a million numbers.
    const holds = (data: TensorData, dtype: DType, stored: Uint8Array) =>
      made(data, { dtype }).bytes.every((byte, i) => byte === (stored[i] ?? 0));
    const bytes = new Uint8Array(halves.buffer);
    expect(holds(values, 'f32', new Uint8Array(values.buffer))).toBe(true);
    expect(holds(values, 'f16', bytes)).toBe(true);
    expect(holds(halves, 'f16', bytes)).toBe(true);
    expect(holds(Array.from(values), 'i32', new Uint8Array(Int32Array.from(values).buffer))).toBe(true);
  });

  test('a Float16Array, where there is one', () => {
    const bits = Uint16Array.of(0x3c00, 0xc100);
    // A substitute for the real class, which this version of Node lacks.
    const data = Object.defineProperty(bits, Symbol.toStringTag, { value: 'Float16Array' });
    const tensor = made(data as never);
    expect(tensor).toMatchObject({ dtype: 'f16', shape: [2] });
    expect(bytesOf(tensor.bytes)).toEqual(bytesOf(bits));
  });

  test('the shape is copied', () => {
    const shape = [2, 2];
    const tensor = made([1, 2, 3, 4], { shape });
    shape[0] = 7;
    expect(tensor.shape).toEqual([2, 2]);
  });

  test('wrong arguments are refused, and no buffer is left', () => {
    const { runtime, nLive } = setUp();
    const message = (data: unknown, options?: unknown) =>
      refusal(() => tensorFrom(runtime, data as TensorData, options as TensorFromOptions));
    const gone = new Float32Array(4);
    structuredClone(gone, { transfer: [gone.buffer] });
    expect([
      refusal(() => tensorFrom({} as never, [1])),
      message([1], { shap: [1] }),
      message([1], 'f32'),
      message(undefined),
      message(new BigInt64Array(2)),
      message(new ArrayBuffer(8)),
      message(new DataView(new ArrayBuffer(8))),
      message(Int16Array.of(1)),
      message(Int8Array.of(1), { dtype: 'i4' }),
      message([1], { dtype: 'e4m3' }),
      message(Uint8Array.of(1, 2), { dtype: 'i4', shape: [2] }),
      message([1], { dtype: 'f64' }),
      message([1], { dtype: null }),
      message(Int32Array.of(1), { dtype: 'f16' }),
      message(Float32Array.of(1), { dtype: 'i32' }),
      message(Uint16Array.of(1)),
      message(Uint16Array.of(1), { dtype: 'f32' }),
      message(Uint8Array.of(1, 2)),
      message(Uint8Array.of(1, 2), { dtype: 'f16' }),
      message(Uint8Array.of(1, 2, 3), { dtype: 'f16', shape: [2] }),
      message([1, , 3]), // oxlint-disable-line no-sparse-arrays
      message([1, '2']),
      message([1.5], { dtype: 'i32' }),
      message([NaN], { dtype: 'u32' }),
      message([2 ** 31], { dtype: 'i32' }),
      message(Int32Array.of(3, -1), { dtype: 'u32' }),
      message(Uint32Array.of(2 ** 31), { dtype: 'i32' }),
      message([1, 2, 3], { shape: [2, 2] }),
      message([1], { shape: 1 }),
      message([1], { shape: [-1, -1] }),
      message(gone),
      refusal(() => tensorFrom(setUp({ maxBufferSize: 8 }).runtime, [1, 2, 3])),
    ]).toMatchInlineSnapshot(`
      [
        "argument: tensorFrom: runtime must be what createRuntime gives, not a plain object.",
        "argument: tensorFrom: there is no argument shap. There are shape, dtype.",
        "argument: tensorFrom: the arguments must be one object, not "f32".",
        "argument: tensorFrom: data must be an array of numbers, a Float32Array, Float64Array, Float16Array, Int32Array or Uint32Array, a Uint16Array of halves, an Int8Array or a Uint8Array of bytes, not undefined. Convert it first.",
        "argument: tensorFrom: data must be an array of numbers, a Float32Array, Float64Array, Float16Array, Int32Array or Uint32Array, a Uint16Array of halves, an Int8Array or a Uint8Array of bytes, not a BigInt64Array. Convert it first.",
        "argument: tensorFrom: data must be an array of numbers, a Float32Array, Float64Array, Float16Array, Int32Array or Uint32Array, a Uint16Array of halves, an Int8Array or a Uint8Array of bytes, not a ArrayBuffer. Convert it first.",
        "argument: tensorFrom: data must be an array of numbers, a Float32Array, Float64Array, Float16Array, Int32Array or Uint32Array, a Uint16Array of halves, an Int8Array or a Uint8Array of bytes, not a DataView. Convert it first.",
        "argument: tensorFrom: data must be an array of numbers, a Float32Array, Float64Array, Float16Array, Int32Array or Uint32Array, a Uint16Array of halves, an Int8Array or a Uint8Array of bytes, not a Int16Array. Convert it first.",
        "dtype: tensorFrom: of a Int8Array, dtype must be i8, not i4.",
        "dtype: tensorFrom: of [1], dtype must be f32, f16, bf16, i32 or u32, not e4m3.",
        "shape: tensorFrom: shape [2] has 1 bytes of i4, but data has 2 bytes.",
        "dtype: tensorFrom: of [1], dtype must be f32, f16, bf16, i32 or u32, not "f64".",
        "dtype: tensorFrom: of [1], dtype must be f32, f16, bf16, i32 or u32, not null.",
        "dtype: tensorFrom: of a Int32Array, dtype must be i32 or u32, not f16.",
        "dtype: tensorFrom: of a Float32Array, dtype must be f32, f16 or bf16, not i32.",
        "dtype: tensorFrom: data holds the bits of halves, so say which type: dtype must be f16 or bf16.",
        "dtype: tensorFrom: of a Uint16Array, dtype must be f16 or bf16, not f32.",
        "dtype: tensorFrom: data holds bytes as they are stored, so say which type: dtype must be f32, f16, bf16, i32, u32, i8, i4 or e4m3.",
        "shape: tensorFrom: data holds bytes as they are stored, so say the shape.",
        "shape: tensorFrom: shape [2] has 4 bytes of f16, but data has 3 bytes.",
        "argument: tensorFrom: data[1] must be a number, not undefined.",
        "argument: tensorFrom: data[1] must be a number, not "2".",
        "argument: tensorFrom: data[0] must be a whole number from -2147483648 to 2147483647 for i32, not 1.5.",
        "argument: tensorFrom: data[0] must be a whole number from 0 to 4294967295 for u32, not NaN.",
        "argument: tensorFrom: data[0] must be a whole number from -2147483648 to 2147483647 for i32, not 2147483648.",
        "argument: tensorFrom: data[1] must be a whole number from 0 to 4294967295 for u32, not -1.",
        "argument: tensorFrom: data[0] must be a whole number from -2147483648 to 2147483647 for i32, not 2147483648.",
        "shape: tensorFrom: shape [2, 2] has 4 elements, but data has 3.",
        "shape: tensorFrom: shape must be whole numbers ≥ 0, not 1.",
        "shape: tensorFrom: shape must be whole numbers ≥ 0, not [-1, -1].",
        "argument: tensorFrom: data has no memory any more: its buffer was transferred.",
        "limit: tensorFrom: tensor needs a buffer of 12 bytes, but this device allows 8. Ask for maxBufferSize, use requestDevice(), or do less at a time.",
      ]
    `);
    expect(nLive()).toBe(0);
  });

  test('if a write fails, the buffer is freed', () => {
    const { runtime, device, nLive } = setUp();
    Object.assign(device.queue, {
      writeBuffer: () => {
        throw new TypeError('no');
      },
    });
    expect(() => tensorFrom(runtime, [1])).toThrow(TypeError);
    expect(nLive()).toBe(0);
  });
});

describe('halves', () => {
  test.each(['f16', 'bf16'] as const)('%s of every kind of array, and back', (dtype) => {
    const values = [0, 1, -2, 0.1, Infinity, NaN];
    const bits = encode(dtype, values);
    expect(toHalves(dtype, values)).toEqual(bits);
    expect(toHalves(dtype, Float64Array.from(values))).toEqual(bits);
    expect(toHalves(dtype, Int8Array.of(-3))).toEqual(encode(dtype, [-3]));
    expect(toHalves(dtype, [])).toEqual(new Uint16Array());
    expect(fromHalves(dtype, bits.subarray(1, 3))).toEqual(Float32Array.of(1, -2));
  });

  test('wrong arguments', () => {
    expect([
      refusal(() => toHalves('f32' as never, [1])),
      refusal(() => toHalves([1] as never, 'f16' as never)),
      refusal(() => toHalves('f16', 1 as never)),
      refusal(() => toHalves('f16', [1, null] as never)),
      refusal(() => toHalves('f16', new BigInt64Array(1) as never)),
      refusal(() => fromHalves('bf16', [1] as never)),
      refusal(() => fromHalves('bf16', new Float32Array(1) as never)),
      refusal(() => fromHalves(undefined as never, new Uint16Array())),
    ]).toMatchInlineSnapshot(`
      [
        "dtype: toHalves: the first argument must be 'f16' or 'bf16', not "f32".",
        "dtype: toHalves: the first argument must be 'f16' or 'bf16', not [1].",
        "argument: toHalves: values must be an array of numbers, not 1.",
        "argument: toHalves: values[1] must be a number, not null.",
        "argument: toHalves: values[0] must be a number, not 0n.",
        "argument: fromHalves: bits must be a Uint16Array, not [1].",
        "argument: fromHalves: bits must be a Uint16Array, not a Float32Array.",
        "dtype: fromHalves: the first argument must be 'f16' or 'bf16', not undefined.",
      ]
    `);
  });
});
