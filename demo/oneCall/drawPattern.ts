import type { Pattern } from './pattern.js';
import type { TileBands } from './tiles.js';

export interface DrawArgs {
  readonly pattern: Pattern;
  /** Tiles to draw over it; undefined for none. */
  readonly tiles: TileBands | undefined;
}

const MARGIN = { left: 58, top: 12, right: 14, bottom: 44 };
const SHORTEST = 56;
const TALLEST = 520;

/** Draw queries downwards and keys to the right, at the width that the layout gives the canvas. */
export function drawPattern(canvas: HTMLCanvasElement, { pattern, tiles }: DrawArgs): void {
  const { nQueries, nKeys } = pattern;
  const width = canvas.clientWidth;
  const plotWidth = Math.max(1, width - MARGIN.left - MARGIN.right);
  const ideal = nKeys > 0 ? (plotWidth * nQueries) / nKeys : 0;
  const plotHeight = Math.round(Math.min(Math.max(ideal, SHORTEST), plotWidth, TALLEST));
  const height = plotHeight + MARGIN.top + MARGIN.bottom;
  const scale = devicePixelRatio;
  canvas.width = Math.round(width * scale);
  canvas.height = Math.round(height * scale);
  canvas.style.height = `${height}px`;

  const context = canvas.getContext('2d')!;
  const colours = readColours(canvas);
  context.scale(scale, scale);
  context.clearRect(0, 0, width, height);
  context.save();
  context.translate(MARGIN.left, MARGIN.top);
  fillMasked(context, plotWidth, plotHeight, colours);
  drawCells(context, pattern, plotWidth, plotHeight, colours);
  if (tiles) drawTiles(context, tiles, pattern, plotWidth, plotHeight, colours);
  drawAxes(context, pattern, plotWidth, plotHeight, colours);
  context.restore();
}

/** The colour ramp of probabilities as a CSS gradient, for the legend. */
export function rampGradient(element: Element): string {
  const { ramp } = readColours(element);
  const stops = [0, 0.25, 0.5, 0.75, 1].map((share) => `rgb(${rampColour(ramp, share).join(' ')})`);
  return `linear-gradient(to right, ${stops.join(', ')})`;
}

type Rgb = readonly [number, number, number];

interface Colours {
  readonly ramp: readonly Rgb[];
  readonly masked: string;
  readonly hatch: string;
  readonly ink: string;
  readonly line: string;
  readonly tile: string;
}

/** The colours of the style sheet, which follow the visitor's light or dark theme. */
function readColours(element: Element): Colours {
  const style = getComputedStyle(element);
  const colour = (name: string) => style.getPropertyValue(name).trim();
  return {
    ramp: [1, 2, 3, 4].map((i) => hexToRgb(colour(`--ramp-${i}`))),
    masked: colour('--masked'),
    hatch: colour('--hatch'),
    ink: colour('--ink-soft'),
    line: colour('--line-strong'),
    tile: colour('--tile'),
  };
}

function hexToRgb(hex: string): Rgb {
  const bits = Number.parseInt(hex.slice(1), 16);
  return [bits >> 16, (bits >> 8) & 255, bits & 255];
}

function rampColour(ramp: readonly Rgb[], share: number): Rgb {
  const at = Math.min(share, 1) * (ramp.length - 1);
  const low = Math.min(Math.floor(at), ramp.length - 2);
  const mix = (channel: 0 | 1 | 2) =>
    Math.round(ramp[low]![channel] + (ramp[low + 1]![channel] - ramp[low]![channel]) * (at - low));
  return [mix(0), mix(1), mix(2)];
}

/** The place of a probability on the ramp. Most are small; the square root makes them distinguishable. */
function shade(probability: number): number {
  return Math.sqrt(probability);
}

