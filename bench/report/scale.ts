/** From values to pixels, with the values that deserve a line. */
export interface Scale {
  at(value: number): number;
  readonly ticks: readonly number[];
}

export interface ScaleArgs {
  /** Values that must have a place. */
  readonly values: readonly number[];
  /** Pixels of the first and the last place. */
  readonly range: readonly [number, number];
}

const MOST_TICKS = 9;

/**
 * A logarithmic scale that starts and ends at a tick.
 *
 * @param choices lists of ticks to choose from, finest first; a tick repeats at every power of the list's base
 */
export function logScale({ values, range }: ScaleArgs, choices: readonly LogTicks[]): Scale {
  const [least, most] = [Math.min(...values), Math.max(...values)];
  const lists = choices.map((choice) => ticksAround(least, most, choice));
  const ticks = lists.find(({ length }) => length <= MOST_TICKS) ?? lists.at(-1)!;
  const [low, high] = [Math.log(ticks[0]!), Math.log(ticks.at(-1)!)];
  return { at: between(range, (value) => (Math.log(value) - low) / (high - low)), ticks };
}

export interface LogTicks {
  readonly base: number;
  /** From 1 to below the base, ascending. */
  readonly digits: readonly number[];
}

function ticksAround(least: number, most: number, { base, digits }: LogTicks): number[] {
  const power = (value: number) => Math.floor(Math.log(value) / Math.log(base));
  // Rounding may take a power of the base for one less, so there is one more at the end.
  const powers = Array.from({ length: power(most) - power(least) + 4 }, (_, i) => power(least) - 1 + i);
  const all = powers.flatMap((exponent) => digits.map((digit) => digit * base ** exponent));
  // The last tick not above the least value, all between, and the first one above the most: at least two.
  const start = all.findLastIndex((tick) => tick <= least);
  const end = all.findIndex((tick) => tick > most);
  return all.slice(start, end + 1);
}

/** A scale from 0 on, with a tick at every 1, 2 or 5 times a power of ten. */
export function linearScale({ values, range }: ScaleArgs): Scale {
  const most = Math.max(...values);
  const step = [1, 2, 5]
    .flatMap((digit) => [-2, -1, 0, 1, 2, 3].map((power) => digit * 10 ** power))
    .toSorted((a, b) => a - b)
    .find((candidate) => most / candidate < MOST_TICKS)!;
  const nTicks = Math.ceil(most / step) + 1;
  const ticks = Array.from({ length: nTicks }, (_, i) => i * step);
  return { at: between(range, (value) => value / ticks.at(-1)!), ticks };
}

function between([start, end]: readonly [number, number], share: (value: number) => number) {
  return (value: number) => start + (end - start) * share(value);
}
