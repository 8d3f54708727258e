import { PageflashError, rotaryTables, type RotaryConfigOptions } from 'pageflash';
import { refuse } from '../engineError.js';
import { isJson, readJson, type Json, type ModelFiles } from '../files/modelFiles.js';
import type { StoredDType } from '../files/safetensors.js';
import { checkNeutral, ConfigFields, shown } from './configFields.js';
import { DEFAULTS, familyOf, type Family } from './families.js';

/** Everything that the engine needs to know of a model, checked, with the defaults of its family filled in. */
export interface ModelConfig {
  readonly family: Family;
  readonly nLayers: number;
  readonly hiddenSize: number;
  readonly nHeads: number;
  readonly nKvHeads: number;
  readonly headDim: number;
  readonly feedForwardSize: number;
  readonly vocabSize: number;
  readonly maxPositions: number;
  readonly rmsNormEpsilon: number;
  /** Whether norms multiply by 1 + weight rather than by weight. */
  readonly normAddsOne: boolean;
  /** The factor on embeddings. */
  readonly embeddingScale: number;
  readonly activation: Activation;
  /** Whether the output head is the embedding. */
  readonly isTied: boolean;
  readonly hasQkvBias: boolean;
  readonly hasOutBias: boolean;
  /** Whether each head of q and k is normalised before it is rotated. */
  readonly hasQkNorm: boolean;
  /** Whether norms follow attention and feed-forward, too, before their results are added. */
  readonly hasPostNorms: boolean;
  readonly softmaxScale: number;
  /** 0: none. */
  readonly attentionSoftcap: number;
  /** 0: none. */
  readonly logitSoftcap: number;
  readonly layers: readonly LayerConfig[];
  readonly rotary: RotaryConfigs;
  /** `bos_token_id`. Whether texts begin with it is for the tokenizer to say. */
  readonly bosId: number | null;
  /** The tokens that end an answer. */
  readonly eosIds: readonly number[];
  /** The type that the model was saved in, if config.json says so. */
  readonly dtype: StoredDType | null;
}

/** `gelu_tanh`: x/2 · (1 + tanh(√(2/π)·(x + 0.044715·x³))). */
export type Activation = 'silu' | 'gelu_tanh';

export interface LayerConfig {
  /** Tokens that a query sees, itself included; null if it sees all before it. */
  readonly window: number | null;
  /** Which angles its heads are rotated by. */
  readonly rotary: keyof RotaryConfigs;
}

/** Arguments of `rotaryTables`, but for `maxPositions`. */
export type RotaryConfig = Omit<RotaryConfigOptions, 'maxPositions'>;

export interface RotaryConfigs {
  readonly global: RotaryConfig;
  /** Of layers with a window, where these have angles of their own, as in Gemma 3; otherwise the same as `global`. */
  readonly local: RotaryConfig;
}

/**
 * Reads the config.json of a model, and the tokens that end an answer from its generation_config.json.
 *
 * @throws EngineError if there is none, or the model needs what the engine has not
 */
export async function readConfig(files: ModelFiles): Promise<ModelConfig> {
  const config = await readJson(files, 'config.json');
  if (!config) refuse(`${files.name} has no config.json: it is no model of Hugging Face's form.`);
  return modelConfig(config, {
    name: files.name,
    generation: await readJson(files, 'generation_config.json'),
  });
}

/**
 * Returns what a config.json says, under any name that its fields have had in transformers. What is missing gets the
 * default that transformers has for the family.
 *
 * @throws EngineError for a model that would be computed wrongly
 */
