/** The five-number summary of samples: minimum, quartiles, median, maximum. */
export interface Summary {
  readonly median: number;
  /** First quartile: a quarter of the samples is below. */
  readonly q1: number;
  /** Third quartile: a quarter of the samples is above. */
  readonly q3: number;
  readonly min: number;
  readonly max: number;
  /** How many samples there were. */
  readonly samples: number;
}

/**
 * Summarize samples in any order.
 *
 * @throws RangeError if there are none
 */
export function summarize(samples: readonly number[]): Summary {
  if (samples.length === 0) throw new RangeError('There are no samples to summarize.');
  const sorted = samples.toSorted((a, b) => a - b);
  return {
    median: quantile(sorted, 0.5),
    q1: quantile(sorted, 0.25),
    q3: quantile(sorted, 0.75),
    min: sorted[0]!,
    max: sorted.at(-1)!,
    samples: sorted.length,
  };
}

/** The quantile of sorted samples at `fraction` (0 to 1), by linear interpolation between the two nearest. */
function quantile(sorted: readonly number[], fraction: number): number {
  const at = (sorted.length - 1) * fraction;
  const below = sorted[Math.floor(at)]!;
  const above = sorted[Math.ceil(at)]!;
  return below + (above - below) * (at - Math.floor(at));
}

/** The distance of the quartiles over the median: what is above a tenth is to be told. */
export function spreadOf({ median, q1, q3 }: Summary): number {
  return (q3 - q1) / median;
}

export const WIDE_SPREAD = 0.1;

/**
 * The ratio of the two samples of each round. What slows down a whole round slows down both, so it cancels out.
 *
 * @throws RangeError if the lists differ in length
 */
export function ratios(above: readonly number[], below: readonly number[]): number[] {
  if (above.length !== below.length) {
    throw new RangeError(`${above.length} samples cannot be paired with ${below.length}.`);
  }
  return above.map((value, i) => value / below[i]!);
}

/** The geometric mean, the average that suits ratios: that of 2 and 0.5 is 1. */
export function geometricMean(values: readonly number[]): number {
  return Math.exp(values.reduce((sum, value) => sum + Math.log(value), 0) / values.length);
}
