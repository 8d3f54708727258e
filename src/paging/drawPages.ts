import { checkNames, namesOf } from '../core/checkArguments.js';
import { checkCount, refuseValue } from './pool/pagingChecks.js';
import type { PageSnapshot } from './pageSnapshot.js';
import type { SequenceId } from './sequenceRegistry.js';

export interface DrawPagesOptions {
  /** Pages in a row. Default 64 in text, 32 in SVG */
  readonly columns?: number;
}

/**
 * Returns a drawing of the pages and the sequences that hold them, as text for a log: a letter for each sequence, `#`
 * shared by several, `!` pinned, `-` cached, `.` free.
 *
 * ```text
 *    0 aab#-....
 * a: sequence 0, 20 tokens   b: sequence 7, 12 tokens
 * ```
 */
export function drawPages(snapshot: PageSnapshot, options: DrawPagesOptions = {}): string {
  checkDrawing('drawPages', snapshot, options);
  const { columns = 64 } = options;
  const { sequences } = snapshot;
  // With very many sequences letters are used again.
  const letters = new Map(sequences.map(({ id }, i) => [id, LETTERS[i % LETTERS.length]!]));
  const signs = ownersOf(snapshot).map((owner) =>
    typeof owner === 'number' ? letters.get(owner)! : SIGNS[owner],
  );
  const lines: string[] = [];
  for (let first = 0; first < signs.length; first += columns)
    lines.push(`${String(first).padStart(6)} ${signs.slice(first, first + columns).join('')}`);
  const legend = sequences.map(({ id, nTokens }) => `${letters.get(id)}: sequence ${id}, ${nTokens} tokens`);
  return [...lines, legend.join('   ')].join('\n');
}

/**
 * Draws the same as an `<svg>` element, as text: a square for each page, in the colour of its sequence, with a tooltip.
 */
export function drawPagesSvg(snapshot: PageSnapshot, options: DrawPagesOptions = {}): string {
  checkDrawing('drawPagesSvg', snapshot, options);
  const { columns = 32 } = options;
  const owners = ownersOf(snapshot);
  const squares = owners.map((owner, page) => {
    const x = (page % columns) * SQUARE;
    const y = Math.floor(page / columns) * SQUARE;
    const size = SQUARE - 2;
    const name = typeof owner === 'number' ? `sequence ${owner}` : owner;
    return `<rect x="${x}" y="${y}" width="${size}" height="${size}" rx="2" fill="${colorOf(owner)}"><title>page ${page}: ${name}</title></rect>`;
  });
  const [width, height] = [columns * SQUARE, Math.ceil(owners.length / columns) * SQUARE];
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" width="${width}" height="${height}">${squares.join('')}</svg>`;
}

function checkDrawing(caller: string, snapshot: PageSnapshot, options: DrawPagesOptions): void {
  if (!Array.isArray(snapshot?.published))
    refuseValue(caller, 'snapshot', 'what PageManager.snapshot gives', snapshot);
  checkNames(caller, options, NAMES);
  const { columns = 1 } = options;
  checkCount(caller, 'columns', columns, 1);
}

/** The id of the one sequence that holds a page, or the state of the page. */
type PageOwner = SequenceId | 'shared' | 'pinned' | 'cached' | 'free';

/** [nPages] */
function ownersOf({ nPages, sequences, pins, published }: PageSnapshot): PageOwner[] {
  const owners = Array<PageOwner>(nPages).fill('free');
  for (const { page } of published) if (page >= 0) owners[page] = 'cached';
  for (const page of pins.flat()) if (page >= 0) owners[page] = 'pinned';
  for (const { id, pages, copySource } of sequences)
    for (const page of [...pages, copySource])
      if (page >= 0)
        owners[page] = typeof owners[page] === 'number' || owners[page] === 'shared' ? 'shared' : id;
  return owners;
}

function colorOf(owner: PageOwner): string {
  if (typeof owner !== 'number') return COLORS[owner];
  // Hues are a golden angle apart, so that neighbours differ and a sequence keeps its colour.
  return `hsl(${Math.round((owner * 137.508) % 360)} 65% 55%)`;
}

const NAMES = namesOf<DrawPagesOptions>({ columns: true });
const SIGNS = { shared: '#', pinned: '!', cached: '-', free: '.' } as const;
const COLORS = { shared: '#222', pinned: '#c22', cached: '#bbb', free: '#eee' } as const;
const LETTERS = 'abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789';
const SQUARE = 12;
