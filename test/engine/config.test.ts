import { rotaryTables } from 'pageflash';
import { describe, expect, test } from 'vitest';
import { folderFiles } from '../../demo/engine/files/folderFiles.js';
import { Checkpoint } from '../../demo/engine/files/safetensors.js';
import { modelConfig, readConfig } from '../../demo/engine/model/config.js';
import { findPieces } from '../../demo/engine/model/tensorNames.js';
import { expectAngles } from '../rotary/expectAngles.js';
import published from '../golden/configs.json' with { type: 'json' };
import { MemoryFiles } from './memoryFiles.js';

const SMALL = [
  { family: 'llama_mha', windows: [null, null] },
  { family: 'llama3', windows: [null, null] },
  { family: 'mistral_window', windows: [16, 16] },
  { family: 'qwen2', windows: [null, null] },
  { family: 'qwen3', windows: [null, null] },
  { family: 'gemma2', windows: [16, null] },
  { family: 'gemma3', windows: [16, 16, null] },
];

describe('small models of every family', () => {
  test.each(SMALL)('$family has every tensor that its config.json needs', async ({ family, windows }) => {
    const files = await folderFiles(`test/golden/models/${family}`);
    const config = await readConfig(files);
    const checkpoint = await Checkpoint.open(files);
    const { model, layers, bytes } = findPieces(config, checkpoint);
    const names = [...model, ...layers.flat()].map(({ name }) => name);
    expect(names.toSorted()).toEqual(checkpoint.tensorNames.toSorted());
    expect(bytes).toBe(names.reduce((sum, name) => sum + checkpoint.tensor(name).bytes, 0));
    expect(config.layers.map(({ window }) => window)).toEqual(windows);
  });

  test('the model that ships with the repository', async () => {
    const files = await folderFiles('demo/model');
    const config = await readConfig(files);
    const checkpoint = await Checkpoint.open(files);
    expect(findPieces(config, checkpoint).bytes).toBe(2 * 885_888);
    expect(config).toMatchObject({ family: 'llama', isTied: true, bosId: 1, eosIds: [2], dtype: 'f16' });
  });
});

/** Config files of models as published, but for fields that change nothing. */
type Published = Readonly<Record<keyof typeof published, Readonly<Record<string, unknown>>>>;
const PUBLISHED: Published = published;

describe('configs as published', () => {
  test.each(Object.entries(PUBLISHED))('%s', (_, file) => {
    const { layers, rotary, ...config } = modelConfig(file);
    const pattern = layers.slice(0, 7).map(({ window, rotary: angles }) => `${window ?? 'all'} ${angles}`);
    const tables = [rotary.global, rotary.local].map((kind) => rotaryTables({ ...kind, maxPositions: 100 }));
    const angle = ({ rotarySin, rotaryDim }: (typeof tables)[0]): string =>
      `${rotaryDim} elements, fastest ${rotarySin[rotaryDim / 2]!.toFixed(6)}, slowest ${rotarySin[rotaryDim - 1]!.toExponential(4)}`;
    const numbers = { ...config, layers: pattern, angles: tables.map(angle) };
    expect(
      Object.entries(numbers).map(([key, value]) => `${key} ${JSON.stringify(value)}`),
    ).toMatchSnapshot();
  });
});

