import { checkCounts, checkNames, namesOf } from '../core/checkArguments.js';
import { fail } from '../core/errors.js';
import { Fields } from './fields.js';
import { frequenciesOf } from './frequencies.js';
import { layersIn, sourceOfConfig } from './rotaryConfig.js';
import { modelOf, type RotarySource } from './rotaryModel.js';

interface TableOptions {
  /** Positions of the tables, from 0 on: the longest sequence. */
  readonly maxPositions: number;
  /**
   * Whether elements (2t, 2t + 1) of a head are a pair; else (t, t + rotaryDim / 2), as in almost all models on Hugging
   * Face. Default: what is known of the config's `model_type`, else false.
   */
  readonly rotaryInterleaved?: boolean | undefined;
}

/** What tables are made of, in one's own words. */
export interface RotaryOptions extends TableOptions {
  readonly headDim: number;
  /** The base of the angles. Default: what `scaling` says, else 10000. */
  readonly theta?: number | undefined;
  /** `rope_parameters` or `rope_scaling` of a config.json, as it stands there. Default: no scaling. */
  readonly scaling?: object | null | undefined;
  /** Elements of a head that are rotated, from the first on; even. Default: all. */
  readonly rotaryDim?: number | undefined;
  /** The same as a fraction of the head, above 0 and at most 1. */
  readonly partialRotaryFactor?: number | undefined;
  /** `max_position_embeddings` of the config.json, which some scalings need. */
  readonly maxPositionEmbeddings?: number | undefined;
}

/** What tables are made of, as a model says it. */
export interface RotaryConfigOptions extends TableOptions {
  /** The config.json of a model, of transformers 5 or before. */
  readonly config: object;
  /** Which layers, such as 'sliding_attention', if they differ in their angles. */
  readonly layerType?: string | undefined;
  /** To be said where the config leaves it out, or has several. */
  readonly headDim?: number | undefined;
  /** To be said where the config leaves it out. */
  readonly theta?: number | undefined;
}

/** Arguments of `attnWithKvCache`. */
export interface RotaryTables {
  /** [maxPositions, rotaryDim / 2]: cosines by position, row after row */
  readonly rotaryCos: Float32Array<ArrayBuffer>;
  /** [maxPositions, rotaryDim / 2]: sines */
  readonly rotarySin: Float32Array<ArrayBuffer>;
  readonly rotaryDim: number;
  readonly rotaryInterleaved: boolean;
}

const CALLER = 'rotaryTables';

const OPTIONS = namesOf<RotaryOptions>({
  headDim: true,
  maxPositions: true,
  theta: true,
  scaling: true,
  rotaryDim: true,
  partialRotaryFactor: true,
  maxPositionEmbeddings: true,
  rotaryInterleaved: true,
});

const CONFIG_OPTIONS = namesOf<RotaryConfigOptions>({
  config: true,
  maxPositions: true,
  layerType: true,
  headDim: true,
  theta: true,
  rotaryInterleaved: true,
});

/**
 * Tables of cosines and sines for rotary embeddings, to be spread into the arguments of `attnWithKvCache`. Angles are
 * computed in f64. Pair t of position p is turned by p · theta^(−2t / rotaryDim), scaled as a model's config.json says:
 *
 * | rope_type | |
 * | --- | --- |
 * | `default` | not at all |
 * | `linear` | positions are divided by `factor` |
 * | `dynamic` | theta grows with the length: with `maxPositions`, where that is beyond the model's own |
 * | `yarn` | slow pairs as `linear`, fast ones not; cosines and sines are multiplied by the attention factor |
 * | `llama3` | likewise, without that factor |
 * | `longrope` (`su`) | each pair by a factor of its own, from `long_factor` if `maxPositions` is beyond the original length, else from `short_factor`; with an attention factor |
 * | `proportional` | only the first pairs turn, in the frequencies of a full head |
 *
 * `dynamic` and `longrope` give other angles for other lengths, so tables of one length are for one cache: keys of both
 * do not go together. Factors that a model puts on the scores themselves are for its `softmaxScale`.
 *
 * Tables on the host go up whenever they are passed; long ones are better made tensors once, by `tensorFrom`.
 *
 * @throws PageflashError `argument` for what is missing, unknown or contradicts itself; `limit` without memory
 * @example
 * const rotary = rotaryTables({ config, maxPositions: 4096 }); // JSON.parse of the model's config.json
 * const rotary = rotaryTables({ headDim: 128, theta: 500000, maxPositions: 4096 });
 * attnWithKvCache(runtime, { q, k, v, kCache, vCache, cacheSeqlens, causal: true, ...rotary });
 */
