/** Functions of the caller's own, in JavaScript: arguments of all attention functions. */
export interface ModOptions {
  /**
   * What a score becomes after bias and before masks; b is the sequence, h the query head, q and k the positions of query
   * and key. Below −1e30, −∞ and NaN hide the key.
   */
  readonly scoreMod?: ((score: number, b: number, h: number, q: number, k: number) => number) | undefined;
  /** Whether a key is seen, besides the other masks. */
  readonly maskMod?: ((b: number, h: number, q: number, k: number) => boolean) | undefined;
}

/** A row, and where it and its keys stand. */
interface ModRow {
  readonly sequence: number;
  readonly head: number;
  readonly p: number;
  readonly positionOf: (j: number) => number;
  /** Whether maskMod is not asked about a key. */
  readonly isFull: (j: number) => boolean;
}

/** Scores below it hide keys. */
const LOWEST_SCORE = -1e30;

/** Returns what a score of a row becomes by its key; −∞ for a key that the row does not see. */
export function modified(
  { scoreMod, maskMod }: ModOptions,
  { sequence, head, p, positionOf, isFull }: ModRow,
): (score: number, j: number) => number {
  if (!scoreMod && !maskMod) return (score) => score;
  return (score, j) => {
    if (score === -Infinity) return score;
    const k = positionOf(j);
    if (maskMod && !isFull(j) && !maskMod(sequence, head, p, k)) return -Infinity;
    if (!scoreMod) return score;
    const becomes = scoreMod(score, sequence, head, p, k);
    return becomes >= LOWEST_SCORE ? becomes : -Infinity;
  };
}
