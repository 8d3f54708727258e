import { checkNames, namesOf } from '../core/checkNames.js';
import { describe } from '../core/describe.js';
import { fail } from '../core/errors.js';
import { checkCount } from './check.js';
import type { SequenceId } from './registry.js';
import { pageOwners, type PageOwner } from './pageOwners.js';
import type { PageSnapshot } from './pageSnapshot.js';

export interface DrawPagesOptions {
  /** Pages in a row. Default 64 in text, 32 in SVG */
  readonly columns?: number;
}

/**
 * Who has which page, for a log: a letter for each sequence, `#` shared by several, `!` pinned, `-` cached, `.` free.
 *
 * ```text
 *    0 aab#-....
 * a: sequence 0, 20 tokens   b: sequence 7, 12 tokens
 * ```
 */
export function drawPages(snapshot: PageSnapshot, options: DrawPagesOptions = {}): string {
  checkDrawing('drawPages', snapshot, options);
  const { columns = 64 } = options;
  const letters = lettersOf(snapshot);
  const signs = pageOwners(snapshot).map((owner) =>
    owner.state === 'owned' ? letters.get(owner.sequence)! : SIGNS[owner.state],
  );
  const lines: string[] = [];
  for (let first = 0; first < signs.length; first += columns)
    lines.push(`${String(first).padStart(6)} ${signs.slice(first, first + columns).join('')}`);
  const legend = snapshot.sequences.map(
    ({ id, nTokens }) => `${letters.get(id)}: sequence ${id}, ${nTokens} tokens`,
  );
  return [...lines, legend.join('   ')].join('\n');
}

/**
 * The same as a picture, an `<svg>` element as text: a square for each page, in the colour of its sequence, with a
 * tooltip.
 */
export function drawPagesSvg(snapshot: PageSnapshot, options: DrawPagesOptions = {}): string {
  checkDrawing('drawPagesSvg', snapshot, options);
  const { columns = 32 } = options;
  const owners = pageOwners(snapshot);
  const rows = Math.ceil(owners.length / columns);
  const squares = owners.map((owner, page) => {
    const x = (page % columns) * SQUARE;
    const y = Math.floor(page / columns) * SQUARE;
    const size = SQUARE - 2;
    return `<rect x="${x}" y="${y}" width="${size}" height="${size}" rx="2" fill="${colorOf(owner)}"><title>page ${page}: ${nameOf(owner)}</title></rect>`;
  });
  const [width, height] = [columns * SQUARE, rows * SQUARE];
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" width="${width}" height="${height}">${squares.join('')}</svg>`;
}

function checkDrawing(caller: string, snapshot: PageSnapshot, options: DrawPagesOptions): void {
  if (!Array.isArray(snapshot?.published))
    fail('argument', caller, `snapshot must be what PageManager.snapshot gives, not ${describe(snapshot)}.`);
  checkNames(caller, options, NAMES);
  const { columns = 1 } = options;
  checkCount(caller, 'columns', columns, 1);
}

const NAMES = namesOf<DrawPagesOptions>({ columns: true });
const SIGNS = { shared: '#', pinned: '!', cached: '-', free: '.' } as const;
const LETTERS = 'abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789';
const COLORS = { shared: '#222', pinned: '#c22', cached: '#bbb', free: '#eee' } as const;
const SQUARE = 12;

/** Letters in order of the sequences; with very many they come again. */
function lettersOf({ sequences }: PageSnapshot): ReadonlyMap<SequenceId, string> {
  return new Map(sequences.map(({ id }, i) => [id, LETTERS[i % LETTERS.length]!]));
}

function colorOf(owner: PageOwner): string {
  if (owner.state !== 'owned') return COLORS[owner.state];
  // Hues a golden angle apart: neighbours differ, and a sequence keeps its colour.
  return `hsl(${Math.round((owner.sequence * 137.508) % 360)} 65% 55%)`;
}

function nameOf(owner: PageOwner): string {
  return owner.state === 'owned' ? `sequence ${owner.sequence}` : owner.state;
}
