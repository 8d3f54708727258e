import type { Fields } from './fields.js';

/** What the angles of a model's rotary embedding depend on. */
export interface RotaryModel {
  readonly headDim: number;
  /** Elements of a head that are rotated. They are pairs, so an odd number is rounded up. */
  readonly rotated: number;
  /** `rotated` as a fraction of the head. */
  readonly fraction: number;
  readonly theta: number;
  /** The `rope_parameters` or `rope_scaling` of a config.json; undefined for no scaling. */
  readonly scaling: Fields | undefined;
  /** `max_position_embeddings`: the positions that the model supports. */
  readonly maxPositionEmbeddings: number | undefined;
  /** The positions that it was trained with before it was extended; undefined if the scaling says them. */
  readonly originalPositions: number | undefined;
  /** Positions of the tables. */
  readonly maxPositions: number;
}

/** Pair t of a head is rotated by position · perPosition[t] radians, and multiplied by `factor`. */
export interface Frequencies {
  readonly perPosition: Float64Array;
  readonly factor: number;
}

type Scaled = (model: RotaryModel, scaling: Fields) => Frequencies;

/** How frequencies are scaled, by `rope_type`. Names and formulas are those of transformers, `modeling_rope_utils.py`. */
const SCALINGS: ReadonlyMap<string, Scaled> = new Map<string, Scaled>([
  ['default', (model) => plain(powers(model, model.theta))],
  ['linear', linear],
  ['dynamic', dynamic],
  ['yarn', yarn],
  ['longrope', longRope],
  // An older name.
  ['su', longRope],
  ['llama3', llama3],
  ['proportional', proportional],
]);

/**
 * Returns the frequencies of a model.
 *
 * @throws PageflashError `argument` if its scaling is unknown, incomplete or not finite
 */
export function frequenciesOf(model: RotaryModel): Frequencies {
  const { scaling, theta } = model;
  if (!scaling) return plain(powers(model, theta));
  const type = ropeTypeOf(scaling);
  const scaled = SCALINGS.get(type);
  if (!scaled) {
    return scaling.refuse(
      `${scaling.name} is of the rope_type '${type}', which is not known. There are ${[...SCALINGS.keys()].join(', ')}.`,
    );
  }
  const frequencies = scaled(model, scaling);
  if (!frequencies.perPosition.every(Number.isFinite) || !Number.isFinite(frequencies.factor))
    scaling.refuse(`the numbers of ${scaling.name} are too extreme: angles are not finite.`);
  return frequencies;
}

/** Returns the `rope_type` of a scaling, which older files call `type`. */
export function ropeTypeOf(scaling: Fields): string {
  const type = scaling.text('rope_type') ?? scaling.text('type');
  if (type !== undefined) return type;
  const key = ['factor', 'short_factor', 'long_factor'].find((name) => scaling.has(name));
  if (key === undefined) return 'default';
  scaling.refuse(`${scaling.name} has a ${key}, but no rope_type that says what it is for.`);
}

/** Returns base^(−2t / rotated) for each pair t. */
function powers({ rotated }: RotaryModel, base: number): Float64Array {
  return Float64Array.from({ length: Math.ceil(rotated / 2) }, (_, t) => base ** ((-2 * t) / rotated));
}

function plain(perPosition: Float64Array): Frequencies {
  return { perPosition, factor: 1 };
}

/** Divides every position by `factor`. */
function linear(model: RotaryModel, scaling: Fields): Frequencies {
  const factor = scaling.needed('factor', 'linear scaling divides positions by it');
  return plain(powers(model, model.theta).map((frequency) => frequency / factor));
}

/** Raises the base with the length beyond that of the model, or by `alpha` at any length. */
function dynamic(model: RotaryModel, scaling: Fields): Frequencies {
  const { theta, rotated, maxPositions } = model;
  const exponent = rotated / (rotated - 2);
  const alpha = scaling.number('alpha');
  if (alpha !== undefined) return plain(powers(model, theta * alpha ** exponent));
  const factor = scaling.needed('factor', 'dynamic scaling grows by it');
  const known = positionsOf(model, scaling);
  const growth = (factor * Math.max(maxPositions, known)) / known - (factor - 1);
  return plain(powers(model, theta * growth ** exponent));
}