describe('what transformers assumes', () => {
  const llama = PUBLISHED.llama32;

  test.each([
    { why: 'head_dim from hidden_size', change: { head_dim: null }, want: { headDim: 64 } },
    { why: 'as many kv heads as heads', change: { num_key_value_heads: null }, want: { nKvHeads: 32 } },
    { why: 'a single end', change: { eos_token_id: 2 }, want: { eosIds: [2] } },
    { why: 'no end', change: { eos_token_id: null }, want: { eosIds: [] } },
    {
      why: 'biases on q, k, v and o',
      change: { attention_bias: true },
      want: { hasQkvBias: true, hasOutBias: true },
    },
    { why: 'the new name of the type', change: { dtype: 'float32' }, want: { dtype: 'f32' } },
    { why: 'a type with its module', change: { torch_dtype: 'torch.float16' }, want: { dtype: 'f16' } },
    { why: 'no type', change: { torch_dtype: null }, want: { dtype: null } },
  ])('$why', ({ change, want }) => {
    expect(modelConfig({ ...llama, ...change })).toMatchObject(want);
  });

  test('ends of generation_config.json come first, and each once', () => {
    const generation = { eos_token_id: [106, 1] };
    expect(modelConfig(PUBLISHED.gemma2, { generation }).eosIds).toEqual([106, 1, 107]);
  });

  const windowsOf = (config: object): unknown[] =>
    modelConfig({ ...config, num_hidden_layers: 4 }).layers.map(({ window }) => window);
  const { mistral, qwen25, gemma2, gemma3text, phi3 } = PUBLISHED;
  const { sliding_window: _, ...mistralWithout } = mistral;
  const types = ['full_attention', 'sliding_attention', 'full_attention', 'full_attention'];
  test.each([
    { why: 'Mistral: all layers', config: mistral, want: [4096, 4096, 4096, 4096] },
    { why: 'Mistral: 4096 if missing', config: mistralWithout, want: [4096, 4096, 4096, 4096] },
    {
      why: 'Mistral: none if null',
      config: { ...mistral, sliding_window: null },
      want: [null, null, null, null],
    },
    {
      why: 'a window of all positions is none',
      config: { ...mistral, sliding_window: 32768 },
      want: [null, null, null, null],
    },
    {
      why: 'Qwen 2: none unless it is used',
      config: { ...qwen25, sliding_window: 99 },
      want: [null, null, null, null],
    },
    {
      why: 'Qwen 2: from a layer on',
      config: { ...qwen25, use_sliding_window: true, sliding_window: 99, max_window_layers: 3 },
      want: [null, null, null, 99],
    },
    {
      why: 'Qwen 2: by layer_types, which win',
      config: {
        ...qwen25,
        use_sliding_window: true,
        sliding_window: 99,
        max_window_layers: 0,
        layer_types: types,
      },
      want: [null, 99, null, null],
    },
    { why: 'Gemma 2: even layers', config: gemma2, want: [4096, null, 4096, null] },
    {
      why: 'Gemma 2: by layer_types',
      config: { ...gemma2, layer_types: types },
      want: [null, 4096, null, null],
    },
    {
      why: 'Gemma 3: all but every third',
      config: { ...gemma3text, sliding_window_pattern: 3 },
      want: [512, 512, null, 512],
    },
    { why: 'Phi-3: all layers', config: phi3, want: [2047, 2047, 2047, 2047] },
  ])('windows of $why', ({ config, want }) => {
    expect(windowsOf(config)).toEqual(want);
  });

  test('angles of Gemma 3 differ by layer, in the form of transformers 5 and in that before', () => {
    const { rope_theta: theta, rope_local_base_freq: local, rope_scaling: _none, ...rest } = gemma3text;
    const newer = modelConfig({
      ...rest,
      rope_parameters: {
        full_attention: { rope_type: 'default', rope_theta: theta },
        sliding_attention: { rope_type: 'default', rope_theta: local },
      },
    });
    const older = modelConfig(gemma3text);
    for (const kind of ['global', 'local'] as const) {
      const [a, b] = [older, newer].map(({ rotary }) => rotaryTables({ ...rotary[kind], maxPositions: 9 }));
      expect(a).toEqual(b);
      const plain = rotaryTables({ headDim: 256, theta: kind === 'global' ? 1e6 : 1e4, maxPositions: 9 });
      expect(a!.rotarySin).toEqual(plain.rotarySin);
    }
  });

  test('early Phi-3 call LongRoPE su', () => {
    const { rope_scaling: scaling, ...phi } = published.phi4mini;
    const tables = (type: string): unknown => {
      const { rotary } = modelConfig({ ...phi, rope_scaling: { ...scaling, type } });
      // Longer than the original 4096, so by the long factors.
      return rotaryTables({ ...rotary.global, maxPositions: 4097 }).rotarySin.slice(-48);
    };
    expect(tables('su')).toEqual(tables('longrope'));
    expect(tables('yarn')).toEqual(tables('longrope'));
  });
});

describe('the LongRoPE of Phi-3', () => {
  // By the formula of the paper: pair t of d turns by theta^(−2t/d) / factor[t] a position, and queries and keys are
  // multiplied by √(1 + ln(s) / ln(original)), where s = max_position_embeddings / original.
  const small = {
    ...published.phi3,
    hidden_size: 32,
    num_attention_heads: 4,
    num_key_value_heads: 4,
    rope_theta: 16,
    sliding_window: null,
    original_max_position_embeddings: 16,
    max_position_embeddings: 256,
    rope_scaling: { type: 'longrope', short_factor: [1, 1, 2, 4], long_factor: [1, 2, 4, 8] },
  };

  test.each<{
    config?: object;
    maxPositions: number;
    perPosition: readonly number[];
    factor: number;
    why: string;
  }>([
    {
      maxPositions: 16,
      perPosition: [1, 1 / 2, 1 / 8, 1 / 32],
      factor: Math.SQRT2,
      why: 'short factors up to the original length; s = 16 is that length, too',
    },
    {
      maxPositions: 17,
      perPosition: [1, 1 / 4, 1 / 16, 1 / 64],
      factor: Math.SQRT2,
      why: 'long factors beyond it',
    },
    {
      config: { max_position_embeddings: 64 },
      maxPositions: 64,
      perPosition: [1, 1 / 4, 1 / 16, 1 / 64],
      factor: Math.sqrt(1.5),
      why: 's = 4, so that ln(s) is half of ln(16)',
    },
    {
      config: { max_position_embeddings: 16 },
      maxPositions: 16,
      perPosition: [1, 1 / 2, 1 / 8, 1 / 32],
      factor: 1,
      why: 'a model that was not extended has no factor',
    },
    {
      config: {
        partial_rotary_factor: 0.5,
        rope_scaling: { type: 'longrope', short_factor: [1, 1], long_factor: [1, 8] },
      },
      maxPositions: 256,
      perPosition: [1, 1 / 32],
      factor: Math.SQRT2,
      why: 'half of a head rotated, as three quarters are in Phi-4 mini',
    },
  ])('$why', ({ config, maxPositions, ...angles }) => {
    const { rotary } = modelConfig({ ...small, ...config });
    expect(rotary.local).toEqual(rotary.global);
    expectAngles({ ...rotary.global, maxPositions }, angles);
  });

  test('of Phi-4 mini: √(1 + ln(32) / ln(4096)) is √(17/12), and the slowest of 48 pairs turns at 10000^(−94/96) / 2', () => {
    const perPosition = Array.from({ length: 48 }, (_, t) => 10000 ** (-t / 48) / 2);
    const { rotary } = modelConfig(published.phi4mini);
    expectAngles({ ...rotary.global, maxPositions: 4097 }, { perPosition, factor: Math.sqrt(17 / 12) });
  });
});