export function modelConfig(
  config: Json,
  { name = 'the model', generation }: { readonly name?: string; readonly generation?: Json | undefined } = {},
): ModelConfig {
  const family = familyOf(config, name);
  const fields = new ConfigFields(name, config, DEFAULTS[family]);
  checkNeutral(fields, family);

  const nHeads = fields.count('num_attention_heads');
  const nKvHeads = fields.countOr('num_key_value_heads', nHeads);
  if (nHeads % nKvHeads !== 0)
    fields.refuse(
      `num_attention_heads is ${nHeads}, which is not a multiple of num_key_value_heads, ${nKvHeads}`,
    );
  const hiddenSize = fields.count('hidden_size');
  const headDim = fields.countOr('head_dim', Math.floor(hiddenSize / nHeads));
  const maxPositions = fields.count('max_position_embeddings');
  const isGemma = family === 'gemma2' || family === 'gemma3';
  // Llama and Qwen 3 call by one name what Qwen 2 has for q, k and v alone, and always.
  const hasBias = fields.flag('attention_bias');
  const rotary = rotaryConfigs(fields, { family, headDim, maxPositions });
  return {
    family,
    nLayers: fields.count('num_hidden_layers'),
    hiddenSize,
    nHeads,
    nKvHeads,
    headDim,
    feedForwardSize: fields.count('intermediate_size'),
    vocabSize: fields.count('vocab_size'),
    maxPositions,
    rmsNormEpsilon: fields.amount('rms_norm_eps'),
    normAddsOne: isGemma,
    embeddingScale: isGemma ? Math.sqrt(hiddenSize) : 1,
    activation: activationOf(fields, isGemma ? 'hidden_activation' : 'hidden_act'),
    isTied: fields.flag('tie_word_embeddings'),
    hasQkvBias: hasBias || family === 'qwen2',
    hasOutBias: hasBias,
    hasQkNorm: family === 'qwen3' || family === 'gemma3',
    hasPostNorms: isGemma,
    softmaxScale: (isGemma ? fields.amount('query_pre_attn_scalar') : headDim) ** -0.5,
    attentionSoftcap: family === 'gemma2' ? fields.amountOr('attn_logit_softcapping', 0) : 0,
    logitSoftcap: isGemma ? fields.amountOr('final_logit_softcapping', 0) : 0,
    layers: layerConfigs(fields, family, maxPositions),
    rotary,
    bosId: fields.tokens('bos_token_id')[0] ?? null,
    eosIds: [
      ...new Set([
        ...new ConfigFields(`${name}'s generation_config.json`, generation ?? {}, {}).tokens('eos_token_id'),
        ...fields.tokens('eos_token_id'),
      ]),
    ],
    dtype: dtypeOf(fields),
  };
}

function activationOf(fields: ConfigFields, key: string): Activation {
  const value = fields.value(key);
  if (value === 'silu' || value === 'swish') return 'silu';
  if (value === 'gelu_pytorch_tanh' || value === 'gelu_new') return 'gelu_tanh';
  return fields.refuse(`its ${key} is ${shown(value)}; known are silu and gelu_pytorch_tanh`);
}

function layerConfigs(fields: ConfigFields, family: Family, maxPositions: number): readonly LayerConfig[] {
  const nLayers = fields.count('num_hidden_layers');
  const slides = slidingLayers(fields, family, nLayers);
  const said = slides.includes(true) ? fields.count('sliding_window') : null;
  // A window that holds every position is none.
  const window = said !== null && said < maxPositions ? said : null;
  return slides.map((isSliding) => ({
    window: isSliding ? window : null,
    rotary: isSliding && family === 'gemma3' ? 'local' : 'global',
  }));
}

/** Returns which layers have a window. */
function slidingLayers(fields: ConfigFields, family: Family, nLayers: number): readonly boolean[] {
  const every = (isSliding: (layer: number) => boolean): boolean[] =>
    Array.from({ length: nLayers }, (_, layer) => isSliding(layer));
  // In transformers these two know no layer_types: all layers slide, or none.
  if (family === 'mistral' || family === 'phi3') {
    const slides = every(() => fields.value('sliding_window') !== undefined);
    const types = layerTypes(fields, nLayers);
    if (types && types.join() !== slides.join())
      fields.refuse(`layers of a ${family} model all have its sliding_window; its layer_types say otherwise`);
    return slides;
  }
  if (family === 'llama') {
    if (layerTypes(fields, nLayers)?.includes(true))
      fields.refuse('layers of a llama model have no window; its layer_types say otherwise');
    return every(() => false);
  }
  const isQwen = family === 'qwen2' || family === 'qwen3';
  const types = layerTypes(fields, nLayers);
  if (isQwen && !fields.flag('use_sliding_window')) {
    if (types?.includes(true))
      fields.refuse('its layer_types have sliding_attention, but use_sliding_window is not true');
    return every(() => false);
  }
  if (types) return types;
  if (isQwen) {
    const first = Number(fields.value('max_window_layers'));
    return every((layer) => fields.value('sliding_window') !== undefined && layer >= first);
  }
  if (family === 'gemma2') return every((layer) => layer % 2 === 0);
  // transformers 5 writes the number with an underscore.
  const pattern = fields.countOr('_sliding_window_pattern', fields.count('sliding_window_pattern'));
  return every((layer) => (layer + 1) % pattern !== 0);
}

