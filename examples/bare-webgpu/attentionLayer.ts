// Attention with a paged cache in a WebGPU program of your own: its device, its kernels, its buffers, its compute pass.
import { BlockAllocator, createRuntime, PagedKvCache, planAttnWithKvCache } from 'pageflash';
import type { AttentionPlan, AttnWithKvCacheArgs, SequenceId } from 'pageflash';

export const SHAPE = { hidden: 64, nHeads: 4, nKvHeads: 2, headDim: 16 } as const;
/** Tokens of a step, of all chats together. */
const MAX_TOKENS = 16;

const { hidden, nHeads, nKvHeads, headDim } = SHAPE;
/** A row of queries, keys and values, one behind the other. */
const QKV = (nHeads + 2 * nKvHeads) * headDim;

export interface LayerWeights {
  /** [QKV, hidden]: the rows of the queries, then of the keys, then of the values */
  readonly qkv: Float32Array<ArrayBuffer>;
  /** [hidden, nHeads · headDim] */
  readonly out: Float32Array<ArrayBuffer>;
}

/** A kernel of the engine's own: y = x · weightᵀ. */
const LINEAR = /* wgsl */ `
override n_in: u32;
override n_out: u32;
@group(0) @binding(0) var<storage, read> x: array<f32>;       // [rows, n_in]
@group(0) @binding(1) var<storage, read> weight: array<f32>;  // [n_out, n_in]
@group(0) @binding(2) var<storage, read_write> y: array<f32>; // [rows, n_out]

@compute @workgroup_size(64)
fn linear(@builtin(global_invocation_id) id: vec3u) {
  if (id.x >= n_out) { return; }
  var sum = 0.0;
  for (var i = 0u; i < n_in; i++) { sum += x[id.y * n_in + i] * weight[id.x * n_in + i]; }
  y[id.y * n_out + id.x] = sum;
}`;

/** What a step works on. */
export interface AttentionLayer {
  readonly chats: readonly SequenceId[];
  /** [tokens, hidden]: written by the engine before each step */
  readonly x: GPUBuffer;
  /** [tokens, hidden]: the layer's result */
  readonly y: GPUBuffer;
  /** Submits a step of `nNew[b]` tokens of each chat, whose rows are in x one after another. */
  step(nNew: readonly number[]): void;
  destroy(): void;
}

/** A layer's attention for two chats: x → queries, keys and values → attention over the cache → y. */
export async function createAttentionLayer(
  device: GPUDevice,
  weights: LayerWeights,
): Promise<AttentionLayer> {
  const { STORAGE, COPY_DST, COPY_SRC } = GPUBufferUsage;
  const buffer = (n: number) => device.createBuffer({ size: 4 * n, usage: STORAGE | COPY_DST | COPY_SRC });
  const x = buffer(MAX_TOKENS * hidden);
  const qkv = buffer(MAX_TOKENS * QKV);
  const attended = buffer(MAX_TOKENS * nHeads * headDim);
  const y = buffer(MAX_TOKENS * hidden);
  const upload = (numbers: Float32Array<ArrayBuffer>) => {
    const target = buffer(numbers.length);
    device.queue.writeBuffer(target, 0, numbers);
    return target;
  };
  const [qkvWeight, outWeight] = [upload(weights.qkv), upload(weights.out)];

  const module = device.createShaderModule({ code: LINEAR });
  const linear = (nIn: number, nOut: number, buffers: readonly GPUBuffer[]) => {
    const compute = { module, constants: { n_in: nIn, n_out: nOut } };
    const pipeline = device.createComputePipeline({ layout: 'auto', compute });
    const layout = pipeline.getBindGroupLayout(0);
    const entries = buffers.map((bound, binding) => ({ binding, resource: { buffer: bound } }));
    const group = device.createBindGroup({ layout, entries });
    return (pass: GPUComputePassEncoder, nRows: number) => {
      pass.setPipeline(pipeline);
      pass.setBindGroup(0, group);
      pass.dispatchWorkgroups(Math.ceil(nOut / 64), nRows);
    };
  };
  const toQkv = linear(hidden, QKV, [x, qkvWeight, qkv]);
  const toOut = linear(nHeads * headDim, hidden, [attended, outWeight, y]);

  // From here on it is pageflash.
  const runtime = createRuntime(device);
  const model = { nLayers: 1, nKvHeads, headDim, dtype: 'f32' } as const;
  const cache = await PagedKvCache.create(runtime, { ...model, pageSize: 8, tokens: 128 });
  const pages = new BlockAllocator(cache);
  const chats = [pages.create(), pages.create()];
  let plan: AttentionPlan<AttnWithKvCacheArgs> | undefined;

  return {
    chats,
    x,
    y,
    step(nNew) {
      if (chats.some((chat, b) => pages.append(chat, nNew[b]!) === 'full'))
        throw new Error('The cache is full.');
      const batch = pages.batch(chats, nNew);
      const n = batch.nNewTokens;
      // Tensors are views of buffers that you have: here of three parts of each row.
      const part = (firstHead: number, heads: number) =>
        ({
          buffer: qkv,
          dtype: 'f32',
          shape: [n, heads, headDim],
          offset: firstHead * headDim,
          strides: [QKV, headDim, 1],
        }) as const;
      const args = {
        q: part(0, nHeads),
        k: part(nHeads, nKvHeads),
        v: part(nHeads + nKvHeads, nKvHeads),
        out: { buffer: attended, dtype: 'f32', shape: [n, nHeads, headDim] } as const,
      };
      if (plan) plan.update({ ...batch, ...args });
      else plan = planAttnWithKvCache(runtime, { ...batch, ...args, ...cache.layer(0), causal: true });

      // One pass: dispatches of both run in the order in which they are recorded.
      const encoder = device.createCommandEncoder();
      const pass = encoder.beginComputePass();
      toQkv(pass, n);
      plan.record({ ...args, ...cache.layer(0), pass });
      toOut(pass, n);
      pass.end();
      device.queue.submit([encoder.finish()]);
    },
    destroy() {
      plan?.destroy();
      cache.destroy();
      runtime.destroy();
      for (const each of [x, qkv, attended, y, qkvWeight, outWeight]) each.destroy();
    },
  };
}
