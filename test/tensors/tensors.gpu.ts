import { encode, roundTo } from '../../src/core/dtype.js';
import { attn, createRuntime, read, readInts, tensorFrom, type DType, type Tensor } from '../../src/index.js';
import { assert, assertEqual, type GpuCase } from '../platforms/gpuCase.js';
import { Random } from '../../tools/random.js';
import { rejection } from '../check/refusal.js';
import { withRuntime } from '../platforms/withRuntime.js';

/** A number for each index that every type can store. */
const PLACES = Float32Array.from({ length: 24 }, (_, i) => i);

export const cases: GpuCase[] = [
  {
    name: 'numbers of every type go up, and come back rounded to it',
    run: (t) =>
      withRuntime(t, async (runtime) => {
        const values = new Random(1).normals(1001);
        for (const dtype of ['f32', 'f16', 'bf16'] as const) {
          const rounded = values.map((x) => roundTo(dtype, x));
          const stored = encode(dtype, values);
          const bytes = new Uint8Array(stored.buffer);
          const inFile = new Uint8Array(bytes.length + 3);
          inFile.set(bytes, 3);
          for (const tensor of [
            tensorFrom(runtime, values, { dtype }),
            tensorFrom(runtime, Float64Array.from(values), { dtype }),
            tensorFrom(runtime, Array.from(values), { dtype, shape: [7, 11, 13] }),
            tensorFrom(runtime, inFile.subarray(3), { dtype, shape: [1001] }),
          ]) {
            assertEqual(await read(runtime, tensor), rounded, dtype);
            tensor.buffer.destroy();
          }
        }
        const ints = Int32Array.of(-(2 ** 31), -1, 0, 2 ** 31 - 1);
        assertEqual(await readInts(runtime, tensorFrom(runtime, ints)), ints, 'i32');
        const counts = Uint32Array.of(0, 2 ** 32 - 1, 5);
        assertEqual(await readInts(runtime, tensorFrom(runtime, counts)), counts, 'u32');
        assertEqual((await read(runtime, tensorFrom(runtime, []))).length, 0, 'nothing');
      }),
  },
  {
    name: 'a tensor is read wherever it begins, by its strides',
    why: 'halves begin and end within words',
    run: (t) =>
      withRuntime(t, async (runtime) => {
        const views: readonly (readonly [Omit<Tensor, 'buffer' | 'dtype'>, readonly number[]])[] = [
          [{ shape: [3], offset: 21 }, [21, 22, 23]],
          [{ shape: [2, 3], offset: 5, strides: [7, 1] }, [5, 6, 7, 12, 13, 14]],
          [{ shape: [2, 2, 2], strides: [2, 8, 1] }, [0, 1, 8, 9, 2, 3, 10, 11]],
          [{ shape: [3, 2], offset: 3, strides: [0, 1] }, [3, 4, 3, 4, 3, 4]],
        ];
        for (const dtype of ['f32', 'f16', 'bf16'] satisfies DType[]) {
          const { buffer } = tensorFrom(runtime, PLACES, { dtype });
          for (const [view, want] of views)
            assertEqual(
              [...(await read(runtime, { buffer, dtype, ...view }))],
              want,
              `${dtype} ${view.shape}`,
            );
        }
      }),
  },
  {
    name: 'a tensor is read as it was when it was asked for',
    run: (t) =>
      withRuntime(t, async (runtime) => {
        const tensor = tensorFrom(runtime, PLACES);
        const reading = read(runtime, tensor);
        runtime.device.queue.writeBuffer(tensor.buffer, 0, new Float32Array(24));
        assertEqual(await reading, PLACES, 'before the write');
        assertEqual(await read(runtime, tensor), new Float32Array(24), 'after it');
      }),
  },
  {
    name: 'what a call gives that the device refused is not read as if it were a result',
    run: (t) =>
      withRuntime(t, async (runtime) => {
        const q = tensorFrom(runtime, PLACES, { shape: [1, 3, 1, 8] });
        const k = tensorFrom(runtime, PLACES, { shape: [1, 3, 1, 8] });
        k.buffer.destroy();
        const { out } = attn(runtime, { q, k, v: q });
        const sentence = await rejection(read(runtime, out));
        assert(sentence.startsWith('buffer: attn: '), sentence);
      }),
  },
  {
    name: 'reading stops when the device is lost',
    run: async (t) => {
      const device = await t.ownDevice();
      const runtime = createRuntime(device);
      const tensor = tensorFrom(runtime, PLACES);
      const reading = rejection(read(runtime, tensor));
      device.destroy();
      const sentence = await reading;
      assert(sentence.startsWith('device: read: '), sentence);
      assert((await rejection(read(runtime, tensor))).startsWith('device: read: '), 'read afterwards');
    },
  },
];