describe('a model that would be computed wrongly is refused', () => {
  const { llama32: llama, mistral, qwen25, gemma2, gemma3text, phi3 } = PUBLISHED;
  test.each([
    { why: 'unknown', config: { model_type: 'mamba' } },
    { why: 'no type', config: {} },
    { why: 'a mixture of experts', config: { ...llama, model_type: 'mixtral' } },
    { why: 'experts in a known type', config: { ...llama, num_local_experts: 8 } },
    { why: 'a classifier', config: { ...llama, architectures: ['LlamaForSequenceClassification'] } },
    { why: 'quantised', config: { ...llama, quantization_config: { quant_method: 'gptq', bits: 4 } } },
    { why: 'another activation', config: { ...llama, hidden_act: 'gelu' } },
    { why: 'biases of the feed-forward network', config: { ...llama, mlp_bias: true } },
    { why: 'a bias that transformers ignores', config: { ...mistral, attention_bias: true } },
    { why: 'a softcap that transformers ignores', config: { ...gemma3text, attn_logit_softcapping: 50 } },
    { why: 'both directions', config: { ...gemma3text, use_bidirectional_attention: true } },
    { why: 'heads that do not divide', config: { ...llama, num_key_value_heads: 7 } },
    { why: 'an odd size', config: { ...llama, hidden_size: '2048' } },
    { why: 'an odd epsilon', config: { ...llama, rms_norm_eps: 0 } },
    { why: 'an odd flag', config: { ...llama, tie_word_embeddings: 1 } },
    { why: 'an odd token', config: { ...llama, eos_token_id: 'end' } },
    { why: 'an unknown scaling', config: { ...llama, rope_scaling: { rope_type: 'spiral', factor: 2 } } },
    { why: 'a scaling that lacks something', config: { ...llama, rope_scaling: { rope_type: 'linear' } } },
    { why: 'Gemma 3 with one scaling', config: { ...gemma3text, rope_parameters: { rope_type: 'default' } } },
    {
      why: 'windows in a Llama',
      config: { ...llama, layer_types: Array.from({ length: 16 }, () => 'sliding_attention') },
    },
    {
      why: 'Mistral by layer',
      config: { ...mistral, layer_types: Array.from({ length: 32 }, () => 'full_attention') },
    },
    {
      why: 'windows that are not used',
      config: { ...qwen25, layer_types: Array.from({ length: 24 }, () => 'sliding_attention') },
    },
    { why: 'types of other layers', config: { ...gemma2, layer_types: ['full_attention'] } },
    {
      why: 'an unknown type of layer',
      config: { ...gemma2, num_hidden_layers: 1, layer_types: ['chunked_attention'] },
    },
    { why: 'windows without a size', config: { ...gemma2, sliding_window: null } },
    { why: 'Phi-3 with a bias', config: { ...phi3, attention_bias: true } },
  ])('$why', ({ config }) => {
    expect(() => modelConfig(config, { name: 'a/model' })).toThrowErrorMatchingSnapshot();
  });

  test('a folder without a config', async () => {
    await expect(readConfig(new MemoryFiles({}))).rejects.toThrowErrorMatchingInlineSnapshot(
      `[EngineError: test/model has no config.json: it is no model of Hugging Face's form.]`,
    );
    await expect(
      readConfig(new MemoryFiles({ 'config.json': '[]' })),
    ).rejects.toThrowErrorMatchingInlineSnapshot(
      `[EngineError: config.json of test/model must hold a JSON object.]`,
    );
  });
});
