import { refuse } from '../engineError.js';

/** How a sequence's tokens are chosen. What is left out is off; with nothing, the most likely token is chosen. */
export interface SamplingOptions {
  /** What logits are divided by; 0 (default) chooses the most likely token, the lowest of several. */
  readonly temperature?: number | undefined;
  /** Keeps the tokens whose logits are at least the topK-th largest; 0 (default): all. */
  readonly topK?: number | undefined;
  /** Keeps the fewest most likely tokens that together have this probability; 1 (default): all. */
  readonly topP?: number | undefined;
  /** Keeps tokens that are at least this times as likely as the most likely one; 0 (default): all. */
  readonly minP?: number | undefined;
  /** Divides positive logits of tokens of the history, and multiplies negative ones; 1 (default): neither. */
  readonly repetitionPenalty?: number | undefined;
  /** Of 32 bits. The same seed, position and logits give the same token. Default 0. */
  readonly seed?: number | undefined;
}

/** Options that have been checked, with their defaults. */
export type Sampling = { readonly [Name in keyof SamplingOptions]-?: number };

const DEFAULTS: Sampling = { temperature: 0, topK: 0, topP: 1, minP: 0, repetitionPenalty: 1, seed: 0 };

interface Rule {
  readonly accepts: (value: number) => boolean;
  readonly range: string;
}

// Temperatures and penalties are bounded, so that no logit that they make overflows an f32.
const RULES: Record<keyof Sampling, Rule> = {
  temperature: {
    accepts: (t) => t === 0 || (t >= 0.001 && t <= 1000),
    range: '0 for the most likely token, or between 0.001 and 1000',
  },
  topK: { accepts: (k) => Number.isInteger(k) && k >= 0 && k < 2 ** 32, range: 'a count, or 0 for no limit' },
  topP: {
    accepts: (p) => p > 0 && p <= 1,
    range: 'above 0 and at most 1, where 1 is no limit',
  },
  minP: { accepts: (p) => p >= 0 && p <= 1, range: 'between 0 and 1, where 0 is no limit' },
  repetitionPenalty: {
    accepts: (penalty) => penalty >= 0.01 && penalty <= 100,
    range: 'between 0.01 and 100, where 1 is none',
  },
  seed: {
    accepts: (seed) => Number.isInteger(seed) && seed >= 0 && seed < 2 ** 32,
    range: 'a whole number between 0 and 4294967295',
  },
};

/**
 * Returns the options with their defaults.
 *
 * @throws EngineError for an option that does not exist, or is out of its range
 */
export function checkSampling(options: SamplingOptions): Sampling {
  const sampling = { ...DEFAULTS };
  for (const [name, value] of Object.entries(options)) {
    if (!isName(name)) refuse(`There is no sampling option ${name}, only ${Object.keys(RULES).join(', ')}.`);
    if (value === undefined) continue;
    const { accepts, range } = RULES[name];
    if (typeof value !== 'number' || !accepts(value))
      refuse(`${name} must be ${range}, not ${typeof value === 'number' ? value : JSON.stringify(value)}.`);
    sampling[name] = value;
  }
  return sampling;
}

function isName(name: string): name is keyof Sampling {
  return Object.hasOwn(RULES, name);
}

/** What logits are multiplied by: numbers of f32, so that every device multiplies by the same. */
export interface Scales {
  readonly plain: number;
  /** For tokens of the history with a positive logit. */
  readonly seenPositive: number;
  /** With a negative one. */
  readonly seenNegative: number;
  /** Logits are clamped to −limit … limit, so that scaled ones, and their differences, stay finite. */
  readonly limit: number;
}

export function scalesOf({ temperature, repetitionPenalty }: Sampling): Scales {
  const plain = temperature === 0 ? 1 : 1 / temperature;
  const [seenPositive, seenNegative] = [plain / repetitionPenalty, plain * repetitionPenalty];
  const limit = 1e38 / Math.max(1, seenPositive, seenNegative);
  const { fround } = Math;
  return {
    plain: fround(plain),
    seenPositive: fround(seenPositive),
    seenNegative: fround(seenNegative),
    limit: fround(limit),
  };
}

/** Two words that a row's noise is hashed with. */
export function noiseKeys(seed: number, position: number): readonly [number, number] {
  return [mix(mix(seed + 0x9e3779b9) ^ position), mix(mix(position + 0x85ebca6b) ^ seed)];
}

/** 32 random bits of a token. */
export function noiseBits([key0, key1]: readonly [number, number], token: number): number {
  return mix(mix(Math.imul(token, 0x9e3779b9) + key0) ^ key1);
}

/** A hash of 32 bits (lowbias32). */
function mix(value: number): number {
  let v = value >>> 0;
  v = Math.imul(v ^ (v >>> 16), 0x7feb352d);
  v = Math.imul(v ^ (v >>> 15), 0x846ca68b);
  return (v ^ (v >>> 16)) >>> 0;
}
