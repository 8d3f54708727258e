import { describe } from '../core/errors.js';
import { agreed, Fields, type FieldValues } from './fields.js';
import { layersIn, type RotaryConfigOptions, type RotarySource } from './rotaryModel.js';

/** The `model_type` of models that pair elements (2t, 2t + 1) of a head. All others pair (t, t + rotaryDim / 2). */
const INTERLEAVED: ReadonlySet<string> = new Set([
  'cohere',
  'cohere2',
  'cohere2_moe',
  'ernie4_5',
  'ernie4_5_moe',
  'glm',
  'glm4',
  'gptj',
  'helium',
  'llama4_text',
]);

/** Returns what the config.json of a model says about its angles, under any name that these fields have had. */
export function sourceOfConfig(caller: string, options: RotaryConfigOptions): RotarySource {
  const config = new Fields(caller, 'config', options.config);
  const given = new Fields(caller, '', options);
  checkKind(config);
  const { scaling, isOfLayer, theta } = ropeOf(config, options.layerType);
  // The fields of a layer's own scaling override those of the whole config.
  const ofModel = (key: string, ofRope: string): FieldValues =>
    isOfLayer && scaling?.has(ofRope) ? {} : { [`config.${key}`]: config.number(key) };
  return {
    headDim: headDimOf(config, given),
    scaling,
    theta: {
      theta: given.number('theta'),
      ...(theta ?? { ...ofModel('rope_theta', 'rope_theta'), ...ofModel('rotary_emb_base', 'rope_theta') }),
    },
    noTheta: () =>
      config.refuse('config does not say rope_theta. Pass theta; most models that leave it out have 10000.'),
    fraction: {
      ...ofModel('partial_rotary_factor', 'partial_rotary_factor'),
      ...ofModel('rotary_pct', 'partial_rotary_factor'),
    },
    rotaryDim: { 'config.rotary_dim': config.number('rotary_dim') },
    maxPositionEmbeddings: config.number('max_position_embeddings'),
    originalPositions: isOfLayer ? undefined : config.number('original_max_position_embeddings'),
    interleaved: given.flag('rotaryInterleaved') ?? INTERLEAVED.has(config.text('model_type') ?? ''),
  };
}

/** Checks that heads are rotated from their first element on, which is all that tables can express. */
function checkKind(config: Fields): void {
  if (config.has('text_config'))
    config.refuse('config is that of a model of several parts. Pass config.text_config.');
  if (config.has('qk_rope_head_dim')) {
    config.refuse(
      'config has a qk_rope_head_dim: only a part of a head is rotated, which is not its first (MLA). Pass headDim, theta and scaling of that part instead of config.',
    );
  }
}

function headDimOf(config: Fields, given: Fields): number {
  const { caller } = config;
  const headDim = given.number('headDim');
  const ofLayers = ['global_head_dim', 'per_layer_config'].find((key) => config.has(key));
  if (ofLayers !== undefined) {
    if (headDim !== undefined) return headDim;
    config.refuse(
      `layers have head sizes of their own (config.${ofLayers}). Pass headDim, that of the layer.`,
    );
  }
  const said = agreed(caller, { headDim, 'config.head_dim': config.number('head_dim') });
  if (said !== undefined) return said;
  const why = 'it and hidden_size tell the head size where head_dim does not. Or pass headDim';
  const nHeads = config.needed('num_attention_heads', why);
  return Math.floor(config.needed('hidden_size', why.replace('hidden_size', 'num_attention_heads')) / nHeads);
}

interface Rope {
  readonly scaling: Fields | undefined;
  /** Whether the scaling is that of one type of layers. */
  readonly isOfLayer: boolean;
  /** The theta, if it is in a field for one type of layers alone. */
  readonly theta?: FieldValues;
}

/** Returns the part of a config about angles, for layers of a type if they differ. */
function ropeOf(config: Fields, layerType: string | undefined): Rope {
  const { caller } = config;
  const rope = ropeFields(config);
  const types = rope && layersIn(rope);
  if (rope && types) {
    const type = checkLayerType(rope, layerType, types);
    const ofLayer = rope.value(type);
    if (ofLayer === undefined) config.refuse(`layers of the type '${type}' are not rotated at all.`);
    return { scaling: new Fields(caller, `${rope.name}.${type}`, ofLayer), isOfLayer: true };
  }
  // Gemma 3 before transformers 5: sliding layers have a theta of their own, and no scaling.
  if (config.has('rope_local_base_freq')) {
    const type = checkLayerType(config, layerType, ['full_attention', 'sliding_attention']);
    if (type === 'full_attention') return { scaling: rope, isOfLayer: false };
    const name = 'rope_local_base_freq';
    return { scaling: undefined, isOfLayer: true, theta: { [`config.${name}`]: config.number(name) } };
  }
  if (layerType !== undefined) {
    const layerTypes = config.value('layer_types');
    if (!Array.isArray(layerTypes) || !layerTypes.includes(layerType))
      config.refuse(`config has no layers of the layerType ${describe(layerType)}. Leave it out.`);
  }
  return { scaling: rope, isOfLayer: false };
}

/** Returns `rope_parameters`, or `rope_scaling` as it was called before transformers 5. */
function ropeFields(config: Fields): Fields | undefined {
  const [rope, older] = ['rope_parameters', 'rope_scaling']
    .filter((key) => config.has(key))
    .map((key) => new Fields(config.caller, `config.${key}`, config.value(key)));
  const differs = older?.keys.find(
    (key) => key !== 'type' && JSON.stringify(older.value(key)) !== JSON.stringify(rope!.value(key)),
  );
  if (differs !== undefined) {
    config.refuse(
      `config.rope_parameters and config.rope_scaling differ in ${differs}. Leave one of them out.`,
    );
  }
  return rope;
}

function checkLayerType(fields: Fields, layerType: string | undefined, types: readonly string[]): string {
  if (layerType !== undefined && types.includes(layerType)) return layerType;
  const words = types.map((type) => `'${type}'`).join(' or ');
  return fields.refuse(
    `angles of ${fields.name} differ by layer: layerType must be ${words}, not ${describe(layerType)}.`,
  );
}
