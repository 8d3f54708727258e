import type { Random } from '../../tools/random.js';

/** What may be chosen, and from which values. */
export type Axes = Readonly<Record<string, readonly unknown[]>>;

/** One value of each axis. */
export type Row<A extends Axes> = { readonly [Axis in keyof A]: A[Axis][number] };

export interface CoveringOptions<A extends Axes> {
  readonly axes: A;
  /** 1: every value is in some row. 2: every two values of different axes are together in some row. */
  readonly strength: 1 | 2;
  /** Whether there may be a row with these values, whatever the axes not yet chosen say. */
  readonly allows?: (chosen: Partial<Row<A>>) => boolean;
  readonly random: Random;
  /** Rows that are there already. */
  readonly present?: readonly Row<A>[];
}

export interface CoveringArray<A extends Axes> {
  readonly rows: readonly Row<A>[];
  /** What is allowed by itself, but in no whole row that was found. */
  readonly left: readonly Partial<Row<A>>[];
}

/** How many rows are tried for each one that is taken. */
const CANDIDATES = 12;

/**
 * Few rows that hold every value, or every pair of values. Greedy, like AETG: a row starts from something that no row
 * has yet, and takes for one axis after the other the value that adds most.
 */
export function coveringArray<A extends Axes>(options: CoveringOptions<A>): CoveringArray<A> {
  const { random } = options;
  const keys = new Keys(options);
  const open = targetsOf(options, keys);
  for (const row of options.present ?? []) for (const held of keys.of(row)) open.delete(held);
  const gainOf: GainOf<A> = (axis, value, chosen) => countOf(keys.added(axis, value, chosen), open);
  const rows: Row<A>[] = [];
  const left: Partial<Row<A>>[] = [];
  while (open.size > 0) {
    const [key, start] = open.entries().next().value!;
    let best: Row<A> | undefined;
    let most = 0;
    for (let i = 0; i < CANDIDATES; i++) {
      const row = complete(start, options, gainOf);
      const gain = row ? countOf(keys.of(row), open) : 0;
      if (gain > most) [best, most] = [row, gain];
    }
    if (best) {
      rows.push(best);
      for (const held of keys.of(best)) open.delete(held);
    } else {
      left.push(start);
      open.delete(key);
    }
  }
  return { rows: shuffled(rows, random), left };
}

/** A row of random values, with those given. */
export function randomRow<A extends Axes>(
  options: Omit<CoveringOptions<A>, 'strength' | 'present'>,
  given: Partial<Row<A>> = {},
): Row<A> {
  for (let i = 0; i < MOST_TRIES; i++) {
    const row = complete(given, options, () => 0);
    if (row) return row;
  }
  throw new Error(`No row is allowed to hold ${JSON.stringify(given)}.`);
}

const MOST_TRIES = 1000;

/** Everything that some row is to hold, by its key. */
function targetsOf<A extends Axes>(
  { axes, strength, allows = () => true }: CoveringOptions<A>,
  keys: Keys<A>,
): Map<number, Partial<Row<A>>> {
  const values = Object.entries(axes).flatMap(([axis, all]) => all.map((value) => ({ [axis]: value })));
  const targets =
    strength === 1
      ? values
      : values.flatMap((one, i) => values.slice(i + 1).map((other) => ({ ...one, ...other })));
  return new Map(
    (targets as Partial<Row<A>>[])
      .filter((target) => Object.keys(target).length === strength && allows(target))
      .map((target) => [keys.of(target)[0]!, target]),
  );
}

/** Numbers for values, or for pairs of values, since millions of them are looked up. */
class Keys<A extends Axes> {
  /** By axis, the number of each value among those of all axes. */
  readonly #numbers: Readonly<Record<string, ReadonlyMap<unknown, number>>>;
  readonly #count: number;
  readonly #strength: 1 | 2;

  constructor({ axes, strength }: CoveringOptions<A>) {
    let count = 0;
    this.#numbers = Object.fromEntries(
      Object.entries(axes).map(([axis, values]) => [axis, new Map(values.map((value) => [value, count++]))]),
    );
    this.#count = count;
    this.#strength = strength;
  }

  /** Of all that a row holds. */
  of(row: Partial<Row<A>>): number[] {
    const others: Partial<Record<string, unknown>> = {};
    return Object.entries(row).flatMap(([axis, value]) => {
      const keys = this.added(axis, value, others as Partial<Row<A>>);
      others[axis] = value;
      return keys;
    });
  }

  /** Of what a value adds to those that a row holds. */
  added(axis: string, value: unknown, row: Partial<Row<A>>): number[] {
    const own = this.#numberOf(axis, value);
    if (this.#strength === 1) return [own];
    const keys: number[] = [];
    for (const name in row) {
      const other = this.#numberOf(name, row[name]);
      keys.push(Math.min(own, other) * this.#count + Math.max(own, other));
    }
    return keys;
  }

  #numberOf(axis: string, value: unknown): number {
    return this.#numbers[axis]!.get(value)!;
  }
}

function countOf(keys: readonly number[], open: ReadonlyMap<number, unknown>): number {
  let count = 0;
  for (const key of keys) if (open.has(key)) count++;
  return count;
}

/** How much a value of an axis adds to a row. */
type GainOf<A extends Axes> = (axis: string, value: unknown, chosen: Partial<Row<A>>) => number;

function complete<A extends Axes>(
  start: Partial<Row<A>>,
  options: Omit<CoveringOptions<A>, 'strength' | 'present'>,
  gainOf: GainOf<A>,
): Row<A> | undefined {
  const { axes, allows = () => true, random } = options;
  let row = start;
  for (const axis of shuffled(Object.keys(axes), random)) {
    if (axis in row) continue;
    let best: Partial<Row<A>> | undefined;
    let most = -1;
    for (const value of shuffled(axes[axis]!, random)) {
      const gain = gainOf(axis, value, row);
      if (gain <= most) continue;
      const next = { ...row, [axis]: value };
      if (allows(next)) [best, most] = [next, gain];
    }
    if (!best) return undefined;
    row = best;
  }
  return row as Row<A>;
}

function shuffled<T>(items: readonly T[], random: Random): T[] {
  return Array.from(random.permutation(items.length), (i) => items[i]!);
}
