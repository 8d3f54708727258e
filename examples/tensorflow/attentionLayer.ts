// Attention with a paged cache in a TensorFlow.js program: its tensors go in and come out, and stay on the GPU.
import { WebGPUBackend } from '@tensorflow/tfjs-backend-webgpu';
import * as tf from '@tensorflow/tfjs-core';
import { BlockAllocator, createRuntime, PagedKvCache, planAttnWithKvCache } from 'pageflash';
import type { AttentionPlan, AttnWithKvCacheArgs } from 'pageflash';

export const SHAPE = { hidden: 64, nHeads: 4, nKvHeads: 2, headDim: 16 } as const;
/** Tokens of a step, of all chats together. */
const MAX_TOKENS = 16;

const { nHeads, nKvHeads, headDim } = SHAPE;
/** A row of queries, keys and values, one behind the other. */
const QKV = (nHeads + 2 * nKvHeads) * headDim;

export interface LayerWeights {
  /** [QKV, hidden]: the rows of the queries, then of the keys, then of the values */
  readonly qkv: tf.Tensor2D;
  /** [hidden, nHeads · headDim] */
  readonly out: tf.Tensor2D;
}

/**
 * Lets TensorFlow.js compute on a device of yours. By itself it makes one without f16 and subgroups, which is
 * `(tf.backend() as WebGPUBackend).device`, and would do as well.
 */
export async function useDevice(device: GPUDevice): Promise<void> {
  tf.removeBackend('webgpu');
  tf.registerBackend('webgpu', () => new WebGPUBackend(device, device.adapterInfo));
  if (!(await tf.setBackend('webgpu'))) throw new Error('TensorFlow.js does not take the device.');
}

export interface AttentionLayer {
  /** Takes `nNew[b]` tokens of each chat, whose rows are in x [tokens, hidden] one after another. Returns y, likewise. */
  step(x: tf.Tensor2D, nNew: readonly number[]): tf.Tensor2D;
  destroy(): void;
}

/** A layer's attention for two chats: x → queries, keys and values → attention over the cache → y. */
export async function createAttentionLayer(weights: LayerWeights): Promise<AttentionLayer> {
  const { device } = tf.backend() as WebGPUBackend;
  const runtime = createRuntime(device);
  const model = { nLayers: 1, nKvHeads, headDim, dtype: 'f32' } as const;
  const cache = await PagedKvCache.create(runtime, { ...model, pageSize: 8, tokens: 128 });
  const pages = new BlockAllocator(cache);
  const chats = [pages.create(), pages.create()];
  const attended = runtime.createTensor([MAX_TOKENS, nHeads, headDim], 'f32');
  let plan: AttentionPlan<AttnWithKvCacheArgs> | undefined;

  /** rows [tokens, QKV] → [tokens, nHeads · headDim] */
  function attend(rows: tf.Tensor2D, nNew: readonly number[]): tf.Tensor2D {
    if (chats.some((chat, b) => pages.append(chat, nNew[b]!) === 'full'))
      throw new Error('The cache is full.');
    const batch = pages.batch(chats, nNew);
    const n = batch.nNewTokens;
    // Submits what TensorFlow.js has recorded, so it comes before our work. The buffer is a copy, made on the GPU.
    const { buffer, tensorRef } = rows.dataToGPU();
    const part = (firstHead: number, heads: number) =>
      ({
        buffer: buffer!,
        dtype: 'f32',
        shape: [n, heads, headDim],
        offset: firstHead * headDim,
        strides: [QKV, headDim, 1],
      }) as const;
    const args = {
      q: part(0, nHeads),
      k: part(nHeads, nKvHeads),
      v: part(nHeads + nKvHeads, nKvHeads),
      out: { ...attended, shape: [n, nHeads, headDim] },
    };
    if (plan) plan.update({ ...batch, ...args });
    else plan = planAttnWithKvCache(runtime, { ...batch, ...args, ...cache.layer(0), causal: true });
    // Without a pass, it is submitted at once: what TensorFlow.js records next will find the result.
    plan.record({ ...args, ...cache.layer(0) });
    // What TensorFlow.js writes to the buffer from here on is submitted later.
    tensorRef.dispose();
    return tf.tensor({ buffer: attended.buffer, zeroCopy: true }, [n, nHeads * headDim], 'float32');
  }

  return {
    step: (x, nNew) =>
      tf.tidy(() => {
        const rows = tf.matMul(x, weights.qkv, false, true);
        return tf.matMul(attend(rows, nNew), weights.out, false, true);
      }),
    destroy() {
      plan?.destroy();
      cache.destroy();
      attended.buffer.destroy();
      runtime.destroy();
    },
  };
}