/** Returns which layers slide by `layer_types`; undefined if there are none. */
function layerTypes(fields: ConfigFields, nLayers: number): readonly boolean[] | undefined {
  const types = fields.value('layer_types');
  if (types === undefined) return undefined;
  if (!Array.isArray(types) || types.length !== nLayers)
    fields.refuse(`layer_types of its config.json must be a list with one of each of ${nLayers} layers`);
  return (types as readonly unknown[]).map((type) => {
    if (type === 'sliding_attention') return true;
    if (type === 'full_attention') return false;
    return fields.refuse(
      `a layer is of the type ${shown(type)}; known are full_attention and sliding_attention`,
    );
  });
}

interface RotaryShape {
  readonly family: Family;
  readonly headDim: number;
  readonly maxPositions: number;
}

/** Returns what `rotaryTables` takes, with the family's defaults, after it has accepted it. */
function rotaryConfigs(fields: ConfigFields, { family, headDim, maxPositions }: RotaryShape): RotaryConfigs {
  const config = rotaryFields(fields, family, headDim);
  const rotary =
    family === 'gemma3'
      ? {
          global: { config, layerType: 'full_attention' },
          local: { config, layerType: 'sliding_attention' },
        }
      : { global: { config }, local: { config } };
  for (const kind of [rotary.global, rotary.local]) {
    try {
      rotaryTables({ ...kind, maxPositions: Math.min(8, maxPositions) });
    } catch (error) {
      if (!(error instanceof PageflashError)) throw error;
      fields.refuse(error.message.replace(/\.$/, ''));
    }
  }
  return rotary;
}

/** Returns the config with the fields about angles where `rotaryTables` looks for them. */
function rotaryFields(fields: ConfigFields, family: Family, headDim: number): Json {
  const { rope_parameters: parameters, rope_scaling: scaling } = fields.values;
  const { rope_theta: theta, rope_local_base_freq: localTheta, ...rest } = fields.values;
  const rope = isJson(parameters) ? parameters : isJson(scaling) ? scaling : {};
  if (family === 'gemma3') {
    const byType = isJson(parameters) ? parameters : { full_attention: rope };
    const types = ['full_attention', 'sliding_attention'];
    const other = Object.keys(byType).find((key) => !types.includes(key));
    if (other !== undefined)
      fields.refuse(
        `rope_parameters of a Gemma 3 are those of ${types.join(' and ')}; it has ${other} there`,
      );
    const { full_attention: full, sliding_attention: sliding } = byType;
    const filled = {
      full_attention: { rope_theta: theta, ...(isJson(full) ? full : {}) },
      sliding_attention: { rope_theta: localTheta, ...(isJson(sliding) ? sliding : {}) },
    };
    return { ...rest, head_dim: headDim, rope_parameters: filled, rope_scaling: null };
  }
  const hasTheta = 'rope_theta' in rope && !('rope_theta' in fields.given);
  const config = { ...rest, head_dim: headDim, ...(hasTheta ? {} : { rope_theta: theta }) };
  // Phi-3 called its LongRoPE by other names at first.
  const { type, ...others } = rope;
  const named = rope.rope_type ?? type;
  if (family !== 'phi3' || (named !== 'su' && named !== 'yarn')) return config;
  return { ...config, rope_parameters: { ...others, rope_type: 'longrope' }, rope_scaling: null };
}

function dtypeOf(fields: ConfigFields): StoredDType | null {
  const dtype = fields.value('dtype') ?? fields.value('torch_dtype');
  if (dtype === undefined) return null;
  const known: Readonly<Record<string, StoredDType>> = { float32: 'f32', float16: 'f16', bfloat16: 'bf16' };
  const name = String(dtype).replace('torch.', '');
  // What the tensors themselves say decides; other types are refused there.
  return Object.hasOwn(known, name) ? known[name]! : null;
}
