import { refuse } from '../engineError.js';
import type { Checkpoint } from '../files/safetensors.js';
import type { ModelConfig } from './config.js';

/** A matrix or vector that the engine has in a layer. */
export type LayerRole =
  /** [(nHeads + 2 · nKvHeads) · headDim, hiddenSize]: rows of q, then of k, then of v */
  | 'qkv'
  /** [(nHeads + 2 · nKvHeads) · headDim] */
  | 'qkvBias'
  /** [headDim] */
  | 'qNorm'
  | 'kNorm'
  /** [hiddenSize, nHeads · headDim] */
  | 'out'
  /** [hiddenSize] */
  | 'outBias'
  /** [2 · feedForwardSize, hiddenSize]: rows of gate, then of up */
  | 'gateUp'
  /** [hiddenSize, feedForwardSize] */
  | 'down'
  /** [hiddenSize]: before attention, behind it, before the feed-forward network, and behind that */
  | 'attentionNorm'
  | 'postAttentionNorm'
  | 'feedForwardNorm'
  | 'postFeedForwardNorm';

/** One outside of the layers. */
export type ModelRole =
  /** [vocabSize, hiddenSize] */
  | 'embedding'
  /** [hiddenSize] */
  | 'finalNorm'
  /** [vocabSize, hiddenSize], unless the embedding serves as one */
  | 'outputHead';

/** A tensor of a checkpoint, and where its rows go. */
export interface Piece<Role extends string = LayerRole | ModelRole> {
  readonly role: Role;
  /** In the checkpoint. */
  readonly name: string;
  readonly shape: readonly number[];
  /** The row of the matrix that the tensor's first row becomes; of a vector, the element. */
  readonly rowOffset: number;
}

/** Where a checkpoint has the names of a model. */
export interface NamePrefix {
  /** Before `embed_tokens.weight`, `layers.0.…` and `norm.weight`. */
  readonly model: string;
  /** Before `lm_head.weight`. */
  readonly head: string;
}

/** As checkpoints of text models have it, of text models with images (two forms), and of models without a head. */
const PREFIXES: readonly NamePrefix[] = [
  { model: 'model.', head: '' },
  { model: 'language_model.model.', head: 'language_model.' },
  { model: 'model.language_model.', head: '' },
  { model: '', head: '' },
];

/** Returns the tensors of a layer, each with the place that it has in a matrix or vector. */
export function layerPieces(
  config: ModelConfig,
  layer: number,
  prefix: NamePrefix = PREFIXES[0]!,
): readonly Piece<LayerRole>[] {
  const { family, hiddenSize, nHeads, nKvHeads, headDim, feedForwardSize } = config;
  const { hasQkvBias, hasOutBias, hasQkNorm, hasPostNorms } = config;
  const at = (role: LayerRole, name: string, shape: readonly number[], rowOffset = 0): Piece<LayerRole> => ({
    role,
    name: `${prefix.model}layers.${layer}.${name}`,
    shape,
    rowOffset,
  });
  const norm = (role: LayerRole, name: string): Piece<LayerRole> => at(role, `${name}.weight`, [hiddenSize]);
  const q = nHeads * headDim;
  const kv = nKvHeads * headDim;
  const isFused = family === 'phi3';
  return [
    norm('attentionNorm', 'input_layernorm'),
    ...(isFused
      ? [at('qkv', 'self_attn.qkv_proj.weight', [q + 2 * kv, hiddenSize])]
      : [
          at('qkv', 'self_attn.q_proj.weight', [q, hiddenSize]),
          at('qkv', 'self_attn.k_proj.weight', [kv, hiddenSize], q),
          at('qkv', 'self_attn.v_proj.weight', [kv, hiddenSize], q + kv),
        ]),
    ...(hasQkvBias
      ? [
          at('qkvBias', 'self_attn.q_proj.bias', [q]),
          at('qkvBias', 'self_attn.k_proj.bias', [kv], q),
          at('qkvBias', 'self_attn.v_proj.bias', [kv], q + kv),
        ]
      : []),
    ...(hasQkNorm
      ? [at('qNorm', 'self_attn.q_norm.weight', [headDim]), at('kNorm', 'self_attn.k_norm.weight', [headDim])]
      : []),
    at('out', 'self_attn.o_proj.weight', [hiddenSize, q]),
    ...(hasOutBias ? [at('outBias', 'self_attn.o_proj.bias', [hiddenSize])] : []),
    // One name for two things: without post norms it is the norm before the feed-forward network.
    ...(hasPostNorms
      ? [
          norm('postAttentionNorm', 'post_attention_layernorm'),
          norm('feedForwardNorm', 'pre_feedforward_layernorm'),
        ]
      : [norm('feedForwardNorm', 'post_attention_layernorm')]),
    ...(isFused
      ? [at('gateUp', 'mlp.gate_up_proj.weight', [2 * feedForwardSize, hiddenSize])]
      : [
          at('gateUp', 'mlp.gate_proj.weight', [feedForwardSize, hiddenSize]),
          at('gateUp', 'mlp.up_proj.weight', [feedForwardSize, hiddenSize], feedForwardSize),
        ]),
    at('down', 'mlp.down_proj.weight', [hiddenSize, feedForwardSize]),
    ...(hasPostNorms ? [norm('postFeedForwardNorm', 'post_feedforward_layernorm')] : []),
  ];
}

