import { describe, expect, test } from 'vitest';
import { rotaryTables, type RotaryConfigOptions, type RotaryOptions } from '../../src/index.js';
import { refusal } from '../check/refusal.js';
import { expectAngles } from './expectAngles.js';

describe('config.json', () => {
  const llama = { head_dim: 8, max_position_embeddings: 64, rope_theta: 16 };
  const plain = [1, 1 / 2, 1 / 4, 1 / 8];
  const angles = (config: object, perPosition: readonly number[], rest: Partial<RotaryConfigOptions> = {}) =>
    expectAngles({ config, maxPositions: 16, ...rest }, { perPosition });

  test('fields are read under all their names', () => {
    angles(llama, plain);
    angles({ ...llama, rope_scaling: null, head_dim: null, hidden_size: 64, num_attention_heads: 8 }, plain);
    angles({ head_dim: 8, rope_parameters: { rope_theta: 16, rope_type: 'default' } }, plain);
    angles({ ...llama, rotary_dim: 4 }, [1, 1 / 4]);
    angles({ ...llama, partial_rotary_factor: 0.5, rotary_dim: 4 }, [1, 1 / 4]);
    angles({ head_dim: 8, rotary_emb_base: 16, rotary_pct: 0.5 }, [1, 1 / 4]);
    angles({ head_dim: 8 }, plain, { theta: 16 });
    angles({ rope_theta: 16 }, plain, { headDim: 8 });
    angles({ ...llama, global_head_dim: 16 }, [1, 1 / 4], { headDim: 4 });
    const rope = { rope_type: 'linear', factor: 2 };
    angles(
      { ...llama, rope_scaling: rope, rope_parameters: { ...rope, rope_theta: 16 } },
      plain.map((f) => f / 2),
    );
  });

  test('layers may have angles of their own', () => {
    const layer_types = ['sliding_attention', 'full_attention'];
    const nested = {
      ...llama,
      rope_parameters: { full_attention: { rope_theta: 256 }, sliding_attention: {}, none: null },
    };
    angles(nested, plain, { layerType: 'sliding_attention' });
    angles(nested, [1, 1 / 4, 1 / 16, 1 / 64], { layerType: 'full_attention' });
    angles({ ...llama, layer_types }, plain, { layerType: 'full_attention' });
    const gemma = { ...llama, rope_local_base_freq: 256, rope_scaling: { rope_type: 'linear', factor: 2 } };
    angles(
      gemma,
      plain.map((f) => f / 2),
      { layerType: 'full_attention' },
    );
    angles(gemma, [1, 1 / 4, 1 / 16, 1 / 64], { layerType: 'sliding_attention' });
    const message = (config: object, layerType?: string) =>
      refusal(() => rotaryTables({ config, maxPositions: 1, layerType }));
    expect([
      message(nested),
      message(nested, 'chunked_attention'),
      message(nested, 'none'),
      message(gemma),
      message(llama, 'full_attention'),
      message({ ...llama, layer_types }, 'full'),
    ]).toMatchInlineSnapshot(`
      [
        "argument: rotaryTables: angles of config.rope_parameters differ by layer: layerType must be 'full_attention' or 'sliding_attention' or 'none', not undefined.",
        "argument: rotaryTables: angles of config.rope_parameters differ by layer: layerType must be 'full_attention' or 'sliding_attention' or 'none', not "chunked_attention".",
        "argument: rotaryTables: layers of the type 'none' are not rotated at all.",
        "argument: rotaryTables: angles of config differ by layer: layerType must be 'full_attention' or 'sliding_attention', not undefined.",
        "argument: rotaryTables: config has no layers of the layerType "full_attention". Leave it out.",
        "argument: rotaryTables: config has no layers of the layerType "full". Leave it out.",
      ]
    `);
  });

  test('the model_type decides how elements are paired, unless the option does', () => {
    const pairs = (config: object, rest: object = {}) =>
      rotaryTables({ config: { ...llama, ...config }, maxPositions: 1, ...rest }).rotaryInterleaved;
    expect([
      pairs({}),
      pairs({ model_type: 'llama' }),
      pairs({ model_type: 'glm4' }),
      pairs({ model_type: 'glm4' }, { rotaryInterleaved: false }),
      rotaryTables({ headDim: 8, maxPositions: 1 }).rotaryInterleaved,
      rotaryTables({ headDim: 8, maxPositions: 1, rotaryInterleaved: true }).rotaryInterleaved,
    ]).toEqual([false, false, true, false, false, true]);
  });

  test('missing and contradictory fields are refused', () => {
    const message = (config: unknown, rest: object = {}) =>
      refusal(() => rotaryTables({ config, maxPositions: 16, ...rest } as RotaryConfigOptions));
    expect([
      message(null),
      message('{}'),
      message({ head_dim: 8 }),
      message({ rope_theta: 16, hidden_size: 64 }),
      message({ rope_theta: 16, num_attention_heads: 64 }),
      message({ ...llama, head_dim: '8' }),
      message(llama, { headDim: 16 }),
      message(llama, { theta: 17 }),
      message({ ...llama, rope_parameters: { rope_theta: 17 } }),
      message({ ...llama, rope_parameters: { factor: 2 }, rope_scaling: { factor: 3 } }),
      message({ ...llama, partial_rotary_factor: 0.5, rotary_dim: 6 }),
      message({ ...llama, text_config: {} }),
      message({ ...llama, qk_rope_head_dim: 64 }),
      message({ ...llama, global_head_dim: 16 }),
      message({ ...llama, rope_scaling: [1] }),
      message(llama, { scaling: {} }),
    ]).toMatchInlineSnapshot(`
      [
        "argument: rotaryTables: config must be an object, not null.",
        "argument: rotaryTables: config must be an object, not "{}".",
        "argument: rotaryTables: config does not say rope_theta. Pass theta; most models that leave it out have 10000.",
        "argument: rotaryTables: config.num_attention_heads is missing: it and hidden_size tell the head size where head_dim does not. Or pass headDim.",
        "argument: rotaryTables: config.hidden_size is missing: it and num_attention_heads tell the head size where head_dim does not. Or pass headDim.",
        "argument: rotaryTables: config.head_dim must be a finite number > 0, not "8".",
        "argument: rotaryTables: headDim is 16, but config.head_dim is 8. Leave one of them out.",
        "argument: rotaryTables: theta is 17, but config.rope_theta is 16. Leave one of them out.",
        "argument: rotaryTables: config.rope_theta is 16, but config.rope_parameters.rope_theta is 17. Leave one of them out.",
        "argument: rotaryTables: config.rope_parameters and config.rope_scaling differ in factor. Leave one of them out.",
        "argument: rotaryTables: the rotary dimension is 6, but 0.5 of a head of 8 are 4 elements. Leave one of them out.",
        "argument: rotaryTables: config is that of a model of several parts. Pass config.text_config.",
        "argument: rotaryTables: config has a qk_rope_head_dim: only a part of a head is rotated, which is not its first (MLA). Pass headDim, theta and scaling of that part instead of config.",
        "argument: rotaryTables: layers have head sizes of their own (config.global_head_dim). Pass headDim, that of the layer.",
        "argument: rotaryTables: config.rope_scaling must be an object, not [1].",
        "argument: rotaryTables: there is no argument scaling. There are config, maxPositions, layerType, headDim, theta, rotaryInterleaved.",
      ]
    `);
  });
});

