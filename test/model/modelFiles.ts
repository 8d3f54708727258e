import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { rotaryTables } from '../../src/index.js';
import { decode } from '../../src/core/dtype.js';
import { parseSafeTensors } from './safetensors.js';
import type { LlamaWeights } from './tinyLlamaWeights.js';

/** A config.json, as far as a Llama reads it. */
interface LlamaConfig {
  readonly num_hidden_layers: number;
  readonly hidden_size: number;
  readonly num_attention_heads: number;
  readonly num_key_value_heads: number;
  readonly head_dim: number;
  readonly intermediate_size: number;
  readonly vocab_size: number;
  readonly rms_norm_eps: number;
}

/** A Llama as its files have it, and what PyTorch made of it in f64. */
export interface LlamaFiles {
  readonly weights: LlamaWeights;
  /** [tokens] */
  readonly ids: Int32Array;
  /** [tokens, vocabSize], of one forward pass */
  readonly logits: Float32Array;
}

/** Read a model from a folder, with tables of angles for so many positions. */
export function readLlama(folder: string, maxPositions: number): LlamaFiles {
  const file = (part: string): ArrayBuffer => {
    const { buffer, byteOffset, length } = readFileSync(join(folder, part));
    return buffer.slice(byteOffset, byteOffset + length) as ArrayBuffer;
  };
  const config = JSON.parse(new TextDecoder().decode(file('config.json'))) as LlamaConfig;
  const { tensors } = parseSafeTensors(file('model.safetensors'));
  const numbers = (tensor: string): Float32Array<ArrayBuffer> =>
    decode('f16', new Uint16Array(tensors[tensor]!.bytes));
  /** Files have [out, in]. */
  const matrix = (...names: readonly string[]): Float32Array<ArrayBuffer> => {
    const parts = names.map((part) => ({
      values: numbers(`${part}.weight`),
      shape: tensors[`${part}.weight`]!.shape,
    }));
    const nIn = parts[0]!.shape[1]!;
    const nOut = parts.reduce((sum, { shape }) => sum + shape[0]!, 0);
    const turned = new Float32Array(nIn * nOut);
    let first = 0;
    for (const { values, shape } of parts) {
      for (let o = 0; o < shape[0]!; o++)
        for (let i = 0; i < nIn; i++) turned[i * nOut + first + o] = values[o * nIn + i]!;
      first += shape[0]!;
    }
    return turned;
  };
  const golden = parseSafeTensors(file('golden.safetensors')).tensors;
  return {
    weights: {
      shape: {
        nLayers: config.num_hidden_layers,
        hiddenSize: config.hidden_size,
        nHeads: config.num_attention_heads,
        nKvHeads: config.num_key_value_heads,
        headDim: config.head_dim,
        feedForwardSize: config.intermediate_size,
        vocabSize: config.vocab_size,
      },
      embedding: numbers('model.embed_tokens.weight'),
      layers: Array.from({ length: config.num_hidden_layers }, (_, i) => {
        const layer = `model.layers.${i}`;
        const attention = (part: string): string => `${layer}.self_attn.${part}_proj`;
        return {
          attentionGain: numbers(`${layer}.input_layernorm.weight`),
          qkv: matrix(...['q', 'k', 'v'].map(attention)),
          output: matrix(attention('o')),
          feedForwardGain: numbers(`${layer}.post_attention_layernorm.weight`),
          gate: matrix(`${layer}.mlp.gate_proj`),
          up: matrix(`${layer}.mlp.up_proj`),
          down: matrix(`${layer}.mlp.down_proj`),
        };
      }),
      gain: numbers('model.norm.weight'),
      head: matrix('lm_head'),
      normEpsilon: config.rms_norm_eps,
      ...rotaryTables({ config, maxPositions }),
    },
    ids: new Int32Array(golden['ids']!.bytes),
    logits: new Float32Array(golden['logits']!.bytes),
  };
}