function fillMasked(
  context: CanvasRenderingContext2D,
  width: number,
  height: number,
  colours: Colours,
): void {
  context.fillStyle = colours.masked;
  context.fillRect(0, 0, width, height);
  context.save();
  context.beginPath();
  context.rect(0, 0, width, height);
  context.clip();
  context.strokeStyle = colours.hatch;
  context.lineWidth = 1;
  context.beginPath();
  for (let x = -height; x < width; x += 7) {
    context.moveTo(x, height);
    context.lineTo(x + height, 0);
  }
  context.stroke();
  context.restore();
}

function drawCells(
  context: CanvasRenderingContext2D,
  { cells, nRows, nCols }: Pattern,
  width: number,
  height: number,
  { ramp }: Colours,
): void {
  if (nRows === 0 || nCols === 0) return;
  const image = new ImageData(nCols, nRows);
  cells.forEach((cell, i) => {
    if (cell >= 0) image.data.set([...rampColour(ramp, shade(cell)), 255], 4 * i);
  });
  const small = new OffscreenCanvas(nCols, nRows);
  small.getContext('2d')!.putImageData(image, 0, 0);
  context.imageSmoothingEnabled = false;
  context.drawImage(small, 0, 0, width, height);
}

/** Outline the tiles that the kernel computes. */
function drawTiles(
  context: CanvasRenderingContext2D,
  { bands }: TileBands,
  { nQueries, nKeys }: Pattern,
  width: number,
  height: number,
  { tile }: Colours,
): void {
  const x = (key: number) => (key * width) / nKeys;
  const y = (query: number) => (query * height) / nQueries;
  context.strokeStyle = tile;
  context.lineWidth = 1.5;
  context.beginPath();
  let above: readonly [number, number] | undefined;
  for (const { queries, keys } of bands) {
    const [left, right] = keys.map(x) as [number, number];
    const [top, bottom] = queries.map(y) as [number, number];
    if (right <= left) continue;
    context.moveTo(left, bottom);
    context.lineTo(left, top);
    context.moveTo(right, bottom);
    context.lineTo(right, top);
    // Draw only the outline: inner edges would hide the picture.
    for (const [from, to] of [
      [above?.[0] ?? right, left],
      [above?.[1] ?? left, right],
    ]) {
      context.moveTo(from!, top);
      context.lineTo(to!, top);
    }
    above = [left, right];
  }
  context.stroke();
}

function drawAxes(
  context: CanvasRenderingContext2D,
  { nQueries, nKeys }: Pattern,
  width: number,
  height: number,
  { ink, line }: Colours,
): void {
  context.strokeStyle = line;
  context.lineWidth = 1;
  context.strokeRect(-0.5, -0.5, width + 1, height + 1);
  context.fillStyle = ink;
  context.font = '12px system-ui, sans-serif';

  context.textBaseline = 'top';
  for (const key of ticks(nKeys, width / 70)) {
    context.textAlign = key === 0 ? 'left' : 'center';
    const x = (key * width) / Math.max(1, nKeys);
    context.fillRect(x, height, 1, 5);
    context.fillText(String(key), x, height + 8);
  }
  context.textAlign = 'right';
  context.fillText('keys →', width, height + 26);

  context.textBaseline = 'middle';
  for (const query of ticks(nQueries, height / 40)) {
    const y = (query * height) / Math.max(1, nQueries);
    context.fillRect(-5, y, 5, 1);
    context.fillText(String(query), -8, y + (query === 0 ? 4 : 0));
  }
  context.save();
  context.translate(-MARGIN.left + 9, 0);
  context.rotate(-Math.PI / 2);
  context.fillText('← queries', 0, 0);
  context.restore();
}

/** Round numbers 0 ≤ n < `count`, about `most` of them at most. */
function ticks(count: number, most: number): number[] {
  const rough = Math.max(1, count / Math.max(1, most));
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((factor) => factor * power).find((size) => size >= rough)!;
  const marks: number[] = [];
  for (let mark = 0; mark < count || mark === 0; mark += step) marks.push(mark);
  return marks;
}
