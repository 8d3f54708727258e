// Attention with a paged cache in a TypeGPU program: its root, its typed buffers, its pipelines, one pass for all.
import { BlockAllocator, createRuntime, PagedKvCache, planAttnWithKvCache } from 'pageflash';
import type { AttentionPlan, AttnWithKvCacheArgs } from 'pageflash';
import { tgpu, d, type StorageFlag, type TgpuBuffer, type TgpuRoot } from 'typegpu';

export const SHAPE = { hidden: 64, nHeads: 4, nKvHeads: 2, headDim: 16 } as const;
/** Tokens of a step, of all chats together. */
export const MAX_TOKENS = 16;

const { hidden, nHeads, nKvHeads, headDim } = SHAPE;
/** A row of queries, keys and values, one behind the other. */
const QKV = (nHeads + 2 * nKvHeads) * headDim;

export type Numbers = TgpuBuffer<d.WgslArray<d.F32>> & StorageFlag;

export interface LayerWeights {
  /** [QKV, hidden]: the rows of the queries, then of the keys, then of the values */
  readonly qkv: Numbers;
  /** [hidden, nHeads · headDim] */
  readonly out: Numbers;
}

const linearLayout = tgpu.bindGroupLayout({
  x: { storage: d.arrayOf(d.f32) }, // [rows, nIn]
  weight: { storage: d.arrayOf(d.f32) }, // [nOut, nIn]
  y: { storage: d.arrayOf(d.f32), access: 'mutable' }, // [rows, nOut]
});

/** A kernel of the engine's own: y = x · weightᵀ. In TypeScript with 'use gpu', where its build plugin is in use. */
const linearKernel = (nIn: number, nOut: number) =>
  tgpu
    .computeFn({ in: { id: d.builtin.globalInvocationId }, workgroupSize: [64] })(
      /* wgsl */ `{
  if (in.id.x >= ${nOut}u) { return; }
  var sum = 0.0;
  for (var i = 0u; i < ${nIn}u; i++) {
    sum += layout.$.x[in.id.y * ${nIn}u + i] * layout.$.weight[in.id.x * ${nIn}u + i];
  }
  layout.$.y[in.id.y * ${nOut}u + in.id.x] = sum;
}`,
    )
    .$uses({ layout: linearLayout });

export interface AttentionLayer {
  /** [MAX_TOKENS, hidden]: written by the engine before each step */
  readonly x: Numbers;
  /** [MAX_TOKENS, hidden]: the layer's result */
  readonly y: Numbers;
  /** Submits a step of `nNew[b]` tokens of each chat, whose rows are in x one after another. */
  step(nNew: readonly number[]): void;
  destroy(): void;
}

/** A layer's attention for two chats: x → queries, keys and values → attention over the cache → y. */
export async function createAttentionLayer(root: TgpuRoot, weights: LayerWeights): Promise<AttentionLayer> {
  const numbers = (n: number): Numbers => root.createBuffer(d.arrayOf(d.f32, n)).$usage('storage');
  const x = numbers(MAX_TOKENS * hidden);
  const qkv = numbers(MAX_TOKENS * QKV);
  const attended = numbers(MAX_TOKENS * nHeads * headDim);
  const y = numbers(MAX_TOKENS * hidden);

  const linear = (nIn: number, nOut: number, bound: { x: Numbers; weight: Numbers; y: Numbers }) => {
    const pipeline = root
      .createComputePipeline({ compute: linearKernel(nIn, nOut) })
      .with(root.createBindGroup(linearLayout, bound));
    return (pass: GPUComputePassEncoder, nRows: number) =>
      pipeline.with(pass).dispatchWorkgroups(Math.ceil(nOut / 64), nRows);
  };
  const toQkv = linear(hidden, QKV, { x, weight: weights.qkv, y: qkv });
  const toOut = linear(nHeads * headDim, hidden, { x: attended, weight: weights.out, y });

  // From here on it is pageflash, on TypeGPU's device and in its buffers.
  const runtime = createRuntime(root.device);
  const model = { nLayers: 1, nKvHeads, headDim, dtype: 'f32' } as const;
  const cache = await PagedKvCache.create(runtime, { ...model, pageSize: 8, tokens: 128 });
  const pages = new BlockAllocator(cache);
  const chats = [pages.create(), pages.create()];
  const [qkvBuffer, attendedBuffer] = [root.unwrap(qkv), root.unwrap(attended)];
  let plan: AttentionPlan<AttnWithKvCacheArgs> | undefined;

  return {
    x,
    y,
    step(nNew) {
      if (chats.some((chat, b) => pages.append(chat, nNew[b]!) === 'full'))
        throw new Error('The cache is full.');
      const batch = pages.batch(chats, nNew);
      const n = batch.nNewTokens;
      const part = (firstHead: number, heads: number) =>
        ({
          buffer: qkvBuffer,
          dtype: 'f32',
          shape: [n, heads, headDim],
          offset: firstHead * headDim,
          strides: [QKV, headDim, 1],
        }) as const;
      const args = {
        q: part(0, nHeads),
        k: part(nHeads, nKvHeads),
        v: part(nHeads + nKvHeads, nKvHeads),
        out: { buffer: attendedBuffer, dtype: 'f32', shape: [n, nHeads, headDim] } as const,
      };
      if (plan) plan.update({ ...batch, ...args });
      else plan = planAttnWithKvCache(runtime, { ...batch, ...args, ...cache.layer(0), causal: true });

      // One pass of WebGPU's own, which both record into.
      const encoder = root.device.createCommandEncoder();
      const pass = encoder.beginComputePass();
      toQkv(pass, n);
      plan.record({ ...args, ...cache.layer(0), pass });
      toOut(pass, n);
      pass.end();
      root.device.queue.submit([encoder.finish()]);
    },
    destroy() {
      plan?.destroy();
      cache.destroy();
      runtime.destroy();
      for (const each of [x, qkv, attended, y]) each.destroy();
    },
  };
}