/** Returns the tensors outside of the layers. */
export function modelPieces(
  { vocabSize, hiddenSize, isTied }: ModelConfig,
  prefix: NamePrefix = PREFIXES[0]!,
): readonly Piece<ModelRole>[] {
  const ofVocabulary = { shape: [vocabSize, hiddenSize], rowOffset: 0 };
  return [
    { role: 'embedding', name: `${prefix.model}embed_tokens.weight`, ...ofVocabulary },
    { role: 'finalNorm', name: `${prefix.model}norm.weight`, shape: [hiddenSize], rowOffset: 0 },
    ...(isTied
      ? []
      : [{ role: 'outputHead', name: `${prefix.head}lm_head.weight`, ...ofVocabulary } as const]),
  ];
}

/** Every tensor that a model needs of its checkpoint, all of which are there. */
export interface CheckpointPieces {
  readonly model: readonly Piece<ModelRole>[];
  readonly layers: readonly (readonly Piece<LayerRole>[])[];
  /** Bytes that are read when all of it is loaded. */
  readonly bytes: number;
}

/** Tensors that change nothing: computed again anyway, or of the part that sees images. */
const UNUSED = [/\.rotary_emb\.inv_freq$/, /^(model\.)?vision_tower\./, /^(model\.)?multi_modal_projector\./];

/**
 * Finds all tensors that a model needs, and checks their shapes and types, before any is read.
 *
 * @throws EngineError that names the first that is missing, of another shape or type, or that there is no use for
 */
export function findPieces(config: ModelConfig, checkpoint: Checkpoint): CheckpointPieces {
  const prefix = PREFIXES.find(({ model }) => checkpoint.has(`${model}embed_tokens.weight`)) ?? PREFIXES[0]!;
  const model = modelPieces(config, prefix);
  const layers = Array.from({ length: config.nLayers }, (_, layer) => layerPieces(config, layer, prefix));
  const all = [...model, ...layers.flat()];
  let bytes = 0;
  for (const { name, shape } of all) {
    const tensor = checkpoint.tensor(name);
    if (tensor.shape.join() !== shape.join()) {
      refuse(
        `${name} of ${checkpoint.name} is [${tensor.shape.join(', ')}], but by the config.json it is [${shape.join(', ')}].`,
      );
    }
    bytes += tensor.bytes;
  }
  const used = new Set(all.map(({ name }) => name));
  // A tied head may be stored as well: it is the embedding again.
  if (config.isTied) used.add(`${prefix.head}lm_head.weight`);
  const other = checkpoint.tensorNames.find(
    (name) => !used.has(name) && !UNUSED.some((pattern) => pattern.test(name)),
  );
  if (other !== undefined) {
    refuse(
      `The weights of ${checkpoint.name} have ${other}, for which a ${config.family} model of this config.json has no use: results would not be its own.`,
    );
  }
  return { model, layers, bytes };
}
