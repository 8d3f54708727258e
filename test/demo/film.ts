import type { Browser, Page } from 'puppeteer';
import { animatedPng, type Frame } from './animatedPng.js';

export interface FilmSize {
  readonly width: number;
  readonly height: number;
}

interface Shot {
  /** In base64. */
  readonly png: string;
  readonly ms: number;
}

/** Pictures of a page one after the other, as an animated PNG. */
export class Film {
  readonly #page: Page;
  readonly #size: FilmSize;
  readonly #shots: Shot[] = [];

  private constructor(page: Page, size: FilmSize) {
    this.#page = page;
    this.#size = size;
  }

  static async begin(page: Page, size: FilmSize): Promise<Film> {
    await page.setViewport(size);
    return new Film(page, size);
  }

  get seconds(): number {
    return this.#shots.reduce((sum, { ms }) => sum + ms, 0) / 1000;
  }

  /** Takes a picture, which is seen for so long. */
  async shoot(ms: number): Promise<void> {
    const png = await this.#page.screenshot({ encoding: 'base64', optimizeForSpeed: true });
    const last = this.#shots.at(-1);
    // Nothing is new: the last one is seen for longer.
    if (last?.png === png) this.#shots.splice(-1, 1, { png, ms: last.ms + ms });
    else this.#shots.push({ png, ms });
  }

  /** Takes pictures until something has come to pass: seen for `ms` together, however long it took. */
  async shootUntil(done: Promise<unknown>, ms: number): Promise<void> {
    const first = this.#shots.length;
    const state = { isDone: false };
    const ended = done.finally(() => (state.isDone = true));
    while (!state.isDone) await this.shoot(0);
    await ended;
    const shots = this.#shots.splice(first);
    this.#shots.push(...shots.map(({ png }) => ({ png, ms: Math.round(ms / shots.length) })));
  }

  /** Encodes it, in as many colours as a palette has, which another page of the browser chooses. */
  async end(browser: Browser): Promise<Uint8Array> {
    const page = await browser.newPage();
    for (const { png } of this.#shots) await page.evaluate(takeShot, png, this.#size);
    const colors = await page.evaluate(choosePalette);
    const frames: Frame[] = [];
    for (const [i, { ms }] of this.#shots.entries()) {
      const { indices, ...place } = await page.evaluate(readShot, i, this.#size);
      frames.push({ ...place, indices: Buffer.from(indices, 'base64'), ms });
    }
    await page.close();
    return animatedPng({ ...this.#size, palette: Uint8Array.from(colors), frames });
  }
}

/** What the functions below leave in their page. Pixels are RGBA, and 0 where a shot is as the one before. */
interface Memory {
  before?: Uint32Array;
  changes?: Uint32Array[];
  /** By pixel: the colour in the palette. */
  nearest?: Map<number, number>;
}

/** Runs in a page: keeps what is not as in the shot before. */
async function takeShot(png: string, { width, height }: FilmSize): Promise<void> {
  const memory = globalThis as unknown as Memory;
  const image = await createImageBitmap(await (await fetch(`data:image/png;base64,${png}`)).blob());
  const context = new OffscreenCanvas(width, height).getContext('2d', { willReadFrequently: true })!;
  context.drawImage(image, 0, 0);
  const pixels = new Uint32Array(context.getImageData(0, 0, width, height).data.buffer);
  const { before } = memory;
  memory.before = pixels;
  memory.changes ??= [];
  memory.changes.push(before ? pixels.map((pixel, i) => (pixel === before[i] ? 0 : pixel)) : pixels);
}

/** Runs in a page: the most frequent colours, in RGB. Each of the others is drawn as that which is nearest to it. */
function choosePalette(): number[] {
  const memory = globalThis as unknown as Memory;
  const counts = new Map<number, number>();
  for (const changes of memory.changes!)
    for (const pixel of changes) if (pixel !== 0) counts.set(pixel, (counts.get(pixel) ?? 0) + 1);
  const sorted = [...counts].toSorted((one, other) => other[1] - one[1]).map(([pixel]) => pixel);
  const chosen = sorted.slice(0, 255);
  const channels = (pixel: number): number[] => [pixel & 255, (pixel >> 8) & 255, (pixel >> 16) & 255];
  const palette = chosen.map(channels);
  const distance = (one: number[], other: number[]): number =>
    one.reduce((sum, value, i) => sum + (value - other[i]!) ** 2, 0);
  memory.nearest = new Map(
    sorted.map((pixel, i) => {
      if (i < chosen.length) return [pixel, i + 1];
      const wanted = channels(pixel);
      const all = palette.map((color) => distance(color, wanted));
      return [pixel, all.indexOf(Math.min(...all)) + 1];
    }),
  );
  return [0, 0, 0, ...palette.flat()];
}

interface ReadShot extends Omit<Frame, 'indices' | 'ms'> {
  /** In base64. */
  readonly indices: string;
}

/** Runs in a page: the part of a shot that has changed, one pixel at least. */
function readShot(shot: number, { width, height }: FilmSize): ReadShot {
  const { changes, nearest } = globalThis as unknown as Required<Memory>;
  const pixels = changes[shot]!;
  let [left, top, right, bottom] = [width - 1, height - 1, 0, 0];
  pixels.forEach((pixel, i) => {
    if (pixel === 0) return;
    left = Math.min(left, i % width);
    right = Math.max(right, i % width);
    top = Math.min(top, Math.floor(i / width));
    bottom = Math.max(bottom, Math.floor(i / width));
  });
  if (right < left || bottom < top) [left, top, right, bottom] = [0, 0, 0, 0];
  let binary = '';
  for (let y = top; y <= bottom; y++)
    for (const pixel of pixels.subarray(y * width + left, y * width + right + 1))
      binary += String.fromCharCode(nearest.get(pixel) ?? 0);
  return { x: left, y: top, width: right - left + 1, height: bottom - top + 1, indices: btoa(binary) };
}
