import type { Json, ModelFiles } from '../../demo/engine/files/modelFiles.js';
import { modelConfig } from '../../demo/engine/model/config.js';
import { layerPieces, modelPieces } from '../../demo/engine/model/tensorNames.js';

/** The config.json of SmolLM2-135M, as published. */
export const SMOLLM2_135M: Json = {
  architectures: ['LlamaForCausalLM'],
  model_type: 'llama',
  bos_token_id: 0,
  eos_token_id: 0,
  hidden_act: 'silu',
  hidden_size: 576,
  intermediate_size: 1536,
  max_position_embeddings: 8192,
  num_attention_heads: 9,
  num_hidden_layers: 30,
  num_key_value_heads: 3,
  rms_norm_eps: 1e-5,
  rope_theta: 100000,
  tie_word_embeddings: true,
  torch_dtype: 'float16',
  vocab_size: 49152,
};

/** A model of some shape with random weights, for measurements: files that are made as they are read. */
export function randomModel(name: string, json: Json): ModelFiles {
  const config = modelConfig(json, { name });
  const pieces = [
    ...modelPieces(config),
    ...Array.from({ length: config.nLayers }, (_, layer) => layerPieces(config, layer)).flat(),
  ];
  let end = 0;
  const entries = pieces.map(({ name: tensor, shape }) => {
    const start = end;
    end += 2 * shape.reduce((product, n) => product * n, 1);
    return [tensor, { dtype: 'F16', shape, data_offsets: [start, end] }] as const;
  });
  const header = new TextEncoder().encode(JSON.stringify(Object.fromEntries(entries)));
  const start = 8 + header.length;
  const head = new Uint8Array(start);
  new DataView(head.buffer).setBigUint64(0, BigInt(header.length), true);
  head.set(header, 8);
  return {
    name,
    text: (file) => Promise.resolve(file === 'config.json' ? JSON.stringify(json) : undefined),
    size: (file) => Promise.resolve(file === 'model.safetensors' ? start + end : undefined),
    read: (_, first, last) =>
      Promise.resolve(last <= start ? head.slice(first, last) : randomHalves((last - first) / 2)),
  };
}

/** f16 numbers between −1/16 and 1/16, some bits of whose mantissa and sign are random. */
function randomHalves(n: number): Uint8Array<ArrayBuffer> {
  const halves = new Uint16Array(n);
  let state = n | 1;
  for (let i = 0; i < n; i++) {
    state = (Math.imul(state, 1664525) + 1013904223) | 0;
    halves[i] = 0x2000 | ((state >>> 16) & 0x8bff);
  }
  return new Uint8Array(halves.buffer);
}
