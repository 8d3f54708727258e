import type { Runtime } from '../../src/index.js';
import type { Axes, Row } from './coveringArray.js';

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
  check(runtime: Runtime, cell: Row<A>, seed: number): Promise<void>;
}
