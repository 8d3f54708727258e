import { Gpu } from '../../demo/engine/gpu/gpu.js';
import { decodeWeights } from '../../demo/engine/kernels/layersReference.js';
import { MatrixWriter, type Matrix } from '../../demo/engine/model/matrix.js';
import { weightRowBytes, type WeightFormat } from '../../demo/engine/model/weightFormats.js';
import { Random } from '../../tools/random.js';
import { readBytes } from './gpuArrays.js';

export interface MatrixOf {
  readonly format: WeightFormat;
  readonly nIn: number;
  readonly nOut: number;
  readonly seed: number;
}

/** A matrix of random weights. */
export function makeMatrix(gpu: Gpu, { format, nIn, nOut, seed }: MatrixOf): Matrix {
  const writer = new MatrixWriter(gpu, { label: 'weights', nOut, nIn, format });
  const numbers = new Random(seed).normals(nOut * nIn);
  writer.write(0, 'f32', new Uint8Array(numbers.buffer));
  return writer.matrix;
}

/** The numbers that the first part of a matrix holds. */
export async function storedWeights(gpu: Gpu, { format, nIn, parts }: Matrix): Promise<Float64Array> {
  const [part] = parts;
  const weights = new Uint8Array(await readBytes(gpu, part!.weights));
  const scales = part!.scales && { scales: new Uint16Array(await readBytes(gpu, part!.scales)) };
  return decodeWeights(format, { weights, ...scales }, nIn).slice(0, part!.nRows * nIn);
}

/** The same device, on which a binding holds so many rows of such a matrix. */
export function narrow(gpu: Gpu, nRows: number, { format, nIn }: Pick<MatrixOf, 'format' | 'nIn'>): Gpu {
  const { device } = gpu;
  const { maxBufferSize } = device.limits;
  return new Gpu({
    limits: { maxBufferSize, maxStorageBufferBindingSize: nRows * weightRowBytes(format, nIn) },
    queue: device.queue,
    createBuffer: (descriptor: GPUBufferDescriptor) => device.createBuffer(descriptor),
    pushErrorScope: (filter: GPUErrorFilter) => device.pushErrorScope(filter),
    popErrorScope: () => device.popErrorScope(),
  } as unknown as GPUDevice);
}