test('wrong options are refused', () => {
  const message = (options: object) =>
    refusal(() => rotaryTables({ headDim: 8, maxPositions: 16, ...options } as RotaryOptions));
  const scaling = (fields: object) =>
    message({ scaling: { original_max_position_embeddings: 64, ...fields } });
  const four = [1, 1, 1, 1];
  expect([
    refusal(() => rotaryTables(undefined as never)),
    message({ rotary_dim: 4 }),
    message({ layerType: 'full_attention' }),
    message({ maxPositions: 0 }),
    message({ maxPositions: 2 ** 40 }),
    message({ headDim: undefined }),
    message({ theta: -1 }),
    message({ rotaryDim: 3 }),
    message({ rotaryDim: 10 }),
    message({ partialRotaryFactor: 1.5 }),
    message({ partialRotaryFactor: 0.1 }),
    message({ headDim: 7 }),
    message({ rotaryDim: 4, partialRotaryFactor: 0.25 }),
    message({ rotaryInterleaved: 1 }),
    message({ theta: 16, scaling: { rope_theta: 17 } }),
    message({ scaling: 'linear' }),
    message({ scaling: { full_attention: { rope_theta: 1 } } }),
    scaling({ rope_type: 'mrope' }),
    scaling({ rope_type: 1 }),
    scaling({ factor: 8 }),
    scaling({ rope_type: 'linear' }),
    scaling({ rope_type: 'linear', factor: 0 }),
    scaling({ rope_type: 'dynamic', factor: 2 }),
    scaling({ rope_type: 'yarn' }),
    scaling({ rope_type: 'yarn', original_max_position_embeddings: null, factor: 2 }),
    scaling({ rope_type: 'yarn', factor: 2, truncate: 1 }),
    scaling({ rope_type: 'linear', factor: 1e-320 }),
    scaling({ rope_type: 'yarn', short_factor: four, long_factor: four }),
    scaling({ rope_type: 'longrope', short_factor: [1, 1], long_factor: four }),
    scaling({ rope_type: 'longrope', short_factor: four }),
    scaling({ rope_type: 'longrope', short_factor: four, long_factor: [1, 1, null, 1] }),
    scaling({ rope_type: 'longrope', short_factor: four, long_factor: four }),
    scaling({ rope_type: 'llama3', factor: 8, low_freq_factor: 1 }),
    message({ scaling: { rope_type: 'proportional' }, rotaryDim: 4 }),
  ]).toMatchInlineSnapshot(`
    [
      "argument: rotaryTables: the arguments must be one object, not undefined.",
      "argument: rotaryTables: there is no argument rotary_dim. There are headDim, maxPositions, theta, scaling, rotaryDim, partialRotaryFactor, maxPositionEmbeddings, rotaryInterleaved.",
      "argument: rotaryTables: there is no argument layerType. There are headDim, maxPositions, theta, scaling, rotaryDim, partialRotaryFactor, maxPositionEmbeddings, rotaryInterleaved.",
      "argument: rotaryTables: maxPositions must be a whole number ≥ 1, not 0.",
      "limit: rotaryTables: tables may have 268435456 numbers, not 4398046511104. Ask for fewer positions.",
      "argument: rotaryTables: headDim must be a whole number ≥ 1, not undefined.",
      "argument: rotaryTables: theta must be a finite number > 0, not -1.",
      "argument: rotaryTables: rotaryDim must be an even number, not 3.",
      "argument: rotaryTables: pairs of a head are rotated, so of 8 elements an even number from 2 on, not 10.",
      "argument: rotaryTables: pairs of a head are rotated, so of 8 elements an even number from 2 on, not 12.",
      "argument: rotaryTables: pairs of a head are rotated, so of 8 elements an even number from 2 on, not 0.",
      "argument: rotaryTables: pairs of a head are rotated, so of 7 elements an even number from 2 on, not 7.",
      "argument: rotaryTables: the rotary dimension is 4, but 0.25 of a head of 8 are 2 elements. Leave one of them out.",
      "argument: rotaryTables: rotaryInterleaved must be true or false, not 1.",
      "argument: rotaryTables: theta is 16, but scaling.rope_theta is 17. Leave one of them out.",
      "argument: rotaryTables: scaling must be an object, not "linear".",
      "argument: rotaryTables: scaling differs by layer. Pass that of one kind, such as scaling.full_attention.",
      "argument: rotaryTables: scaling is of the rope_type 'mrope', which is not known. There are default, linear, dynamic, yarn, longrope, su, llama3, proportional.",
      "argument: rotaryTables: scaling.rope_type must be a string, not 1.",
      "argument: rotaryTables: scaling has a factor, but no rope_type that says what it is for.",
      "argument: rotaryTables: scaling.factor is missing: linear scaling divides positions by it.",
      "argument: rotaryTables: scaling.factor must be a finite number > 0, not 0.",
      "argument: rotaryTables: scaling leaves something to the max_position_embeddings of the config.json, which are missing. Without a config, pass maxPositionEmbeddings.",
      "argument: rotaryTables: scaling leaves something to the max_position_embeddings of the config.json, which are missing. Without a config, pass maxPositionEmbeddings.",
      "argument: rotaryTables: scaling leaves something to the max_position_embeddings of the config.json, which are missing. Without a config, pass maxPositionEmbeddings.",
      "argument: rotaryTables: scaling.truncate must be true or false, not 1.",
      "argument: rotaryTables: the numbers of scaling are too extreme: angles are not finite.",
      "argument: rotaryTables: scaling is of the rope_type 'yarn' but has a short_factor, which LongRoPE has. Set rope_type to 'longrope' if it is that.",
      "argument: rotaryTables: scaling.short_factor must be 4 numbers, not 2.",
      "argument: rotaryTables: scaling.long_factor must be 4 numbers, not undefined.",
      "argument: rotaryTables: scaling.long_factor[2] must be a finite number > 0, not null.",
      "argument: rotaryTables: scaling leaves something to the max_position_embeddings of the config.json, which are missing. Without a config, pass maxPositionEmbeddings.",
      "argument: rotaryTables: scaling.high_freq_factor is missing: llama3 needs it.",
      "argument: rotaryTables: proportional scaling rotates pairs of the whole head. Say how many by partialRotaryFactor, not by rotaryDim.",
    ]
  `);
});
