import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { ModelShape } from 'pageflash';
import type { Matrix } from './layers.js';
import { parseSafetensors } from './safetensors.js';

/** The fields of config.json that are needed, under their own names. */
export interface LlamaConfig {
  readonly num_hidden_layers: number;
  readonly hidden_size: number;
  readonly num_attention_heads: number;
  readonly num_key_value_heads: number;
  readonly head_dim: number;
  readonly intermediate_size: number;
  readonly vocab_size: number;
  readonly rms_norm_eps: number;
  readonly max_position_embeddings: number;
  readonly tie_word_embeddings?: boolean;
}

export interface LlamaWeights {
  readonly config: LlamaConfig;
  /** The sizes of the config, under pageflash's names. */
  readonly shape: ModelShape;
  /** [vocabSize, hiddenSize] */
  readonly embedding: Matrix;
  readonly layers: readonly LayerWeights[];
  /** [hiddenSize] */
  readonly finalNorm: Float32Array<ArrayBuffer>;
  /** [vocabSize, hiddenSize] */
  readonly outputHead: Matrix;
}

export interface LayerWeights {
  /** [hiddenSize] */
  readonly attentionNorm: Float32Array<ArrayBuffer>;
  /** [nHeads · headDim, hiddenSize] */
  readonly q: Matrix;
  /** [nKvHeads · headDim, hiddenSize] */
  readonly k: Matrix;
  readonly v: Matrix;
  /** [hiddenSize, nHeads · headDim] */
  readonly o: Matrix;
  /** [hiddenSize] */
  readonly feedForwardNorm: Float32Array<ArrayBuffer>;
  /** [feedForwardSize, hiddenSize] */
  readonly gate: Matrix;
  readonly up: Matrix;
  /** [hiddenSize, feedForwardSize] */
  readonly down: Matrix;
}

/** Read a Llama from a folder with the config.json and model.safetensors of a Hugging Face checkpoint. */
export async function loadLlama(folder: string): Promise<LlamaWeights> {
  const config = JSON.parse(await readFile(join(folder, 'config.json'), 'utf8')) as LlamaConfig;
  const tensors = await readSafetensors(join(folder, 'model.safetensors'));
  const vector = (name: string): Float32Array<ArrayBuffer> => {
    const tensor = tensors.get(name);
    if (!(tensor?.data instanceof Float32Array)) throw new Error(`The checkpoint has no weight ${name}.`);
    return tensor.data;
  };
  const matrix = (name: string): Matrix => {
    const data = vector(name);
    const [nOut = 0, nIn = 0] = tensors.get(name)?.shape ?? [];
    return { nOut, nIn, data };
  };
  return {
    config,
    shape: shapeOf(config),
    embedding: matrix('model.embed_tokens.weight'),
    layers: Array.from({ length: config.num_hidden_layers }, (_, i) => ({
      attentionNorm: vector(`model.layers.${i}.input_layernorm.weight`),
      q: matrix(`model.layers.${i}.self_attn.q_proj.weight`),
      k: matrix(`model.layers.${i}.self_attn.k_proj.weight`),
      v: matrix(`model.layers.${i}.self_attn.v_proj.weight`),
      o: matrix(`model.layers.${i}.self_attn.o_proj.weight`),
      feedForwardNorm: vector(`model.layers.${i}.post_attention_layernorm.weight`),
      gate: matrix(`model.layers.${i}.mlp.gate_proj.weight`),
      up: matrix(`model.layers.${i}.mlp.up_proj.weight`),
      down: matrix(`model.layers.${i}.mlp.down_proj.weight`),
    })),
    finalNorm: vector('model.norm.weight'),
    outputHead: matrix(config.tie_word_embeddings ? 'model.embed_tokens.weight' : 'lm_head.weight'),
  };
}

/** Read a safetensors file. Returns its tensors by name. */
export async function readSafetensors(path: string): Promise<ReturnType<typeof parseSafetensors>> {
  const { buffer, byteOffset, byteLength } = await readFile(path);
  return parseSafetensors(buffer.slice(byteOffset, byteOffset + byteLength) as ArrayBuffer);
}

function shapeOf(config: LlamaConfig): ModelShape {
  return {
    nLayers: config.num_hidden_layers,
    hiddenSize: config.hidden_size,
    nHeads: config.num_attention_heads,
    nKvHeads: config.num_key_value_heads,
    headDim: config.head_dim,
    feedForwardSize: config.intermediate_size,
    vocabSize: config.vocab_size,
  };
}
