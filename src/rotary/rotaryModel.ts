import { fail } from '../core/errors.js';
import { agreed, type Fields, type Places } from './fields.js';
import { typeOf, type RotaryModel } from './frequencies.js';

/** What is said about the angles of a model, in whatever places. */
export interface RotarySource {
  readonly headDim: number;
  /** As in config.json; it may say some of what follows as well. */
  readonly scaling: Fields | undefined;
  readonly theta: Places;
  /** The theta where nothing says it. */
  readonly noTheta: () => number;
  /** Of the head, how much is rotated ... */
  readonly fraction: Places;
  /** ... or how many elements. */
  readonly rotaryDim: Places;
  readonly maxPositionEmbeddings: number | undefined;
  readonly originalPositions: number | undefined;
  readonly interleaved: boolean;
}

/** Puts together what is said, and refuses what contradicts itself. */
export function modelOf(caller: string, source: RotarySource, maxPositions: number): RotaryModel {
  const { headDim, scaling, maxPositionEmbeddings, originalPositions } = source;
  const alsoIn = (key: string): Places =>
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
  if (rotaryDim !== undefined && scaling && typeOf(scaling) === 'proportional') {
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
