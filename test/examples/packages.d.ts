// What the examples use of packages that are installed only for their tests.

declare module '@tensorflow/tfjs-core' {
  export interface Tensor {
    /** Downloads the elements. */
    data(): Promise<Float32Array>;
    /** Copies the elements on the GPU, and submits what is recorded. */
    dataToGPU(): { readonly buffer?: GPUBuffer; readonly tensorRef: Tensor };
    dispose(): void;
  }
  export interface Tensor2D extends Tensor {
    readonly shape: [number, number];
  }
  export interface WebGPUData {
    readonly buffer: GPUBuffer;
    readonly zeroCopy?: boolean;
  }
  export type KernelBackend = object;
  export function tensor(values: WebGPUData, shape: [number, number], dtype: 'float32'): Tensor2D;
  export function tensor2d(values: Float32Array, shape: [number, number]): Tensor2D;
  export function matMul(a: Tensor2D, b: Tensor2D, transposeA: boolean, transposeB: boolean): Tensor2D;
  export function tidy<T>(work: () => T): T;
  export function memory(): { readonly numTensors: number };
  export function backend(): KernelBackend;
  export function removeBackend(name: string): void;
  export function registerBackend(name: string, factory: () => KernelBackend): boolean;
  export function setBackend(name: string): Promise<boolean>;
}

declare module '@tensorflow/tfjs-backend-webgpu' {
  export class WebGPUBackend {
    readonly device: GPUDevice;
    constructor(device: GPUDevice, adapterInfo?: GPUAdapterInfo);
  }
}

declare module 'onnxruntime-web/webgpu' {
  export class Tensor {
    constructor(type: 'int32' | 'float32', data: Int32Array | Float32Array, dims: readonly number[]);
    static fromGpuBuffer(
      buffer: GPUBuffer,
      options: { readonly dataType: 'float32'; readonly dims: readonly number[] },
    ): Tensor;
    readonly dims: readonly number[];
    readonly data: Float32Array | Int32Array | BigInt64Array;
    readonly gpuBuffer: GPUBuffer;
    /** Downloads the elements. */
    getData(): Promise<Float32Array>;
    dispose(): void;
  }
  export interface SessionOptions {
    readonly executionProviders: readonly (
      'wasm' | { readonly name: 'webgpu'; readonly device: GPUDevice }
    )[];
    readonly preferredOutputLocation?: 'gpu-buffer';
  }
  export class InferenceSession {
    static create(model: Uint8Array, options: SessionOptions): Promise<InferenceSession>;
    run(feeds: Readonly<Record<string, Tensor>>): Promise<Readonly<Record<string, Tensor>>>;
    release(): Promise<void>;
  }
  export const env: {
    readonly wasm: { numThreads: number; wasmPaths: string };
    logLevel: 'error';
  };
}

declare module '@huggingface/transformers' {
  import type * as ort from 'onnxruntime-web/webgpu';

  export class Tensor {
    constructor(type: 'int64', data: BigInt64Array, dims: readonly number[]);
    readonly data: BigInt64Array;
  }
  /** What it asks of a session. */
  export interface Session {
    readonly inputNames: readonly string[];
    readonly outputNames: readonly string[];
    readonly inputMetadata: readonly object[];
    run(feeds: Readonly<Record<string, ort.Tensor>>): Promise<Readonly<Record<string, ort.Tensor>>>;
    release(): Promise<void>;
  }
  export class LlamaForCausalLM {
    constructor(config: object, sessions: Readonly<Record<'model', Session>>, configs: object);
    generate(options: {
      readonly input_ids: Tensor;
      readonly attention_mask: Tensor;
      readonly max_new_tokens: number;
      readonly do_sample: boolean;
    }): Promise<Tensor>;
    dispose(): Promise<unknown>;
  }
}
