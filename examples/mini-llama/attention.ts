import { planAttnWithKvCache, read, rotaryTables, tensorFrom } from 'pageflash';
import type { AttentionPlan, AttnWithKvCacheArgs, PagedKvCache, Runtime, Step, Tensor } from 'pageflash';
import type { Attend } from './llama.js';
import type { LlamaWeights } from './weights.js';

export interface AttentionArgs {
  readonly runtime: Runtime;
  readonly llama: LlamaWeights;
  readonly cache: PagedKvCache;
  /** Maximum number of tokens in a step. Longer prompts are computed in chunks. */
  readonly maxTokens: number;
}

export interface Attention {
  /** Carry out the page copies and swaps of a step, and plan it once for all layers. */
  begin(step: Step): Promise<Attend>;
  destroy(): void;
}

/** Attention of a Llama on the GPU, over a paged cache. */
export function createAttention({ runtime, llama, cache, maxTokens }: AttentionArgs): Attention {
  const { config, shape } = llama;
  const { nHeads, nKvHeads, headDim } = shape;
  const room = (n: number) => runtime.createTensor([maxTokens, n, headDim], 'f32');
  // Allocated for the largest step; all layers of all steps use the same tensors.
  const memory = { q: room(nHeads), k: room(nKvHeads), v: room(nKvHeads), out: room(nHeads) };
  const maxPositions = config.max_position_embeddings;
  const { rotaryDim, rotaryInterleaved, ...tables } = rotaryTables({ config, maxPositions });
  const upload = (table: Float32Array) =>
    tensorFrom(runtime, table, { shape: [maxPositions, rotaryDim / 2], dtype: 'f32' });
  const [rotaryCos, rotarySin] = [upload(tables.rotaryCos), upload(tables.rotarySin)];
  let plan: AttentionPlan<AttnWithKvCacheArgs> | undefined;

  return {
    async begin(step) {
      await cache.movePages(step);
      const rows = (all: Tensor) => ({ ...all, shape: [step.nNewTokens, ...all.shape.slice(1)] });
      const { q, k, v, out } = memory;
      const args = { q: rows(q), k: rows(k), v: rows(v), out: rows(out), ...step };
      const always = { rotaryCos, rotarySin, rotaryInterleaved, causal: true };
      plan?.update(args);
      const planned = (plan ??= planAttnWithKvCache(runtime, { ...args, ...cache.layer(0), ...always }));

      // New keys and values are appended to the layer's pages; then each query attends to its sequence's keys there.
      return async (layer, qkv) => {
        const { queue } = runtime.device;
        for (const name of ['q', 'k', 'v'] as const) queue.writeBuffer(memory[name].buffer, 0, qkv[name]);
        return read(runtime, planned.record(cache.layer(layer)).out);
      };
    },

    destroy() {
      plan?.destroy();
      for (const { buffer } of [...Object.values(memory), rotaryCos, rotarySin]) buffer.destroy();
    },
  };
}
