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
  const open = targetsOf(options);
  for (const row of options.present ?? []) for (const held of keysOf(row, options)) open.delete(held);
  const rows: Row<A>[] = [];
  const left: Partial<Row<A>>[] = [];
  while (open.size > 0) {
    const [key, start] = open.entries().next().value!;
    let best: Row<A> | undefined;
    let most = 0;
    for (let i = 0; i < CANDIDATES; i++) {
      const row = complete(start, options, open);
      const gain = row ? keysOf(row, options).filter((held) => open.has(held)).length : 0;
      if (gain > most) [best, most] = [row, gain];
    }
    if (best) {
      rows.push(best);
      for (const held of keysOf(best, options)) open.delete(held);
    } else {
      left.push(start);
      open.delete(key);
    }
  }
  return { rows: shuffled(rows, random), left };
}

/** A row of random values, with those given. */
export function randomRow<A extends Axes>(
  options: Omit<CoveringOptions<A>, 'strength'>,
  given: Partial<Row<A>> = {},
): Row<A> {
  for (let i = 0; i < MOST_TRIES; i++) {
    const row = complete(given, { ...options, strength: 1 }, new Map());
    if (row) return row;
  }
  throw new Error(`No row is allowed to hold ${JSON.stringify(given)}.`);
}

const MOST_TRIES = 1000;

/** Everything that some row is to hold, by its key. */
function targetsOf<A extends Axes>(options: CoveringOptions<A>): Map<string, Partial<Row<A>>> {
  const { axes, strength, allows = () => true } = options;
  const values = Object.entries(axes).flatMap(([axis, all]) => all.map((value) => ({ [axis]: value })));
  const targets =
    strength === 1
      ? values
      : values.flatMap((one, i) => values.slice(i + 1).map((other) => ({ ...one, ...other })));
  return new Map(
    (targets as Partial<Row<A>>[])
      .filter((target) => Object.keys(target).length === strength && allows(target))
      .map((target) => [keysOf(target, options)[0]!, target]),
  );
}

/** Keys of the values, or pairs of values, that a row holds. */
function keysOf<A extends Axes>(row: Partial<Row<A>>, options: CoveringOptions<A>): string[] {
  const held = Object.keys(options.axes).filter((axis) => axis in row);
  return held.flatMap((axis, i) => newKeys(axis, row, held.slice(0, i), options));
}

/** Keys of what a value adds to those of other axes. */
function newKeys<A extends Axes>(
  axis: string,
  row: Partial<Row<A>>,
  others: readonly string[],
  { axes, strength }: CoveringOptions<A>,
): string[] {
  const keyOf = (name: string): string => `${name}:${axes[name]!.indexOf(row[name])}`;
  const own = keyOf(axis);
  if (strength === 1) return [own];
  return others.map((other) => (other < axis ? `${keyOf(other)} ${own}` : `${own} ${keyOf(other)}`));
}

function complete<A extends Axes>(
  start: Partial<Row<A>>,
  options: CoveringOptions<A>,
  open: ReadonlyMap<string, unknown>,
): Row<A> | undefined {
  const { axes, allows = () => true, random } = options;
  let row = start;
  for (const axis of shuffled(Object.keys(axes), random)) {
    if (axis in row) continue;
    const chosen = Object.keys(row);
    let best: Partial<Row<A>> | undefined;
    let most = -1;
    for (const value of shuffled(axes[axis]!, random)) {
      const next = { ...row, [axis]: value };
      if (!allows(next)) continue;
      const gain = newKeys(axis, next, chosen, options).filter((key) => open.has(key)).length;
      if (gain > most) [best, most] = [next, gain];
    }
    if (!best) return undefined;
    row = best;
  }
  return row as Row<A>;
}

function shuffled<T>(items: readonly T[], random: Random): T[] {
  return Array.from(random.permutation(items.length), (i) => items[i]!);
}
