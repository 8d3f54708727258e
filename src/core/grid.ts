/** Workgroups for `n` jobs in two dimensions, as no dimension may have more than `limit`. Some may be left over. */
export function grid2d(n: number, limit: number): [number, number, number] {
  const y = Math.ceil(n / limit);
  return [y > 1 ? Math.ceil(n / y) : n, y, 1];
}
