import { decode, encode } from '../../src/core/dtype.js';
import { elementCount, type Tensor } from '../../src/core/tensor.js';
import { planAttnWithKvCache, type Runtime } from '../../src/index.js';
import { attnVarlenReference, type HostTensor } from '../../src/reference/attention.js';
import { upload } from '../../tools/deviceTensor.js';
import { Random } from '../../tools/random.js';
import { PAGE_SIZE } from '../cases/shapes.js';
import { firstMiddleLast, type ExpectedRows } from '../cases/workload.js';
import type { OnnxCase } from './onnxCases.js';
import type { OnnxRuntime, OnnxTensor, OnnxTensors } from './onnxRuntime.js';

/** The numbers of a step, the same for pageflash and onnxruntime, rounded to the dtype. */
export interface OnnxNumbers {
  /** [nTokens, Hq, D] */
  readonly q: HostTensor;
  /** [nKeys, Hkv, D], the new tokens' last */
  readonly k: HostTensor;
  readonly v: HostTensor;
}

export function onnxNumbers({ dtype, nTokens, nKeys, nHeads, nKvHeads, headDim }: OnnxCase): OnnxNumbers {
  const random = new Random(nKeys);
  const create = (shape: readonly number[]): HostTensor => ({
    data: decode(dtype, encode(dtype, random.normals(elementCount(shape)))),
    shape,
  });
  return {
    q: create([nTokens, nHeads, headDim]),
    k: create([nKeys, nKvHeads, headDim]),
    v: create([nKeys, nKvHeads, headDim]),
  };
}

/** The reference's output for all heads of a few tokens. */
export function onnxExpectedRows({ q, k, v }: OnnxNumbers, { nTokens, nKeys }: OnnxCase): ExpectedRows[] {
  const rowSize = q.data.length / nTokens;
  return firstMiddleLast(nTokens).map((token) => {
    const one: HostTensor = {
      data: q.data.subarray(token * rowSize, (token + 1) * rowSize),
      shape: [1, ...q.shape.slice(1)],
    };
    const cuSeqlensK = [0, nKeys - nTokens + token + 1];
    const { out } = attnVarlenReference({ q: one, k, v, cuSeqlensQ: [0, 1], cuSeqlensK, causal: true });
    return { expected: out.data, firstIndex: token * rowSize };
  });
}

/** A step on a device: `call` submits all of it, as an engine would each time. */
export interface OnnxStep {
  /** [nTokens, Hq, D] */
  readonly out: Tensor;
  readonly call: () => void | Promise<unknown>;
  destroy(): void;
}

/** The step by pageflash: a plan is updated, and recorded into a pass of its own. */
export function pageflashStep(runtime: Runtime, onnxCase: OnnxCase, numbers: OnnxNumbers): OnnxStep {
  const { device } = runtime;
  const { dtype, nTokens, nKeys, nHeads, nKvHeads, headDim } = onnxCase;
  const nPages = Math.ceil(nKeys / PAGE_SIZE);
  const blockTable = new Random(nPages).permutation(nPages);
  const cacheOf = (rows: HostTensor): Tensor =>
    upload(
      device,
      dtype,
      [nPages, PAGE_SIZE, nKvHeads, headDim],
      inPages(rows, onnxCase, { blockTable, pageSize: PAGE_SIZE }),
    );
  const rows = (heads: number, { data }: HostTensor): Tensor =>
    upload(device, dtype, [1, nTokens, heads, headDim], data);
  const tensors = {
    q: rows(nHeads, numbers.q),
    k: rows(nKvHeads, newTokens(numbers.k, onnxCase)),
    v: rows(nKvHeads, newTokens(numbers.v, onnxCase)),
    kCache: cacheOf(numbers.k),
    vCache: cacheOf(numbers.v),
    out: runtime.createTensor([1, nTokens, nHeads, headDim], dtype),
  };
  const past = nKeys - nTokens;
  const plan = planAttnWithKvCache(runtime, { ...tensors, cacheSeqlens: past, blockTable, causal: true });
  let step = 0;
  return {
    out: { ...tensors.out, shape: [nTokens, nHeads, headDim] },
    call() {
      // A decode step is one token longer than the last: lengths alternate, so that every step is planned anew.
      plan.update({ cacheSeqlens: past > 0 ? past - (step++ % 2) : 0 });
      const encoder = device.createCommandEncoder();
      const pass = encoder.beginComputePass();
      plan.record({ ...tensors, pass });
      pass.end();
      device.queue.submit([encoder.finish()]);
    },
    destroy() {
      plan.destroy();
      for (const { buffer } of Object.values(tensors)) buffer.destroy();
    },
  };
}

/** What is opened for a case: the library, its session, and the device that both are on. */
export interface OnnxPlace {
  readonly onnx: OnnxRuntime;
  readonly device: GPUDevice;
  readonly run: (feeds: OnnxTensors, fetches: OnnxTensors) => Promise<unknown>;
}

