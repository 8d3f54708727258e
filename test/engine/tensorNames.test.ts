import { describe, expect, test } from 'vitest';
import { Checkpoint } from '../../demo/engine/files/safetensors.js';
import { modelConfig, type ModelConfig } from '../../demo/engine/model/config.js';
import { findPieces, layerPieces } from '../../demo/engine/model/tensorNames.js';
import { MemoryFiles, safetensorsBytes, type MadeTensor } from './memoryFiles.js';

/** A model of one layer: 4 heads of 2, 2 kv heads. */
const SIZES = {
  hidden_size: 8,
  intermediate_size: 12,
  num_hidden_layers: 1,
  num_attention_heads: 4,
  num_key_value_heads: 2,
  head_dim: 2,
  vocab_size: 10,
  max_position_embeddings: 32,
};
const small = (fields: object): ModelConfig => modelConfig({ ...SIZES, ...fields });

function zeros(shape: readonly number[], dtype = 'BF16'): MadeTensor {
  return { dtype, shape, bytes: new Uint8Array(2 * shape.reduce((product, n) => product * n, 1)) };
}

/** A Llama's checkpoint, with changes: null leaves a tensor out. */
function llama(
  changes: Readonly<Record<string, MadeTensor | null>> = {},
  rename = (name: string): string => name,
): Promise<Checkpoint> {
  const tensors: Record<string, MadeTensor | null> = {
    'model.embed_tokens.weight': zeros([10, 8]),
    'model.norm.weight': zeros([8]),
    'lm_head.weight': zeros([10, 8]),
    'model.layers.0.input_layernorm.weight': zeros([8]),
    'model.layers.0.self_attn.q_proj.weight': zeros([8, 8]),
    'model.layers.0.self_attn.k_proj.weight': zeros([4, 8]),
    'model.layers.0.self_attn.v_proj.weight': zeros([4, 8]),
    'model.layers.0.self_attn.o_proj.weight': zeros([8, 8]),
    'model.layers.0.post_attention_layernorm.weight': zeros([8]),
    'model.layers.0.mlp.gate_proj.weight': zeros([12, 8]),
    'model.layers.0.mlp.up_proj.weight': zeros([12, 8]),
    'model.layers.0.mlp.down_proj.weight': zeros([8, 12]),
    ...changes,
  };
  const kept = Object.entries(tensors).flatMap(([name, tensor]) =>
    tensor ? [[rename(name), tensor] as const] : [],
  );
  return Checkpoint.open(
    new MemoryFiles({ 'model.safetensors': safetensorsBytes(Object.fromEntries(kept)) }),
  );
}

describe('pieces of a layer', () => {
  test.each([
    { model_type: 'llama', why: 'three tensors make qkv, two make gateUp' },
    { model_type: 'phi3', why: 'both are stored as one' },
    { model_type: 'qwen2', why: 'biases' },
    { model_type: 'gemma3_text', why: 'norms of q and k, and behind attention and feed-forward' },
  ])('of a $model_type: $why', ({ model_type }) => {
    const pieces = layerPieces(small({ model_type }), 0);
    expect(
      pieces.map(
        ({ role, name, shape, rowOffset }) =>
          `${role} from ${rowOffset}: ${name.replace('model.layers.0.', '')} [${shape.join(', ')}]`,
      ),
    ).toMatchSnapshot();
  });

  test.each(['llama', 'phi3', 'qwen2', 'qwen3', 'gemma2', 'gemma3_text', 'mistral'])(
    'of a %s fill each of its matrices and vectors exactly',
    (model_type) => {
      const config = small({ model_type });
      const rows = new Map<string, number>();
      for (const { role, shape, rowOffset } of layerPieces(config, 0)) {
        expect(rowOffset).toBe(rows.get(role) ?? 0);
        rows.set(role, rowOffset + shape[0]!);
      }
      expect(rows.get('qkv')).toBe(16);
      expect(rows.get('qkvBias')).toBe(model_type === 'qwen2' ? 16 : undefined);
      expect(rows.get('gateUp')).toBe(24);
    },
  );
});

describe('a checkpoint is found whole', () => {
  const config = small({ model_type: 'llama' });

  test.each([
    { why: 'a text model', rename: (name: string) => name },
    { why: 'a text model with images', rename: (name: string) => `language_model.${name}` },
    {
      why: 'the same by transformers 5',
      rename: (name: string) => name.replace(/^model\./, 'model.language_model.'),
    },
    { why: 'a model without a head', rename: (name: string) => name.replace(/^model\./, '') },
  ])('$why', async ({ rename }) => {
    const { model, layers, bytes } = findPieces(config, await llama({}, rename));
    expect(model.map(({ name }) => name)).toContain(rename('model.embed_tokens.weight'));
    expect(layers[0]!.map(({ name }) => name)).toContain(rename('model.layers.0.mlp.down_proj.weight'));
    expect(bytes).toBe(2 * (2 * 80 + 8 + 16 + 64 + 32 + 32 + 64 + 3 * 96));
  });

  test('with tensors that change nothing', async () => {
    const unused = {
      'model.layers.0.self_attn.rotary_emb.inv_freq': zeros([1]),
      'vision_tower.vision_model.embeddings.patch_embedding.bias': zeros([3]),
      'multi_modal_projector.mm_soft_emb_norm.weight': zeros([3], 'F16'),
    };
    const { model, layers } = findPieces(config, await llama(unused));
    expect([...model, ...layers.flat()]).toHaveLength(12);
  });

  test('with a head that is the embedding, stored or not', async () => {
    const tied = small({ model_type: 'llama', tie_word_embeddings: true });
    for (const checkpoint of [await llama(), await llama({ 'lm_head.weight': null })])
      expect(findPieces(tied, checkpoint).model.map(({ role }) => role)).toEqual(['embedding', 'finalNorm']);
  });
});

test.each([
  { why: 'no weights of this model', changes: { 'model.embed_tokens.weight': null } },
  { why: 'a missing layer', changes: { 'model.layers.0.mlp.up_proj.weight': null } },
  { why: 'a missing head', changes: { 'lm_head.weight': null } },
  { why: 'another shape', changes: { 'model.layers.0.self_attn.k_proj.weight': zeros([8, 8]) } },
  { why: 'a bias where none is', changes: { 'model.layers.0.self_attn.q_proj.bias': zeros([8]) } },
  { why: 'one layer more', changes: { 'model.layers.1.input_layernorm.weight': zeros([8]) } },
  { why: 'adapters', changes: { 'model.layers.0.self_attn.q_proj.lora_A.weight': zeros([2, 8]) } },
  { why: 'another type', changes: { 'model.norm.weight': zeros([8], 'I16') } },
])('refuses $why', async ({ changes }) => {
  const checkpoint = await llama(changes);
  expect(() => findPieces(small({ model_type: 'llama' }), checkpoint)).toThrowErrorMatchingSnapshot();
});