export function rotaryTables(options: RotaryConfigOptions): RotaryTables;
export function rotaryTables(options: RotaryOptions): RotaryTables;
export function rotaryTables(options: RotaryOptions | RotaryConfigOptions): RotaryTables {
  const isConfig = hasConfig(options);
  checkNames(CALLER, options, isConfig ? CONFIG_OPTIONS : OPTIONS);
  const { maxPositions } = options;
  checkCounts(CALLER, { maxPositions });
  const source = isConfig ? sourceOfConfig(CALLER, options) : sourceOfOptions(options);
  checkCounts(CALLER, { headDim: source.headDim });
  checkSize(maxPositions * Math.ceil(source.headDim / 2));
  const { perPosition, factor } = frequenciesOf(modelOf(CALLER, source, maxPositions));
  const nPairs = perPosition.length;
  const [rotaryCos, rotarySin] = [allocate(maxPositions * nPairs), allocate(maxPositions * nPairs)];
  for (let position = 0, i = 0; position < maxPositions; position++) {
    for (let t = 0; t < nPairs; t++, i++) {
      const angle = position * perPosition[t]!;
      rotaryCos[i] = factor * Math.cos(angle);
      rotarySin[i] = factor * Math.sin(angle);
    }
  }
  const rotaryInterleaved = new Fields(CALLER, '', options).flag('rotaryInterleaved');
  return {
    rotaryCos,
    rotarySin,
    rotaryDim: 2 * nPairs,
    rotaryInterleaved: rotaryInterleaved ?? source.interleaved,
  };
}

function hasConfig(options: RotaryOptions | RotaryConfigOptions): options is RotaryConfigOptions {
  return typeof options === 'object' && options !== null && 'config' in options;
}

function sourceOfOptions(options: RotaryOptions): RotarySource {
  const given = new Fields(CALLER, '', options);
  // A config.json without scaling has null there.
  const scaling =
    options.scaling === undefined || options.scaling === null
      ? undefined
      : new Fields(CALLER, 'scaling', options.scaling);
  const layers = scaling && layersIn(scaling);
  if (layers)
    fail(
      'argument',
      CALLER,
      `scaling differs by layer. Pass that of one kind, such as scaling.${layers[0]}.`,
    );
  const rotaryDim = given.number('rotaryDim');
  if (rotaryDim !== undefined && rotaryDim % 2 !== 0)
    fail('argument', CALLER, `rotaryDim must be an even number, not ${rotaryDim}.`);
  return {
    headDim: options.headDim,
    scaling,
    theta: { theta: given.number('theta') },
    noTheta: () => 10000,
    fraction: { partialRotaryFactor: given.number('partialRotaryFactor') },
    rotaryDim: { rotaryDim },
    maxPositionEmbeddings: given.number('maxPositionEmbeddings'),
    originalPositions: undefined,
    interleaved: false,
  };
}

/** The longest table that is worth computing: a GiB. */
const MOST_NUMBERS = 2 ** 28;

function checkSize(n: number): void {
  if (n > MOST_NUMBERS)
    fail('limit', CALLER, `tables may have ${MOST_NUMBERS} numbers, not ${n}. Ask for fewer positions.`);
}

function allocate(n: number): Float32Array<ArrayBuffer> {
  try {
    return new Float32Array(n);
  } catch {
    fail('limit', CALLER, `there is no memory for tables of ${n} numbers. Ask for fewer positions.`);
  }
}
