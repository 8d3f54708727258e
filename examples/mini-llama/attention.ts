import { planAttnWithKvCache, read, rotaryTables, tensorFrom } from 'pageflash';
import type { AttentionPlan, AttnWithKvCacheArgs, PagedKvCache, Runtime, Step, Tensor } from 'pageflash';
import type { Attend } from './llama.js';
import type { LlamaWeights } from './weights.js';

export interface AttentionArgs {
  readonly runtime: Runtime;
  readonly llama: LlamaWeights;
  readonly cache: PagedKvCache;
  /** The most tokens of a step. Longer prompts are computed in chunks. */
  readonly maxTokens: number;
}

export interface Attention {
  /** Move pages to where a step needs them, and plan once what all layers of it have in common. */
  begin(step: Step): Promise<Attend>;
  destroy(): void;
}

/** The attention of a Llama on the GPU, over a cache in pages. */
export function createAttention({ runtime, llama, cache, maxTokens }: AttentionArgs): Attention {
  const { config, shape } = llama;
  const { nHeads, nKvHeads, headDim } = shape;
  const room = (n: number) => runtime.createTensor([maxTokens, n, headDim], 'f32');
  // For the largest step; all layers of all steps use the same.
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

      // New keys and values go to the pages of the layer; then each query sees what its sequence has there.
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
