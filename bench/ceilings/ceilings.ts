import type { Dispatch } from '../../src/core/dispatch.js';
import type { Tensor } from '../../src/core/tensor.js';
import { createRuntime, type Runtime } from '../../src/index.js';
import { constantOf } from '../../src/wgsl/reflection.js';
import type { Kernel } from '../../src/wgsl/kernel.js';
import { Random } from '../../tools/random.js';
import { chooseRepetitions, timeCalls, WARM_MS, warmUpClocks } from '../../tools/timing.js';
import type { Ceilings } from '../results.js';
import copyKernel from './ceiling_copy.wgsl';
import fmaKernel from './ceiling_fma.wgsl';
import readKernel from './ceiling_read.wgsl';

/** How much the kernels do. The buffer is larger than the caches of GPUs. */
interface Size {
  readonly bufferBytes: number;
  readonly fmaWorkgroups: number;
  readonly rounds: number;
  readonly sampleMs: number;
  /** Work before each sample: the clocks of a GPU must be up. */
  readonly warmMs: number;
}

const GPU_SIZE: Size = {
  bufferBytes: 2 ** 28,
  fmaWorkgroups: 2 ** 13,
  rounds: 7,
  sampleMs: 30,
  warmMs: WARM_MS,
};
const SOFTWARE_SIZE: Size = {
  bufferBytes: 2 ** 26,
  fmaWorkgroups: 2 ** 5,
  rounds: 5,
  sampleMs: 60,
  warmMs: 0,
};

/** Measures the rates at which a device reads, copies and multiplies, by kernels that do nothing else. */
export async function measureCeilings(device: GPUDevice): Promise<Ceilings> {
  const runtime = createRuntime(device);
  const size = runtime.traits.deviceClass === 'software' ? SOFTWARE_SIZE : GPU_SIZE;
  const bytes = Math.min(size.bufferBytes, device.limits.maxStorageBufferBindingSize);
  const buffers = [0, 1].map(() => runtime.createTensor([bytes / 4], 'u32'));
  const [source, target] = buffers as [Tensor, Tensor];
  fillWithNoise(device, source.buffer);
  const rate = async (dispatch: Dispatch, amount: number): Promise<number> =>
    amount / (await fastest(runtime, dispatch, size)) / 1e6;
  try {
    const read = moving(readKernel, 16, bytes, { source, found: target });
    const copy = moving(copyKernel, 4, bytes, { source, copy: target });
    const fma: Dispatch = {
      kernel: fmaKernel,
      spec: FMA,
      params: { factor: 0.5, addend: 1 },
      bindings: { sums: target },
      grid: [size.fmaWorkgroups, 1, 1],
    };
    return {
      readGbps: await rate(read, bytes),
      copyGbps: await rate(copy, 2 * bytes),
      fmaGflops: await rate(fma, size.fmaWorkgroups * flopsOfWorkgroup()),
    };
  } finally {
    runtime.destroy();
    for (const { buffer } of buffers) buffer.destroy();
  }
}

/** A GPU may read a buffer of zeros faster than it reads numbers. */
function fillWithNoise(device: GPUDevice, buffer: GPUBuffer): void {
  const random = new Random(1);
  const noise = Uint32Array.from({ length: 2 ** 18 }, () => random.int(0, 2 ** 32));
  for (let at = 0; at < buffer.size; at += noise.byteLength) {
    device.queue.writeBuffer(buffer, at, noise, 0, Math.min(noise.length, (buffer.size - at) / 4));
  }
}

/** One pass over buffers of so many bytes, `units` times 16 bytes by each invocation. */
function moving(kernel: Kernel, units: number, bytes: number, bindings: Dispatch['bindings']): Dispatch {
  const nWorkgroups = bytes / (16 * units * constantOf(kernel, 'WG_SIZE'));
  return {
    kernel,
    spec: { UNITS: units },
    params: { n_workgroups: nWorkgroups },
    bindings,
    grid: [nWorkgroups, 1, 1],
  };
}

/** Independent chains of four numbers, which hide the latency of a multiply-add, and steps written out. */
const FMA = { CHAINS: 8, UNROLLED: 16 };

function flopsOfWorkgroup(): number {
  const steps = constantOf(fmaKernel, 'STEPS') * FMA.UNROLLED;
  return constantOf(fmaKernel, 'WG_SIZE') * steps * FMA.CHAINS * 4 * 2;
}

/** Milliseconds per dispatch of many in a row: those of the fastest sample, since a ceiling is what can be reached. */
async function fastest(
  runtime: Runtime,
  dispatch: Dispatch,
  { rounds, sampleMs, warmMs }: Size,
): Promise<number> {
  const { device } = runtime;
  const call = (): void => runtime.submit([dispatch]);
  await timeCalls(device, call, 1);
  const repetitions = await chooseRepetitions(device, call, sampleMs);
  const samples: number[] = [];
  for (let round = 0; round < rounds; round++) {
    await warmUpClocks(device, call, warmMs);
    samples.push(await timeCalls(device, call, repetitions));
  }
  return Math.min(...samples);
}
