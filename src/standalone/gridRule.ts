import { fail } from '../core/errors.js';
import { grid2d } from '../core/dispatch.js';

/** How many workgroups a dispatch needs, by its params: `ceil(jobs / jobsPerWorkgroup)`. */
export interface GridRule {
  /** Their product is the number of jobs. */
  readonly factors: readonly GridFactor[];
  readonly jobsPerWorkgroup: number;
  /**
   * The most workgroups of a dimension. If n are needed and n is larger, dispatch y = ceil(n / maxPerDimension) rows of
   * ceil(n / y): kernels number workgroups row by row, and ignore those beyond n.
   */
  readonly maxPerDimension: number;
  /** The rule in words. */
  readonly formula: string;
}

/** `ceil((sum of plus − sum of minus) / dividedBy)`, of fields of params. */
export interface GridFactor {
  readonly plus: readonly string[];
  readonly minus: readonly string[];
  readonly dividedBy: number;
}

/** A factor, or the name of the one field that it consists of. */
export type FactorInShort = string | (Pick<GridFactor, 'plus'> & Partial<GridFactor>);

export function gridRule({
  factors,
  jobsPerWorkgroup,
  maxPerDimension,
}: Pick<GridRule, 'jobsPerWorkgroup' | 'maxPerDimension'> & {
  readonly factors: readonly FactorInShort[];
}): GridRule {
  const whole = factors.map((factor): GridFactor => ({
    minus: [],
    dividedBy: 1,
    ...(typeof factor === 'string' ? { plus: [factor] } : factor),
  }));
  const product = whole.map(formulaOf).join(' * ');
  const formula = jobsPerWorkgroup === 1 ? product : `ceil(${product} / ${jobsPerWorkgroup})`;
  return { factors: whole, jobsPerWorkgroup, maxPerDimension, formula };
}

function formulaOf({ plus, minus, dividedBy }: GridFactor): string {
  const terms = [plus.join(' + '), ...minus].join(' - ');
  const isSum = plus.length + minus.length > 1;
  if (dividedBy === 1) return isSum ? `(${terms})` : terms;
  return `ceil(${isSum ? `(${terms})` : terms} / ${dividedBy})`;
}

/**
 * Returns the workgroups in x, y and z for a dispatch with these params.
 *
 * @throws PageflashError `argument` if a param of the rule is no whole number ≥ 0
 */
export function dispatchSize(
  { grid }: { readonly grid: GridRule },
  params: Readonly<Record<string, number>>,
): [x: number, y: number, z: number] {
  const valueOf = (name: string): number => {
    const value = params[name];
    if (value === undefined || !Number.isSafeInteger(value) || value < 0)
      fail('argument', 'dispatchSize', `${name} must be a whole number ≥ 0, not ${String(value)}.`);
    return value;
  };
  const sum = (names: readonly string[]): number => names.reduce((total, name) => total + valueOf(name), 0);
  const jobs = grid.factors.reduce(
    (product, { plus, minus, dividedBy }) =>
      product * Math.max(0, Math.ceil((sum(plus) - sum(minus)) / dividedBy)),
    1,
  );
  return grid2d(Math.ceil(jobs / grid.jobsPerWorkgroup), grid.maxPerDimension);
}
