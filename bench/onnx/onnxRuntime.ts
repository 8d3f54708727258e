/** What the bench uses of onnxruntime-web, which is not installed with the other packages: it takes 150 MB. */
export interface OnnxRuntime {
  readonly env: {
    readonly wasm: { numThreads: number; wasmPaths: string };
    readonly versions: { readonly common: string };
    logLevel: string;
  };
  readonly InferenceSession: {
    create(model: Uint8Array, options: object): Promise<OnnxSession>;
  };
  readonly Tensor: {
    new (type: 'int32', data: Int32Array, dims: readonly number[]): OnnxTensor;
    fromGpuBuffer(
      buffer: GPUBuffer,
      options: { readonly dataType: 'float32' | 'float16'; readonly dims: readonly number[] },
    ): OnnxTensor;
  };
}

export interface OnnxTensor {
  readonly dims: readonly number[];
}

export type OnnxTensors = Readonly<Record<string, OnnxTensor>>;

export interface OnnxSession {
  /** Resolves when the work is submitted; tensors of `fetches` are written. */
  run(feeds: OnnxTensors, fetches: OnnxTensors): Promise<unknown>;
  release(): Promise<void>;
}

/**
 * Loads onnxruntime-web.
 *
 * @param folder URL of its folder `dist`, with a slash at the end
 * @param gpu where WebGPU is, for Node, which has no `navigator.gpu`
 */
export async function loadOnnxRuntime(folder: string, gpu: GPU): Promise<OnnxRuntime> {
  if (!globalThis.navigator?.gpu) {
    Object.defineProperty(globalThis, 'navigator', { value: { gpu }, configurable: true });
  }
  const onnx = (await import(/* @vite-ignore */ `${folder}ort.webgpu.min.mjs`)) as OnnxRuntime;
  onnx.env.logLevel = 'error';
  onnx.env.wasm.numThreads = 1;
  onnx.env.wasm.wasmPaths = folder;
  return onnx;
}

/** Opens a model on a device. Several devices may be in use. */
export function openSession(onnx: OnnxRuntime, device: GPUDevice, model: Uint8Array): Promise<OnnxSession> {
  acceptSharedMemory(device);
  return onnx.InferenceSession.create(model, {
    executionProviders: [{ name: 'webgpu', device }],
    preferredOutputLocation: 'gpu-buffer',
    logSeverityLevel: 3,
  });
}

/** Dawn in Node writes no memory that threads share, which onnxruntime's is: give it a copy. */
function acceptSharedMemory({ queue }: GPUDevice): void {
  if (typeof SharedArrayBuffer === 'undefined' || Object.hasOwn(queue, 'writeBuffer')) return;
  const write = queue.writeBuffer.bind(queue);
  queue.writeBuffer = (buffer, bufferOffset, data, dataOffset = 0, size): undefined => {
    if (!ArrayBuffer.isView(data) || !(data.buffer instanceof SharedArrayBuffer)) {
      write(buffer, bufferOffset, data, dataOffset, size);
      return;
    }
    const elementBytes = 'BYTES_PER_ELEMENT' in data ? (data.BYTES_PER_ELEMENT as number) : 1;
    const start = dataOffset * elementBytes;
    const bytes = size === undefined ? data.byteLength - start : size * elementBytes;
    // The copy of an array of any kind has memory of its own.
    write(buffer, bufferOffset, new Uint8Array(data.buffer, data.byteOffset + start, bytes).slice());
  };
}