/** The step by onnxruntime: `session.run` with all tensors on the GPU, and the cache written in place. */
export function onnxStep(place: OnnxPlace, onnxCase: OnnxCase, numbers: OnnxNumbers): OnnxStep {
  const { onnx, device, run } = place;
  const { dtype, nTokens, nKeys, nHeads, nKvHeads, headDim } = onnxCase;
  const dataType = dtype === 'f16' ? 'float16' : 'float32';
  const past = nKeys - nTokens;
  const buffers: GPUBuffer[] = [];
  const onGpu = (dims: readonly number[], data: ArrayLike<number>): OnnxTensor & { buffer: GPUBuffer } => {
    const { buffer } = upload(device, dtype, dims, data);
    buffers.push(buffer);
    return Object.assign(onnx.Tensor.fromGpuBuffer(buffer, { dataType, dims }), { buffer });
  };
  const ints = (...values: readonly number[]) => Int32Array.from(values);
  const int32 = (values: Int32Array, dims: readonly number[] = [values.length]): OnnxTensor =>
    new onnx.Tensor('int32', values, dims);

  const isPaged = onnxCase.operator === 'PagedAttention';
  const rows = (heads: number, { data }: HostTensor) =>
    onGpu(isPaged ? [nTokens, heads * headDim] : [1, nTokens, heads * headDim], data);
  const nPages = Math.ceil(nKeys / ONNX_PAGE_SIZE);
  const blockTable = new Random(nPages).permutation(nPages);
  const cacheOf = (keys: HostTensor) =>
    isPaged
      ? onGpu(
          [nPages, ONNX_PAGE_SIZE, nKvHeads, headDim],
          inPages(keys, onnxCase, { blockTable, pageSize: ONNX_PAGE_SIZE }),
        )
      : onGpu([1, nKvHeads, nKeys, headDim], byHead(keys, onnxCase));
  const shared = {
    query: rows(nHeads, numbers.q),
    key: rows(nKvHeads, newTokens(numbers.k, onnxCase)),
    value: rows(nKvHeads, newTokens(numbers.v, onnxCase)),
  };
  const output = rows(nHeads, { ...numbers.q, data: new Float32Array(numbers.q.data.length) });
  const k = cacheOf(numbers.k);
  const v = cacheOf(numbers.v);
  const feeds = isPaged
    ? {
        ...shared,
        key_cache: k,
        value_cache: v,
        cumulative_sequence_length: int32(ints(0, nTokens)),
        past_seqlens: int32(ints(past)),
        block_table: int32(Int32Array.from(blockTable), [1, nPages]),
      }
    : {
        ...shared,
        past_key: k,
        past_value: v,
        seqlens_k: int32(ints(nKeys - 1)),
        total_sequence_length: int32(ints(nKeys)),
      };
  const fetches = isPaged
    ? { output, key_cache_out: k, value_cache_out: v }
    : { output, present_key: k, present_value: v };
  return {
    out: { buffer: output.buffer, dtype, shape: [nTokens, nHeads, headDim] },
    call: () => run(feeds, fetches),
    destroy() {
      for (const buffer of buffers) buffer.destroy();
    },
  };
}

/** Its kernel for prompts takes pages from 32 tokens on. */
const ONNX_PAGE_SIZE = 32;

function newTokens({ data, shape }: HostTensor, { nTokens }: OnnxCase): HostTensor {
  const rowSize = shape[1]! * shape[2]!;
  return { data: data.subarray(data.length - nTokens * rowSize), shape: [nTokens, ...shape.slice(1)] };
}

interface Pages {
  readonly blockTable: Int32Array;
  readonly pageSize: number;
}

/** The keys before the new ones in their pages [P, pageSize, Hkv, D]; other slots are 0. */
function inPages(
  { data, shape }: HostTensor,
  { nKeys, nTokens }: OnnxCase,
  { blockTable, pageSize }: Pages,
): Float32Array {
  const rowSize = shape[1]! * shape[2]!;
  const pages = new Float32Array(blockTable.length * pageSize * rowSize);
  for (let key = 0; key < nKeys - nTokens; key++) {
    const slot = blockTable[Math.floor(key / pageSize)]! * pageSize + (key % pageSize);
    pages.set(data.subarray(key * rowSize, (key + 1) * rowSize), slot * rowSize);
  }
  return pages;
}

/** The keys before the new ones as [Hkv, nKeys, D]; other slots are 0. */
function byHead({ data }: HostTensor, { nKeys, nTokens, nKvHeads, headDim }: OnnxCase): Float32Array {
  const heads = new Float32Array(nKvHeads * nKeys * headDim);
  for (let key = 0; key < nKeys - nTokens; key++) {
    for (let head = 0; head < nKvHeads; head++) {
      const from = (key * nKvHeads + head) * headDim;
      heads.set(data.subarray(from, from + headDim), (head * nKeys + key) * headDim);
    }
  }
  return heads;
}
