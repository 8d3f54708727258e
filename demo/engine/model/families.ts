import { refuse } from '../engineError.js';
import type { Json } from '../files/modelFiles.js';

/** Models whose layers differ in no more than a `ModelConfig` says. SmolLM and Llama 2 and 3 are of the family llama. */
export type Family = 'llama' | 'mistral' | 'qwen2' | 'qwen3' | 'gemma2' | 'gemma3' | 'phi3';

/** The families, by the `model_type` of a config.json. */
const MODEL_TYPES: Readonly<Record<string, Family>> = {
  llama: 'llama',
  mistral: 'mistral',
  qwen2: 'qwen2',
  qwen3: 'qwen3',
  gemma2: 'gemma2',
  gemma3: 'gemma3',
  gemma3_text: 'gemma3',
  phi3: 'phi3',
};

/** The class that computes logits, by `model_type`. Gemma 3 has another one for text with images. */
const ARCHITECTURES: Readonly<Record<Family, readonly string[]>> = {
  llama: ['LlamaForCausalLM', 'LlamaModel'],
  mistral: ['MistralForCausalLM', 'MistralModel'],
  qwen2: ['Qwen2ForCausalLM', 'Qwen2Model'],
  qwen3: ['Qwen3ForCausalLM', 'Qwen3Model'],
  gemma2: ['Gemma2ForCausalLM', 'Gemma2Model'],
  gemma3: ['Gemma3ForCausalLM', 'Gemma3ForConditionalGeneration', 'Gemma3TextModel', 'Gemma3Model'],
  phi3: ['Phi3ForCausalLM', 'Phi3Model'],
};

/** @throws EngineError for a model that the engine does not know */
export function familyOf(config: Json, name: string): Family {
  const { model_type: type, architectures } = config;
  const family = typeof type === 'string' && Object.hasOwn(MODEL_TYPES, type) ? MODEL_TYPES[type] : undefined;
  const known = Object.keys(MODEL_TYPES).join(', ');
  if (!family) {
    refuse(
      type === undefined
        ? `The config.json of ${name} has no model_type: it is no language model of transformers.`
        : `${name} is of the model_type ${JSON.stringify(type)}, which the engine does not know. It knows ${known}.`,
    );
  }
  const classes: readonly unknown[] = Array.isArray(architectures) ? architectures : [];
  const other = classes.find((item) => !ARCHITECTURES[family].includes(item as string));
  if (other !== undefined) {
    refuse(
      `${name} is a ${String(other)}, which does not generate text as a ${ARCHITECTURES[family][0]} does.`,
    );
  }
  return family;
}

/** Defaults that most families share. */
const USUAL: Json = {
  num_hidden_layers: 32,
  num_attention_heads: 32,
  num_key_value_heads: null,
  head_dim: null,
  hidden_act: 'silu',
  rms_norm_eps: 1e-6,
  rope_theta: 10000,
  tie_word_embeddings: false,
};

const QWEN: Json = {
  ...USUAL,
  vocab_size: 151936,
  hidden_size: 4096,
  intermediate_size: 22016,
  num_key_value_heads: 32,
  max_position_embeddings: 32768,
  use_sliding_window: false,
  sliding_window: 4096,
  max_window_layers: 28,
};

const GEMMA: Json = {
  ...USUAL,
  hidden_size: 2304,
  intermediate_size: 9216,
  num_hidden_layers: 26,
  num_attention_heads: 8,
  num_key_value_heads: 4,
  head_dim: 256,
  hidden_activation: 'gelu_pytorch_tanh',
  tie_word_embeddings: true,
  bos_token_id: 2,
  eos_token_id: 1,
  query_pre_attn_scalar: 256,
  sliding_window: 4096,
};

/** What a missing field of a config.json means in transformers, by family. null is Python's None. */
export const DEFAULTS: Readonly<Record<Family, Json>> = {
  llama: {
    ...USUAL,
    vocab_size: 32000,
    hidden_size: 4096,
    intermediate_size: 11008,
    max_position_embeddings: 2048,
    bos_token_id: 1,
    eos_token_id: 2,
  },
  mistral: {
    ...USUAL,
    vocab_size: 32000,
    hidden_size: 4096,
    intermediate_size: 14336,
    num_key_value_heads: 8,
    max_position_embeddings: 131072,
    bos_token_id: 1,
    eos_token_id: 2,
    sliding_window: 4096,
  },
  qwen2: QWEN,
  qwen3: { ...QWEN, head_dim: 128 },
  gemma2: {
    ...GEMMA,
    vocab_size: 256000,
    max_position_embeddings: 8192,
    attn_logit_softcapping: 50,
    final_logit_softcapping: 30,
  },
  gemma3: {
    ...GEMMA,
    vocab_size: 262208,
    max_position_embeddings: 131072,
    rope_theta: 1_000_000,
    rope_local_base_freq: 10000,
    sliding_window_pattern: 6,
  },
  phi3: {
    ...USUAL,
    vocab_size: 32064,
    hidden_size: 3072,
    intermediate_size: 8192,
    max_position_embeddings: 4096,
    original_max_position_embeddings: 4096,
    rms_norm_eps: 1e-5,
    bos_token_id: 1,
    eos_token_id: 32000,
  },
};

/** A field with which the model would be another one, unless it has the only value that is computed. */
export interface NeutralField {
  readonly key: string;
  readonly only?: unknown;
  /** Families that compute it. */
  readonly except?: readonly Family[];
  readonly why: string;
}

const experts = 'and mixtures of experts are not computed';
const scales = 'and the engine does not scale by it';
const norms = 'and the engine has these norms in Qwen 3 and Gemma 3 alone';

/** Fields that change results. Missing, null or `only` they mean nothing. */
export const NEUTRAL: readonly NeutralField[] = [
  { key: 'quantization_config', why: 'so its weights are quantised already. Take the version that is not' },
  { key: 'num_local_experts', only: 0, why: experts },
  { key: 'num_experts', only: 0, why: experts },
  { key: 'n_routed_experts', only: 0, why: experts },
  { key: 'mlp_bias', only: false, why: 'and the engine has no biases there' },
  {
    key: 'attention_bias',
    only: false,
    except: ['llama', 'qwen3', 'gemma2', 'gemma3'],
    why: 'which transformers does not apply to this family',
  },
  {
    key: 'attn_logit_softcapping',
    except: ['gemma2'],
    why: 'which transformers applies to Gemma 2 alone',
  },
  {
    key: 'final_logit_softcapping',
    except: ['gemma2', 'gemma3'],
    why: 'which transformers applies to Gemma alone',
  },
  { key: 'use_bidirectional_attention', only: false, why: 'and attention is causal here' },
  { key: 'is_causal', only: true, why: 'and attention is causal here' },
  { key: 'alibi', only: false, why: 'and positions are rotary here' },
  { key: 'use_mrope', only: false, why: 'and positions are those of text alone' },
  { key: 'no_rope_layers', why: 'and all layers are rotary here' },
  { key: 'use_qk_norm', only: false, why: norms },
  { key: 'qk_layernorm', only: false, why: norms },
  { key: 'embedding_multiplier', only: 1, why: scales },
  { key: 'residual_multiplier', only: 1, why: scales },
  { key: 'attention_multiplier', only: 1, why: scales },
  { key: 'logits_scaling', only: 1, why: scales },
  { key: 'logit_scale', only: 1, why: scales },
  { key: 'num_kv_shared_layers', only: 0, why: 'and every layer has keys of its own here' },
];
