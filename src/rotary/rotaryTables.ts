import { checkCounts, checkNames, namesOf } from '../core/checkArguments.js';
import { fail } from '../core/errors.js';
import { frequenciesOf } from './frequencies.js';
import { sourceOfConfig } from './rotaryConfig.js';
import { modelOf, sourceOfOptions, type RotaryConfigOptions, type RotaryOptions } from './rotaryModel.js';

/** Tables of cosines and sines. They are arguments of `attnWithKvCache` by these names. */
export interface RotaryTables {
  /** `[maxPositions, rotaryDim / 2]`: the cosines of each position, row after row */
  readonly rotaryCos: Float32Array<ArrayBuffer>;
  /** `[maxPositions, rotaryDim / 2]`: sines */
  readonly rotarySin: Float32Array<ArrayBuffer>;
  /** Elements of a head that are rotated. */
  readonly rotaryDim: number;
  /** Whether elements (2t, 2t + 1) are a pair, else (t, t + rotaryDim / 2). */
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
 * Returns tables of cosines and sines for rotary embeddings, to be spread into the arguments of `attnWithKvCache`.
 * Angles are computed in f64. Pair t of position p is turned by p · theta^(−2t / rotaryDim), scaled as a model's
 * config.json says:
 *
 * | rope_type | |
 * | --- | --- |
 * | `default` | no scaling |
 * | `linear` | positions are divided by `factor` |
 * | `dynamic` | theta grows with `maxPositions` beyond the model's own length |
 * | `yarn` | slow pairs as in `linear`, fast ones not at all; cosines and sines are multiplied by the attention factor |
 * | `llama3` | as `yarn`, but without the attention factor |
 * | `longrope` (`su`) | each pair is divided by a factor of its own, from `long_factor` if `maxPositions` is beyond the original length, else from `short_factor`; with an attention factor |
 * | `proportional` | only the first pairs turn, with the frequencies of a fully rotated head |
 *
 * `dynamic` and `longrope` give different angles for different `maxPositions`, so use one pair of tables for all keys of
 * a cache. Factors that a model applies to the scores themselves belong in `softmaxScale`.
 *
 * Tables on the host are uploaded by every call. Make long ones tensors once, by `tensorFrom`.
 *
 * @throws PageflashError `argument` for an option or a field that is missing, unknown or contradictory; `limit` if the
 * tables are too large
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
  const source = isConfig ? sourceOfConfig(CALLER, options) : sourceOfOptions(CALLER, options);
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
  return { rotaryCos, rotarySin, rotaryDim: 2 * nPairs, rotaryInterleaved: source.interleaved };
}

function hasConfig(options: RotaryOptions | RotaryConfigOptions): options is RotaryConfigOptions {
  return typeof options === 'object' && options !== null && 'config' in options;
}

/** The most numbers of a table: 1 GiB. */
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
