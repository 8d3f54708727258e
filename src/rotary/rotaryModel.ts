import { fail } from '../core/errors.js';
import { agreed, Fields, type FieldValues } from './fields.js';
import { ropeTypeOf, type RotaryModel } from './frequencies.js';

interface TableOptions {
  /** Positions of the tables, from 0 on: the length of the longest sequence. */
  readonly maxPositions: number;
  /**
   * Whether elements (2t, 2t + 1) of a head are a pair. Otherwise (t, t + rotaryDim / 2) are, as in almost all models on
   * Hugging Face. Default: as the config's `model_type` is known to have it, else false.
   */
  readonly rotaryInterleaved?: boolean | undefined;
}

/** The options of `rotaryTables` without a config.json. */
export interface RotaryOptions extends TableOptions {
  readonly headDim: number;
  /** The base of the angles. Default: that of `scaling`, else 10000. */
  readonly theta?: number | undefined;
  /** `rope_parameters` or `rope_scaling` of a config.json, unchanged. Default: no scaling. */
  readonly scaling?: object | null | undefined;
  /** Elements of a head that are rotated, from the first on: an even number. Default: all. */
  readonly rotaryDim?: number | undefined;
  /** The same as a fraction of the head, above 0 and at most 1. */
  readonly partialRotaryFactor?: number | undefined;
  /** `max_position_embeddings` of the config.json, which some scalings need. */
  readonly maxPositionEmbeddings?: number | undefined;
}

/** The options of `rotaryTables` with the config.json of a model. */
export interface RotaryConfigOptions extends TableOptions {
  /** The config.json of a model, of transformers 5 or before. */
  readonly config: object;
  /** The type of layers, such as 'sliding_attention', if the angles differ by layer. */
  readonly layerType?: string | undefined;
  /** Needed if the config leaves it out, or has several. */
  readonly headDim?: number | undefined;
  /** Needed if the config leaves it out. */
  readonly theta?: number | undefined;
}

/** What options or a config.json say about the angles of a model. Several fields may give the same number. */
export interface RotarySource {
  readonly headDim: number;
  /** As in config.json. It may have some of the numbers below as well. */
  readonly scaling: Fields | undefined;
  readonly theta: FieldValues;
  /** Returns the theta if no field gives it, or throws. */
  readonly noTheta: () => number;
  /** The fraction of the head that is rotated. */
  readonly fraction: FieldValues;
  /** The number of elements of the head that are rotated. */
  readonly rotaryDim: FieldValues;
  readonly maxPositionEmbeddings: number | undefined;
  readonly originalPositions: number | undefined;
  /** Whether elements (2t, 2t + 1) of a head are a pair. */
  readonly interleaved: boolean;
}

/**
 * Returns the model that a source describes.
 *
 * @throws PageflashError `argument` if fields contradict each other
 */
export function modelOf(caller: string, source: RotarySource, maxPositions: number): RotaryModel {
  const { headDim, scaling, maxPositionEmbeddings, originalPositions } = source;
  const alsoIn = (key: string): FieldValues =>
    scaling ? { [`${scaling.name}.${key}`]: scaling.number(key) } : {};
  const theta = agreed(caller, { ...source.theta, ...alsoIn('rope_theta') }) ?? source.noTheta();
  const fraction = agreed(caller, { ...source.fraction, ...alsoIn('partial_rotary_factor') });
  const rotaryDim = agreed(caller, source.rotaryDim);
  const ofFraction = Math.floor(headDim * (fraction ?? 1));
  if (fraction !== undefined && rotaryDim !== undefined && rotaryDim !== ofFraction) {
    fail(
      'argument',
      caller,
      `the rotary dimension is ${rotaryDim}, but ${fraction} of a head of ${headDim} are ${ofFraction} elements. Leave one of them out.`,
    );
  }
  if (rotaryDim !== undefined && scaling && ropeTypeOf(scaling) === 'proportional') {
    fail(
      'argument',
      caller,
      'proportional scaling rotates pairs of the whole head. Say how many by partialRotaryFactor, not by rotaryDim.',
    );
  }
  const rotated = rotaryDim ?? ofFraction;
  if (!Number.isInteger(rotated) || rotated < 2 || rotated + (rotated % 2) > headDim) {
    fail(
      'argument',
      caller,
      `pairs of a head are rotated, so of ${headDim} elements an even number from 2 on, not ${rotated}.`,
    );
  }
  return {
    headDim,
    rotated,
    fraction: fraction ?? 1,
    theta,
    scaling,
    maxPositionEmbeddings,
    originalPositions,
    maxPositions,
  };
}

/** Returns what options without a config.json say. */
export function sourceOfOptions(caller: string, options: RotaryOptions): RotarySource {
  const given = new Fields(caller, '', options);
  // A config.json without scaling has null.
  const scaling =
    options.scaling === undefined || options.scaling === null
      ? undefined
      : new Fields(caller, 'scaling', options.scaling);
  const layers = scaling && layersIn(scaling);
  if (layers)
    fail(
      'argument',
      caller,
      `scaling differs by layer. Pass that of one kind, such as scaling.${layers[0]}.`,
    );
  const rotaryDim = given.number('rotaryDim');
  if (rotaryDim !== undefined && rotaryDim % 2 !== 0)
    fail('argument', caller, `rotaryDim must be an even number, not ${rotaryDim}.`);
  return {
    headDim: options.headDim,
    scaling,
    theta: { theta: given.number('theta') },
    noTheta: () => 10000,
    fraction: { partialRotaryFactor: given.number('partialRotaryFactor') },
    rotaryDim: { rotaryDim },
    maxPositionEmbeddings: given.number('maxPositionEmbeddings'),
    originalPositions: undefined,
    interleaved: given.flag('rotaryInterleaved') ?? false,
  };
}

/** Returns the types of layers that have a scaling each; undefined if there is one scaling for all layers. */
export function layersIn(rope: Fields): readonly string[] | undefined {
  const isObject = (value: unknown): boolean => typeof value === 'object' && !Array.isArray(value);
  return rope.keys.some((key) => isObject(rope.value(key))) ? rope.keys : undefined;
}
