import type { AttentionPlan, AttnWithKvCacheArgs, Runtime, Tensor } from 'pageflash';
import type { Attend } from './llama.js';
import { planAttnWithKvCache, read, rotaryTables, tensorFrom } from './pending.js';
import type { PagedKvCache, Step } from './pending.js';
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
  const { nHeads, nKvHeads, headDim, maxPositions, rope } = llama.config;
  const room = (n: number) => runtime.createTensor([maxTokens, n, headDim], 'f32');
  // For the largest step; all layers of all steps use the same.
  const memory = { q: room(nHeads), k: room(nKvHeads), v: room(nKvHeads), out: room(nHeads) };
  const tables = rotaryTables({ headDim, maxPositions, theta: rope.rope_theta, scaling: rope });
  const shape = [maxPositions, tables.rotaryDim / 2];
  const rotaryCos = tensorFrom(runtime, tables.rotaryCos, { shape, dtype: 'f32' });
  const rotarySin = tensorFrom(runtime, tables.rotarySin, { shape, dtype: 'f32' });
  let plan: AttentionPlan<AttnWithKvCacheArgs> | undefined;

  return {
    async begin(step) {
      await cache.movePages(step);
      const rows = (all: Tensor) => ({ ...all, shape: [step.nNewTokens, ...all.shape.slice(1)] });
      const { q, k, v, out } = memory;
      const args = { q: rows(q), k: rows(k), v: rows(v), out: rows(out), ...step };
      // Checkpoints of Hugging Face rotate elements t and t + headDim / 2 of a head as a pair, not 2t and 2t + 1.
      const always = { rotaryCos, rotarySin, rotaryInterleaved: false, causal: true };
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
