import { describe, expect, test } from 'vitest';
import type { DType } from '../../src/core/dtype.js';
import { createRuntime, read, readInts, tensorFrom, type Tensor } from '../../src/index.js';
import { fakeBuffer, fakeTensor } from '../runtime/fakeDevice.js';
import { ramDevice } from '../runtime/ramDevice.js';
import { rejection } from '../check/refusal.js';

function setUp(limits: Partial<GPUSupportedLimits> = {}) {
  const ram = ramDevice(limits);
  return { ...ram, runtime: createRuntime(ram.device) };
}

describe('read', () => {
  const { runtime, device, bytesOf, nCopied, nLive } = setUp();
  const from = (dtype: DType, n: number): Tensor =>
    tensorFrom(
      runtime,
      Array.from({ length: n }, (_, i) => i),
      { dtype },
    );

  test.each<{ view: Omit<Tensor, 'buffer' | 'dtype'>; want: number[]; bytes: number; why: string }>([
    { view: { shape: [24] }, want: Array.from({ length: 24 }, (_, i) => i), bytes: 48, why: 'all' },
    { view: { shape: [], strides: [] }, want: [0], bytes: 4, why: 'one number' },
    { view: { shape: [1], offset: 23 }, want: [23], bytes: 4, why: 'the last one' },
    { view: { shape: [3], offset: 1 }, want: [1, 2, 3], bytes: 8, why: 'halves begin within a word' },
    { view: { shape: [2], offset: 3 }, want: [3, 4], bytes: 8, why: 'and end within one' },
    {
      view: { shape: [2, 3], offset: 5, strides: [7, 1] },
      want: [5, 6, 7, 12, 13, 14],
      bytes: 24,
      why: 'rows',
    },
    {
      view: { shape: [2, 2, 2], strides: [2, 8, 1] },
      want: [0, 1, 8, 9, 2, 3, 10, 11],
      bytes: 24,
      why: 'turned',
    },
    {
      view: { shape: [3, 2], offset: 4, strides: [0, 1] },
      want: [4, 5, 4, 5, 4, 5],
      bytes: 4,
      why: 'broadcast',
    },
    {
      view: { shape: [3, 1, 2], offset: 4, strides: [2, 99, 1] },
      want: [4, 5, 6, 7, 8, 9],
      bytes: 12,
      why: 'a stride that says nothing',
    },
    { view: { shape: [0, 3], offset: 9 }, want: [], bytes: 0, why: 'nothing, wherever' },
  ])('gathers $view.shape: $why', async ({ view, want, bytes }) => {
    const before = nLive();
    for (const dtype of ['f16', 'bf16', 'f32'] as const) {
      const { buffer } = from(dtype, 24);
      const copied = nCopied();
      expect(await read(runtime, { buffer, dtype, ...view })).toEqual(Float32Array.from(want));
      if (dtype !== 'f32') expect(nCopied() - copied).toBe(bytes);
      buffer.destroy();
    }
    for (const dtype of ['i32', 'u32'] as const) {
      const { buffer } = from(dtype, 24);
      const Ints = dtype === 'i32' ? Int32Array : Uint32Array;
      expect(await readInts(runtime, { buffer, dtype, ...view })).toEqual(Ints.from(want));
      buffer.destroy();
    }
    expect(nLive()).toBe(before);
  });

  test('the values after all earlier work, unaffected by later work', async () => {
    const tensor = from('f32', 4);
    const reading = read(runtime, tensor);
    bytesOf(tensor.buffer).fill(0);
    expect(await reading).toEqual(Float32Array.of(0, 1, 2, 3));
  });

  test('types say what is returned', async () => {
    const ints: Int32Array = await readInts(runtime, { ...from('i32', 1), dtype: 'i32' });
    const counts: Uint32Array = await readInts(runtime, { ...from('u32', 1), dtype: 'u32' });
    expect([ints.constructor, counts.constructor]).toEqual([Int32Array, Uint32Array]);
  });

  test('what cannot be read', async () => {
    const usage = 128;
    const at = (size: number, rest: object = {}) => ({
      ...fakeTensor('f16', [3]),
      buffer: { ...fakeBuffer(size, 4), ...rest },
    });
    const other = setUp();
    const foreign = tensorFrom(other.runtime, [1]);
    expect([
      await rejection(read({} as never, from('f32', 1))),
      await rejection(read(runtime, from('i32', 1))),
      await rejection(readInts(runtime, from('f16', 1))),
      await rejection(read(runtime, [1, 2] as never)),
      await rejection(read(runtime, undefined as never)),
      await rejection(read(runtime, { ...from('f32', 1), dtype: 'i16' as never })),
      await rejection(read(runtime, { ...from('f32', 1), shape: 1 as never })),
      await rejection(read(runtime, { ...from('f32', 1), offset: 0.5 })),
      await rejection(read(runtime, { ...from('f32', 4), shape: [2, 2], strides: [1, 2] })),
      await rejection(read(runtime, { ...from('f32', 4), offset: 1 })),
      await rejection(read(runtime, at(6))),
      await rejection(read(runtime, at(8, { usage }))),
      await rejection(read(runtime, at(8, { mapState: 'mapped' }))),
      await rejection(read(runtime, { ...from('f32', 1), buffer: null as never })),
      await rejection(read(runtime, foreign)),
      await rejection(read(runtime, { ...from('f32', 4), shape: [2 ** 31 - 1, 100, 4], strides: [0, 0, 1] })),
    ]).toMatchInlineSnapshot(`
      [
        "argument: read: runtime must be what createRuntime gives, not a plain object.",
        "dtype: read: tensor must be f32, f16, bf16, i8, i4 or e4m3, not i32. Use readInts.",
        "dtype: readInts: tensor must be i32 or u32, not f16. Use read.",
        "argument: read: tensor must be a tensor, { buffer, dtype, shape }, not [1, 2].",
        "argument: read: tensor must be a tensor, { buffer, dtype, shape }, not undefined.",
        "dtype: read: tensor must be f32, f16, bf16, i32, u32, i8, i4 or e4m3, not "i16".",
        "shape: read: tensor must have a shape of whole numbers ≥ 0, not 1.",
        "shape: read: the offset of tensor must be a whole number ≥ 0, not 0.5.",
        "shape: read: the last stride of tensor must be 1, not 2.",
        "buffer: read: tensor ends at byte 20 of a buffer of 16 bytes. Check its shape, strides and offset.",
        "buffer: read: the buffer of tensor has 6 bytes, but WebGPU copies whole words: give it 8.",
        "buffer: read: the buffer of tensor must be made with GPUBufferUsage.COPY_SRC.",
        "buffer: read: the buffer of tensor is mapped. Unmap it first.",
        "buffer: read: tensor.buffer must be a GPUBuffer, not null.",
        "device: read: tensor was made by another device than the runtime's. Make it on this one, or bring it over by way of the host.",
        "limit: read: the host has no memory for 3435973835200 bytes. Read less at a time.",
      ]
    `);
  });

  test('errors of the device about earlier work are thrown here', async () => {
    const failing = setUp();
    const tensor = tensorFrom(failing.runtime, [1]);
    Object.assign(failing.device, { popErrorScope: () => Promise.resolve({ message: 'no such buffer' }) });
    failing.runtime.inNameOf('attn', () => {});
    Object.assign(failing.device, { popErrorScope: () => Promise.resolve(null) });
    expect(await rejection(read(failing.runtime, tensor))).toMatch(/^buffer: attn: .*no such buffer/);
    expect(await read(failing.runtime, tensor)).toEqual(Float32Array.of(1));
  });

  test('a lost device rejects the promise while waiting, and later calls', async () => {
    const failing = setUp();
    const tensor = tensorFrom(failing.runtime, [1]);
    failing.hold();
    const reading = rejection(read(failing.runtime, tensor));
    failing.lose('it fell');
    expect(await reading).toMatch(/^device: read: .*it fell/);
    expect(await rejection(read(failing.runtime, tensor))).toMatch(/^device: read: .*it fell/);
    expect(device).not.toBe(failing.device);
  });
});
