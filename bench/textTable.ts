/** A column of a table for the terminal. */
export interface Column<R> {
  readonly title: string;
  /** Default right. */
  readonly align?: 'left' | 'right';
  readonly cell: (row: R) => string;
}

/** Rows under the titles of their columns; nothing where there are no rows. */
export function textTable<R>(columns: readonly Column<R>[], rows: readonly R[]): string[] {
  if (rows.length === 0) return [];
  const lines = [
    columns.map(({ title }) => title),
    ...rows.map((row) => columns.map(({ cell }) => cell(row))),
  ];
  const widths = columns.map((_, i) => Math.max(...lines.map((line) => line[i]!.length)));
  return lines.map((line) =>
    line
      .map((cell, i) => (columns[i]!.align === 'left' ? cell.padEnd(widths[i]!) : cell.padStart(widths[i]!)))
      .join('  ')
      .trimEnd(),
  );
}
