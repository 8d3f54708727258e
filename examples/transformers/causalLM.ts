// transformers.js generates with its own loop, and takes for its model a session of yours: here the decoder with a paged cache.
import { LlamaForCausalLM } from '@huggingface/transformers';
import * as ort from 'onnxruntime-web/webgpu';
import { read } from 'pageflash';
import type { Decoder } from '../onnxruntime/decoder.js';

/** The model's config.json, of which generation reads a little. */
export interface ModelConfig {
  readonly model_type: string;
  readonly vocab_size: number;
  readonly num_hidden_layers: number;
  readonly num_attention_heads: number;
  readonly hidden_size: number;
  readonly eos_token_id: number | null;
}

/** A model of transformers.js, for `generate` and for pipelines, that computes on the decoder. One chat at a time. */
export function causalLM(config: ModelConfig, decoder: Decoder): LlamaForCausalLM {
  const { vocab_size: vocab } = config;
  const model = {
    // Keys and values are not among them: it takes them for none, and leaves them to us.
    inputNames: ['input_ids', 'attention_mask'],
    outputNames: ['logits'],
    inputMetadata: [],
    async run({ input_ids: ids, attention_mask: mask }: Readonly<Record<string, ort.Tensor>>) {
      const tokens = Array.from(ids!.data, Number);
      if (ids!.dims[0] !== 1) throw new Error('This model generates one sequence at a time.');
      // The mask has a number for each token so far, so a chat begins where all tokens are new.
      if (mask!.dims[1] === tokens.length) decoder.restart(0);
      const logits = await decoder.step([tokens]);
      // It samples on the CPU, from the last token's logits: nothing else is read back.
      const [shape, offset] = [[vocab], (tokens.length - 1) * vocab];
      const row = await read(decoder.runtime, { buffer: logits.gpuBuffer, dtype: 'f32', shape, offset });
      logits.dispose();
      return { logits: new ort.Tensor('float32', row, [1, 1, vocab]) };
    },
    release: () => decoder.destroy(),
  };
  return new LlamaForCausalLM(config, { model }, {});
}
