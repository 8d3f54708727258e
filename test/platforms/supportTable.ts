import type { Platform } from './gpuCase.js';
import type { Row } from './results.js';

/** The engines of the README's table that a platform runs, by the words that their rows begin with. */
const ENGINES: Readonly<Record<string, Platform>> = {
  Chrome: 'chrome',
  Firefox: 'firefox',
  Node: 'node',
  Deno: 'deno',
};

const HEADING = '## Where it runs';
const COLUMN = 'last run';

/** The README with the versions and dates of these rows in its table of engines. An engine without rows keeps its cell. */
export function fillSupportTable(readme: string, rows: readonly Row[]): string {
  const start = readme.indexOf('\n|', readme.indexOf(HEADING)) + 1;
  const [text = ''] = /^(?:\|.*\n)+/.exec(readme.slice(start)) ?? [];
  const [header = [], , ...lines] = text.trimEnd().split('\n').map(cellsOf);
  const column = header.indexOf(COLUMN);
  if (!readme.includes(HEADING) || column < 0)
    throw new Error(`README.md has no table with a column "${COLUMN}" under "${HEADING}".`);
  const filled = lines.map((line) =>
    line.map((cell, i) => (i === column ? (lastRun(line[0]!, rows) ?? cell) : cell)),
  );
  const table = `${markdownTable([header, ...filled])}\n`;
  return readme.slice(0, start) + table + readme.slice(start + text.length);
}

/** What ran an engine's cases last, and when: for each version, the day of the oldest row that it still has. */
function lastRun(name: string, rows: readonly Row[]): string | undefined {
  const platform = ENGINES[/^\w+/.exec(name)?.[0] ?? ''];
  const ran = rows.filter((row) => row.platform === platform && row.isOffered);
  if (ran.length === 0) return undefined;
  const dates = new Map<string, string>();
  for (const { engine, date } of ran) {
    const known = dates.get(engine);
    dates.set(engine, known !== undefined && known < date ? known : date);
  }
  const nFailed = ran.reduce((sum, { failed }) => sum + failed.length, 0);
  const runs = Array.from(dates, ([engine, date]) => `${engine}, ${date}`).join('; ');
  return nFailed > 0 ? `${runs}: ${nFailed} failed` : runs;
}

function cellsOf(line: string): string[] {
  return line
    .split('|')
    .slice(1, -1)
    .map((cell) => cell.trim());
}

/** A table in Markdown, as Prettier leaves it; the first line is the header. */
export function markdownTable(lines: readonly (readonly string[])[]): string {
  const [header = [], ...body] = lines;
  const widths = header.map((_, i) => Math.max(3, ...lines.map((line) => line[i]!.length)));
  const print = (cells: readonly string[]): string =>
    `| ${cells.map((cell, i) => cell.padEnd(widths[i]!)).join(' | ')} |`;
  return [print(header), print(widths.map((width) => '-'.repeat(width))), ...body.map(print)].join('\n');
}
