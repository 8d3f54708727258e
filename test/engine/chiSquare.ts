/** Σ (count − expected)² / expected, over what has a probability. Infinite if anything else was counted. */
export function chiSquareOf(counts: ArrayLike<number>, probabilities: Float64Array): number {
  const total = Array.from(counts).reduce((sum, count) => sum + count, 0);
  return probabilities.reduce((sum, p, i) => {
    if (p === 0) return counts[i] === 0 ? sum : Infinity;
    return sum + (counts[i]! - total * p) ** 2 / (total * p);
  }, 0);
}

/** What the statistic exceeds once in 10 000 times if the counts follow the probabilities (Wilson and Hilferty). */
export function chiSquareBound(probabilities: Float64Array): number {
  const freedom = probabilities.filter((p) => p > 0).length - 1;
  const spread = 2 / (9 * freedom);
  return freedom * (1 - spread + 3.719 * Math.sqrt(spread)) ** 3;
}
