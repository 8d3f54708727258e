import { fromHalves, toHalves } from '../../src/index.js';
import { Gpu, UNIFORM } from '../../demo/engine/gpu/gpu.js';
import type { Recorder } from '../../demo/engine/gpu/recorder.js';
import { assert, assertEqual, type GpuTest } from '../platforms/gpuCase.js';

/**
 * Runs a case's kernels on both kinds of device, and frees their buffers. On the full one they are arranged as for a GPU,
 * on the plain one as for a CPU.
 */
export async function onEachGpu(
  t: GpuTest,
  use: (gpu: Gpu, deviceClass: 'gpu' | 'software') => Promise<void>,
): Promise<void> {
  for (const kind of ['full', 'plain'] as const) {
    const gpu = new Gpu(await t.device(kind));
    try {
      await use(gpu, kind === 'full' ? 'gpu' : 'software');
    } finally {
      gpu.destroy();
    }
  }
}

/** Records commands and waits for nothing: reads come after them. */
export function run(gpu: Gpu, record: (recorder: Recorder) => void): void {
  const recorder = gpu.record();
  record(recorder);
  recorder.submit();
}

export function rowCountOf(gpu: Gpu, nRows: number): GPUBuffer {
  return gpu.bufferOf('row_count', Uint32Array.of(nRows), UNIFORM);
}

export type Stored = 'f32' | 'f16';

/** Numbers as they are stored on the GPU. */
export function store(type: Stored, numbers: Float32Array<ArrayBuffer>): ArrayBufferView<ArrayBuffer> {
  if (type === 'f32') return numbers;
  const halves = new Uint16Array(Math.ceil(numbers.length / 2) * 2);
  halves.set(toHalves('f16', numbers));
  return halves;
}

/** Numbers rounded to what the type holds. */
export function rounded(type: Stored, numbers: Float32Array<ArrayBuffer>): Float32Array<ArrayBuffer> {
  return type === 'f32' ? numbers : fromHalves('f16', toHalves('f16', numbers));
}

export async function readBytes(gpu: Gpu, buffer: GPUBuffer): Promise<ArrayBuffer> {
  const readback = gpu.device.createBuffer({ size: buffer.size, usage: 0x01 | 0x08 }); // MAP_READ | COPY_DST
  const encoder = gpu.device.createCommandEncoder();
  encoder.copyBufferToBuffer(buffer, 0, readback, 0, buffer.size);
  gpu.device.queue.submit([encoder.finish()]);
  await readback.mapAsync(1); // GPUMapMode.READ
  const bytes = readback.getMappedRange().slice(0);
  readback.destroy();
  return bytes;
}

export async function readNumbers(gpu: Gpu, buffer: GPUBuffer, type: Stored = 'f32'): Promise<Float32Array> {
  const bytes = await readBytes(gpu, buffer);
  return type === 'f32' ? new Float32Array(bytes) : fromHalves('f16', new Uint16Array(bytes));
}

interface Tolerance {
  readonly relative?: number;
  readonly absolute?: number;
}

/** Compares the first numbers of a buffer, as many as are expected; 0 must be what is behind them. */
export function assertClose(
  actual: Float32Array,
  expected: ArrayLike<number>,
  { relative = 0, absolute = 0 }: Tolerance,
): void {
  for (let i = 0; i < expected.length; i++) {
    const tolerance = absolute + relative * Math.abs(expected[i]!);
    const isClose = Math.abs(actual[i]! - expected[i]!) <= tolerance;
    assert(isClose, `number ${i} is ${actual[i]}, expected ${expected[i]} ± ${tolerance}`);
  }
  assertEqual(
    actual.subarray(expected.length),
    new Float32Array(actual.length - expected.length),
    'the rest',
  );
}
