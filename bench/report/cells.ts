import type { Summary } from '../statistics.js';

/** The median, with the quartiles below, as HTML. */
export function spread({ median, q1, q3 }: Summary, format: (value: number) => string): string {
  return `${format(median)}<small>${format(q1)} – ${format(q3)}</small>`;
}

export function cells(contents: readonly string[]): string {
  return contents.map((content) => `<td>${content}</td>`).join('');
}

export function headCells(titles: readonly string[]): string {
  return titles.map((title) => `<th>${title}</th>`).join('');
}