/** Divides slow pairs by `factor` and leaves fast ones, with a ramp between. */
function yarn(model: RotaryModel, scaling: Fields): Frequencies {
  if (scaling.has('short_factor')) {
    scaling.refuse(
      `${scaling.name} is of the rope_type '${ropeTypeOf(scaling)}' but has a short_factor, which LongRoPE has. Set rope_type to 'longrope' if it is that.`,
    );
  }
  const { theta, rotated } = model;
  const original = originalOf(model, scaling);
  const factor = scaling.number('factor') ?? positionsOf(model, scaling) / original;
  const pairOf = (nTurns: number): number =>
    (rotated * Math.log(original / (nTurns * 2 * Math.PI))) / (2 * Math.log(theta));
  const bounds = [pairOf(scaling.number('beta_fast') ?? 32), pairOf(scaling.number('beta_slow') ?? 1)];
  const [first, last] =
    scaling.flag('truncate') === false ? bounds : [Math.floor(bounds[0]!), Math.ceil(bounds[1]!)];
  const low = Math.max(first!, 0);
  const high = Math.min(last!, rotated - 1);
  const width = high === low ? 0.001 : high - low;
  const perPosition = powers(model, theta).map((frequency, t) => {
    const slow = Math.min(Math.max((t - low) / width, 0), 1);
    return (frequency / factor) * slow + frequency * (1 - slow);
  });
  return { perPosition, factor: attentionFactor(scaling) ?? yarnFactor(scaling, factor) };
}

function yarnFactor(scaling: Fields, factor: number): number {
  const lengthening = (weight: number): number => (factor <= 1 ? 1 : 0.1 * weight * Math.log(factor) + 1);
  const weight = scaling.number('mscale', { least: 0 });
  const allWeight = scaling.number('mscale_all_dim', { least: 0 });
  return weight && allWeight ? lengthening(weight) / lengthening(allWeight) : lengthening(1);
}

/**
 * Divides each pair by a factor of its own: from one list for tables up to the original length, from another for longer
 * ones.
 */
function longRope(model: RotaryModel, scaling: Fields): Frequencies {
  const original = originalOf(model, scaling);
  const isLong = model.maxPositions > original;
  const frequencies = powers(model, model.theta);
  const lists = ['short_factor', 'long_factor'].map((key) => scaling.list(key, frequencies.length));
  const factors = lists[isLong ? 1 : 0]!;
  const perPosition = frequencies.map((frequency, t) => frequency / factors[t]!);
  const given = scaling.number(isLong ? 'long_mscale' : 'short_mscale') ?? attentionFactor(scaling);
  if (given !== undefined) return { perPosition, factor: given };
  const factor = scaling.number('factor') ?? positionsOf(model, scaling) / original;
  const lengthening = factor <= 1 ? 1 : Math.sqrt(1 + Math.log(factor) / Math.log(original));
  return { perPosition, factor: lengthening };
}

/** Divides pairs by `factor` that turn seldom within the original length, with a ramp to those that turn often. */
function llama3(model: RotaryModel, scaling: Fields): Frequencies {
  const why = 'llama3 needs it';
  const original = originalOf(model, scaling);
  const factor = scaling.needed('factor', why);
  const low = scaling.needed('low_freq_factor', why);
  const high = scaling.needed('high_freq_factor', why);
  return plain(
    powers(model, model.theta).map((frequency) => {
      const nTurns = (original * frequency) / (2 * Math.PI);
      if (nTurns > high) return frequency;
      if (nTurns < low) return frequency / factor;
      const fast = (nTurns - low) / (high - low);
      return ((1 - fast) * frequency) / factor + fast * frequency;
    }),
  );
}

/** Gives the first pairs the frequencies of a fully rotated head. The others do not turn. */
function proportional({ headDim, fraction, theta }: RotaryModel, scaling: Fields): Frequencies {
  const factor = scaling.number('factor') ?? 1;
  const nTurning = Math.floor((fraction * headDim) / 2);
  return plain(
    Float64Array.from({ length: Math.floor(headDim / 2) }, (_, t) =>
      t < nTurning ? theta ** ((-2 * t) / headDim) / factor : 0,
    ),
  );
}

function attentionFactor(scaling: Fields): number | undefined {
  return scaling.number('attention_factor', { least: 0 });
}

function originalOf(model: RotaryModel, scaling: Fields): number {
  const original = model.originalPositions ?? scaling.number('original_max_position_embeddings');
  return original ?? positionsOf(model, scaling);
}

function positionsOf({ maxPositionEmbeddings }: RotaryModel, scaling: Fields): number {
  if (maxPositionEmbeddings !== undefined) return maxPositionEmbeddings;
  scaling.refuse(
    `${scaling.name} leaves something to the max_position_embeddings of the config.json, which are missing. Without a config, pass maxPositionEmbeddings.`,
  );
}
