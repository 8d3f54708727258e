import { Random } from '../../tools/random.js';
import { coveringArray, randomRow, type Axes, type Row } from './coveringArray.js';

/** A family of calls, each described by one value of every axis. */
export interface ConformanceSuite<A extends Axes = Axes> {
  readonly axes: A;
  /** Those of the axes that decide which kernels a cell needs. */
  readonly kernelAxes: Partial<A>;
  /** Whether values can be together in a call. */
  allows(cell: Partial<Row<A>>): boolean;
  /** Multiplications of the cheapest cell with these values. */
  cost(cell: Partial<Row<A>>): number;
  /** Runs the cell on inputs drawn from the seed, and throws unless all that it computes is right. */
  check(device: GPUDevice, cell: Row<A>, seed: number): Promise<void>;
}

/** Cells that need the same kernels, so that these are compiled once for all of them. */
export interface KernelCells<A extends Axes = Axes> {
  readonly kernel: Partial<Row<A>>;
  readonly cells: readonly Row<A>[];
}

export interface SelectionOptions {
  /** 1: every value of every axis; 2: every pair of values. */
  readonly strength: 1 | 2;
  /** Multiplications that a cell may take. */
  readonly maxCost: number;
  /** Whether a value that is only in dearer cells gets one cell, though not one for each pair. */
  readonly withDear: boolean;
  /** Whether the platforms that it is for can run a cell. Default: all of them. */
  readonly isFor?: (cell: Partial<Row<Axes>>) => boolean;
  readonly seed: number;
}

/**
 * A fixed choice of cells that has every pair of values, of few kernels: these have every pair of the values that
 * decide about kernels, and the cells are spread over them. Pairs that none of these can have get kernels of their own.
 */
export function select<A extends Axes>(
  suite: ConformanceSuite<A>,
  { strength, maxCost, withDear, isFor = () => true, seed }: SelectionOptions,
): readonly KernelCells<A>[] {
  const { axes } = suite;
  const random = new Random(seed);
  const canRun = (cell: Partial<Row<A>>): boolean => suite.allows(cell) && isFor(cell);
  const allows = (cell: Partial<Row<A>>): boolean => canRun(cell) && suite.cost(cell) <= maxCost;
  const kernels = coveringArray({ axes: suite.kernelAxes as A, strength, allows: canRun, random }).rows;
  const fits = (cell: Partial<Row<A>>): boolean =>
    kernels.some((kernel) => agrees(kernel, cell) && allows({ ...kernel, ...cell }));
  const shared = coveringArray({ axes, strength, allows: fits, random }).rows;
  const others = coveringArray({ axes, strength, allows, random, present: shared }).rows;
  const missing = withDear ? valuesBeside(axes, [...shared, ...others]) : [];
  const dear = missing.map((value) => cheapest(suite, value, random));
  return groupByKernel(suite, [...shared, ...others, ...dear]);
}

function groupByKernel<A extends Axes>(
  suite: ConformanceSuite<A>,
  cells: readonly Row<A>[],
): readonly KernelCells<A>[] {
  const groups = new Map<string, { readonly kernel: Partial<Row<A>>; readonly cells: Row<A>[] }>();
  for (const cell of cells) {
    const kernel = Object.fromEntries(Object.keys(suite.kernelAxes).map((axis) => [axis, cell[axis]]));
    const key = JSON.stringify(kernel);
    const group = groups.get(key) ?? { kernel: kernel as Partial<Row<A>>, cells: [] };
    group.cells.push(cell);
    groups.set(key, group);
  }
  return [...groups.values()];
}

/** A cell with a value that none can afford. */
function cheapest<A extends Axes>(
  suite: ConformanceSuite<A>,
  value: Partial<Row<A>>,
  random: Random,
): Row<A> {
  const { axes } = suite;
  const candidates = Array.from({ length: CANDIDATES }, () =>
    randomRow({ axes, allows: (cell) => suite.allows(cell), random }, value),
  );
  return candidates.reduce((a, b) => (suite.cost(a) <= suite.cost(b) ? a : b));
}

/** Of how many cells the cheapest is taken. */
const CANDIDATES = 20;

/** One kernel and some cells for it, at random. */
export function draw<A extends Axes>(
  suite: ConformanceSuite<A>,
  { nCells, maxCost, seed }: { readonly nCells: number; readonly maxCost: number; readonly seed: number },
): KernelCells<A> {
  const { axes } = suite;
  const random = new Random(seed);
  const kernel = randomRow({ axes: suite.kernelAxes as A, allows: (part) => suite.allows(part), random });
  const allows = (cell: Partial<Row<A>>): boolean => suite.allows(cell) && suite.cost(cell) <= maxCost;
  const cells = Array.from({ length: nCells }, () => randomRow({ axes, allows, random }, kernel));
  return { kernel, cells };
}

/** Whether no axis has two values. */
function agrees<A extends Axes>(one: Partial<Row<A>>, other: Partial<Row<A>>): boolean {
  for (const axis in other) if (axis in one && one[axis] !== other[axis]) return false;
  return true;
}

/** Values that no row has. */
function valuesBeside<A extends Axes>(axes: A, rows: readonly Row<A>[]): Partial<Row<A>>[] {
  return Object.entries(axes).flatMap(([axis, values]) =>
    values
      .filter((value) => !rows.some((row) => row[axis] === value))
      .map((value) => ({ [axis]: value }) as Partial<Row<A>>),
  );
}
