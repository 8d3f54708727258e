import { noiseBits, noiseKeys, scalesOf, type Sampling } from './sampling.js';

/** What a row is sampled from. */
export interface SampleReferenceArgs {
  /** [vocabSize] */
  readonly logits: Float32Array;
  readonly sampling: Sampling;
  /** Of the token to be chosen, in its sequence. */
  readonly position: number;
  /** The tokens before it. */
  readonly history: ArrayLike<number>;
}

export interface SampleReference {
  readonly token: number;
  /** ln(softmax(logits)[token]), without penalty, temperature and filters. */
  readonly logProb: number;
  /** How far the token's score is above the next one's. */
  readonly margin: number;
}

/** The twin of the sampling kernels: filters by sorting, probabilities in f64. */
export function sampleReference(args: SampleReferenceArgs): SampleReference {
  const { logits, sampling, position } = args;
  const finite = Float64Array.from(logits, (logit) => finiteLogit(logit, args));
  const probabilities = samplingProbabilities(args);
  const keys = noiseKeys(sampling.seed, position);
  let [token, best, second] = [0, -Infinity, -Infinity];
  probabilities.forEach((p, id) => {
    if (p === 0) return;
    const score = sampling.temperature === 0 ? 0 : Math.log(p) + gumbel(noiseBits(keys, id));
    if (score > best) [token, best, second] = [id, score, best];
    else second = Math.max(second, score);
  });
  const largest = Math.max(...finite);
  const sum = finite.reduce((total, logit) => total + Math.exp(logit - largest), 0);
  const logProb = largest === -Infinity ? -Infinity : finite[token]! - largest - Math.log(sum);
  return { token, logProb, margin: best - second };
}

/** Returns the probability of every token after penalty, temperature and filters; for a greedy row, 1 for one token. */
export function samplingProbabilities(args: SampleReferenceArgs): Float64Array {
  const { temperature, topK, topP, minP } = args.sampling;
  const x = scaledLogits(args);
  const largest = Math.max(...x);
  if (largest === -Infinity) return new Float64Array(x.length);
  if (temperature === 0)
    return new Float64Array(x.length).fill(1, x.indexOf(largest), x.indexOf(largest) + 1);

  const mass = x.map((value) => Math.exp(value - largest));
  const keepIf = (keeps: (id: number) => boolean): void => {
    const dropped = Array.from(mass.keys()).filter((id) => !keeps(id));
    for (const id of dropped) mass[id] = 0;
  };
  const descending = x.toSorted().toReversed();
  if (topK > 0 && topK < x.length) keepIf((id) => x[id]! >= descending[topK - 1]!);
  if (topP < 1) {
    const moreLikely = massOfMoreLikely(x, mass);
    const total = sumOf(mass);
    keepIf((id) => moreLikely.get(x[id]!)! < topP * total);
  }
  if (minP > 0) keepIf((id) => mass[id]! >= minP);
  const total = sumOf(mass);
  return mass.map((m) => m / total);
}

/** For each value of x, the mass of all tokens with larger ones. */
function massOfMoreLikely(x: Float64Array, mass: Float64Array): Map<number, number> {
  const order = Array.from(x.keys()).toSorted((a, b) => x[b]! - x[a]!);
  const above = new Map<number, number>();
  let sum = 0;
  for (const id of order) {
    if (!above.has(x[id]!)) above.set(x[id]!, sum);
    sum += mass[id]!;
  }
  return above;
}

/** [vocabSize]: after penalty and temperature, rounded to f32 as the kernel rounds them. */
function scaledLogits(args: SampleReferenceArgs): Float64Array {
  const { logits, sampling, history } = args;
  const seen = new Set(Array.from(history));
  const scales = scalesOf(sampling);
  return Float64Array.from(logits, (given, id) => {
    const logit = finiteLogit(given, args);
    if (!seen.has(id)) return Math.fround(logit * scales.plain);
    return Math.fround(logit * (logit > 0 ? scales.seenPositive : scales.seenNegative));
  });
}

/** NaN and −∞ are −∞, +∞ is the largest logit. */
function finiteLogit(logit: number, { sampling }: SampleReferenceArgs): number {
  if (Number.isNaN(logit) || logit === -Infinity) return -Infinity;
  const { limit } = scalesOf(sampling);
  return Math.min(Math.max(logit, -limit), limit);
}

/** −ln(−ln(1 − w)) of w = (bits + ½) / 2³². */
function gumbel(bits: number): number {
  return -Math.log(-Math.log1p(-(bits + 0.5) / 2 ** 32));
}

function sumOf(values: Float64Array): number {
  return values.reduce((sum, value) => sum + value, 0);
}
