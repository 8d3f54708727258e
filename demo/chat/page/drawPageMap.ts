import type { PageCell } from '../protocol.js';
import { beginDrawing, type Drawing } from './canvas.js';
import { N_COLORS } from './conversations.js';

/** Squares of `size` pixels, in rows of `columns`. */
export interface MapLayout {
  readonly size: number;
  readonly columns: number;
  readonly rows: number;
}

export interface MapPicture {
  readonly layout: MapLayout;
  readonly cells: readonly PageCell[];
  readonly numbers: ReadonlyMap<string, number>;
  readonly letters: ReadonlyMap<string, string>;
  readonly chosen: number | undefined;
  /** Pages that were evicted just now. */
  readonly evicted: ReadonlyMap<number, number>;
}

const MAX_SIZE = 20;
const MIN_SIZE = 5;
/** The map is about so high, if its squares are not too small then. */
const HEIGHT = 240;
/** Letters in smaller squares cannot be read. */
const MIN_LETTER_SIZE = 14;

/** Finds room for a square for each page. */
export function layOut(width: number, nPages: number): MapLayout {
  const ideal = Math.floor(Math.sqrt((width * HEIGHT) / Math.max(nPages, 1)));
  const size = Math.max(MIN_SIZE, Math.min(MAX_SIZE, ideal));
  const columns = Math.max(1, Math.floor(width / size));
  return { size, columns, rows: Math.max(1, Math.ceil(nPages / columns)) };
}

/** Draws a square for each page. What a colour says, a letter or a pattern says, too. */
export function drawPageMap(canvas: HTMLCanvasElement, picture: MapPicture): void {
  const { layout, cells, chosen, evicted } = picture;
  const { size, columns, rows } = layout;
  const { context, color } = beginDrawing(canvas, rows * size);
  const pen: Pen = { context, size, color };
  cells.forEach((cell, page) => {
    const x = (page % columns) * size;
    const y = Math.floor(page / columns) * size;
    drawCell(pen, { x, y, cell, picture });
    if (evicted.has(page)) drawCross(pen, x, y);
    if (page === chosen) {
      context.strokeStyle = color('--ink');
      context.lineWidth = 2;
      context.strokeRect(x + 1, y + 1, size - 2, size - 2);
    }
  });
}

interface Pen extends Pick<Drawing, 'context' | 'color'> {
  readonly size: number;
}

interface PlacedCell {
  readonly x: number;
  readonly y: number;
  readonly cell: PageCell;
  readonly picture: MapPicture;
}

function drawCell({ context, size, color }: Pen, { x, y, cell, picture }: PlacedCell): void {
  const { state, conversations, evictedAs } = cell;
  const inner = size - 2;
  const colors = conversations.map((id) => color(`--own-${(picture.numbers.get(id) ?? 0) % N_COLORS}`));
  const letters = conversations.map((id) => picture.letters.get(id) ?? '');
  context.lineWidth = 1;
  if (state === 'free') {
    context.fillStyle = color('--line-strong');
    const dot = size >= 10 ? 2 : 1;
    context.fillRect(x + (size - dot) / 2, y + (size - dot) / 2, dot, dot);
    return;
  }
  const own = colors[0] ?? color('--other');
  if (state === 'cached') {
    // The next to be reused are the palest.
    context.globalAlpha = 0.35 + 0.65 * (evictedAs / Math.max(1, picture.cells.length));
    context.strokeStyle = own;
    context.strokeRect(x + 1.5, y + 1.5, inner - 1, inner - 1);
    context.globalAlpha *= 0.35;
    context.fillStyle = own;
    context.fillRect(x + 1, y + 1, inner, inner);
    context.globalAlpha = 1;
    if (size >= MIN_LETTER_SIZE && letters[0])
      write({ context, size, color }, letters[0], { x, y, fill: color('--ink') });
    return;
  }
  context.fillStyle = own;
  context.fillRect(x + 1, y + 1, inner, inner);
  if (state === 'shared') {
    context.fillStyle = colors[1] ?? own;
    context.beginPath();
    context.moveTo(x + 1 + inner, y + 1);
    context.lineTo(x + 1 + inner, y + 1 + inner);
    context.lineTo(x + 1, y + 1 + inner);
    context.fill();
    context.strokeStyle = color('--card');
    context.lineWidth = 1.5;
    context.strokeRect(x + 2.75, y + 2.75, inner - 3.5, inner - 3.5);
  }
  const label = state === 'shared' ? String(Math.max(2, letters.length)) : letters[0];
  if (size >= MIN_LETTER_SIZE && label)
    write({ context, size, color }, label, { x, y, fill: color('--own-ink') });
}

function write(
  { context, size }: Pen,
  text: string,
  { x, y, fill }: { readonly x: number; readonly y: number; readonly fill: string },
): void {
  context.fillStyle = fill;
  context.font = `600 ${Math.round(size * 0.52)}px system-ui, sans-serif`;
  context.textAlign = 'center';
  context.textBaseline = 'middle';
  context.fillText(text, x + size / 2, y + size / 2 + 0.5);
}

function drawCross({ context, size, color }: Pen, x: number, y: number): void {
  context.strokeStyle = color('--bad');
  context.lineWidth = 2;
  context.beginPath();
  context.moveTo(x + 3, y + 3);
  context.lineTo(x + size - 3, y + size - 3);
  context.moveTo(x + size - 3, y + 3);
  context.lineTo(x + 3, y + size - 3);
  context.stroke();
}
