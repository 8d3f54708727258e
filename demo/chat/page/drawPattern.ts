import type { Pattern } from '../protocol.js';
import { beginDrawing } from './canvas.js';

/** Rectangles in rows, one for each token that looks at another. Sizes in pixels. */
export interface PatternLayout {
  readonly cellWidth: number;
  readonly cellHeight: number;
  readonly nRows: number;
  readonly nColumns: number;
}

export interface PatternCell {
  readonly row: number;
  readonly column: number;
}

const MAX_SIZE = 14;
const MIN_HEIGHT = 4;
/** Weights below it cannot be seen. */
const MIN_WEIGHT = 0.001;

/** Finds room for all tokens, of which many may share a pixel. */
export function layOutPattern(width: number, { tokens, weights }: Pattern): PatternLayout {
  const nColumns = tokens.length;
  const cellWidth = Math.min(MAX_SIZE, width / nColumns);
  const cellHeight = Math.max(MIN_HEIGHT, Math.floor(cellWidth));
  return { cellWidth, cellHeight, nRows: weights.length / nColumns, nColumns };
}

export interface PatternPicture {
  readonly layout: PatternLayout;
  readonly pattern: Pattern;
  readonly chosen: PatternCell | undefined;
}

/** Draws how much each row looks at each column: the square root of that, so that little is seen, too. */
export function drawPattern(canvas: HTMLCanvasElement, { layout, pattern, chosen }: PatternPicture): void {
  const { cellWidth, cellHeight, nRows, nColumns } = layout;
  const { weights, firstRow } = pattern;
  const height = nRows * cellHeight;
  const { context, color } = beginDrawing(canvas, height);
  const drawn = Math.max(1, cellWidth);
  for (let row = 0; row < nRows; row++) {
    const y = row * cellHeight;
    // What a token sees: itself, and all before.
    context.globalAlpha = 1;
    context.fillStyle = color('--track');
    context.fillRect(0, y, (firstRow + row + 1) * cellWidth, cellHeight);
    context.fillStyle = color('--accent');
    for (let column = 0; column < nColumns; column++) {
      const weight = weights[row * nColumns + column]!;
      if (weight < MIN_WEIGHT) continue;
      context.globalAlpha = Math.min(1, Math.sqrt(weight));
      context.fillRect(column * cellWidth, y, drawn, cellHeight);
    }
  }
  context.globalAlpha = 1;
  if (!chosen) return;
  const x = chosen.column * cellWidth;
  const y = chosen.row * cellHeight;
  context.strokeStyle = color('--line-strong');
  context.lineWidth = 1;
  context.strokeRect(0.5, y + 0.5, nColumns * cellWidth - 1, cellHeight - 1);
  context.strokeRect(x + 0.5, 0.5, Math.max(2, cellWidth - 1), height - 1);
  context.strokeStyle = color('--ink');
  context.lineWidth = 2;
  context.strokeRect(x - 1, y - 1, Math.max(4, cellWidth + 2), cellHeight + 2);
}
