import { drawPagesSvg, PageManager } from '../../src/index.js';
import { createInputs } from '../../demo/oneCall/inputs.js';
import { computePattern } from '../../demo/oneCall/pattern.js';
import type { Sequence, Settings } from '../../demo/oneCall/settings.js';
import { tileBands } from '../../demo/oneCall/tiles.js';
import { GPU, itemsOf, workOf, type PlannedItem } from '../plan/work.js';

/** Pictures of the guide, as SVG: what the demo draws of a call, and what the planner makes of a batch. */
export const PICTURES: Readonly<Record<string, () => string>> = { tiles, splits, pages };

const INK = '#3c4257';
const MASKED = '#eceef3';
const TILE = '#d9480f';
/** From a probability of nearly nothing to the largest of a row. */
const RAMP = ['#e4e3fd', '#cbc8f9', '#aea9f3', '#9086ee', '#6d5ee8', '#5440c0', '#3f2b93', '#2a1466'] as const;
const FONT = 'font-family="system-ui, sans-serif" font-size="13"';

interface Panel {
  readonly title: string;
  readonly sequence: Sequence;
  readonly masks?: Partial<Pick<Settings, 'causal' | 'windowSize' | 'attentionChunk'>>;
}

const PANELS: readonly Panel[] = [
  { title: 'causal', sequence: { nQueries: 256, nKeys: 256 } },
  { title: 'windowSize [63, 0]', sequence: { nQueries: 256, nKeys: 256 }, masks: { windowSize: [63, 0] } },
  { title: 'attentionChunk 96', sequence: { nQueries: 256, nKeys: 256 }, masks: { attentionChunk: 96 } },
  { title: '64 queries after 192 keys', sequence: { nQueries: 64, nKeys: 256 } },
];

/** Tokens that a cell stands for, in each direction. */
const CELL = 4;
/** Pixels of a token. */
const SCALE = 1.2;

/** Attention patterns of a head under several masks, with the tiles that the kernel computes. */
function tiles(): string {
  const size = 256 * SCALE;
  const [width, height] = [size + 36, size + 52];
  const panels = PANELS.map(
    (panel, i) =>
      `<g transform="translate(${20 + (i % 2) * width} ${34 + Math.floor(i / 2) * height})">${drawPanel(panel)}</g>`,
  );
  return svg(2 * width, height + 64 * SCALE + 64, panels);
}

function drawPanel({ title, sequence, masks }: Panel): string {
  const settings: Settings = {
    nHeads: 4,
    nKvHeads: 4,
    headDim: 64,
    dtype: 'f32',
    sequences: [sequence],
    causal: true,
    windowSize: [-1, -1],
    softcap: 0,
    attentionChunk: 0,
    alibi: false,
    sinks: false,
    pageSize: 0,
    seed: 1,
    ...masks,
  };
  const { nQueries, nKeys } = sequence;
  const { bands, skipped } = tileBands(settings, sequence, GPU);
  const outlines = bands
    .filter(({ keys: [first, end] }) => end > first)
    .map(
      ({ queries: [top, bottom], keys: [left, right] }) =>
        `<rect x="${left}" y="${top}" width="${right - left}" height="${bottom - top}"/>`,
    );
  return [
    `<text y="-10" ${FONT} fill="${INK}">${title}: ${Math.round(100 * skipped)} % of the tiles are skipped</text>`,
    `<g transform="scale(${SCALE})">`,
    `<rect width="${nKeys}" height="${nQueries}" fill="${MASKED}"/>`,
    ...drawCells(settings),
    `<g fill="none" stroke="${TILE}" stroke-width="1">${outlines.join('')}</g>`,
    '</g>',
  ].join('\n');
}

/** A path for each colour of the ramp. */
function drawCells(settings: Settings): string[] {
  const { nRows, nCols, cells } = computePattern(settings, createInputs(settings), { sequence: 0, head: 1 });
  const paths = RAMP.map(() => '');
  for (let y = 0; y < nRows; y += CELL)
    for (let x = 0; x < nCols; x += CELL) {
      let most = -1;
      for (let i = 0; i < CELL * CELL; i++)
        most = Math.max(most, cells[(y + Math.floor(i / CELL)) * nCols + x + (i % CELL)]!);
      // Most are small; the square root makes them distinguishable.
      const colour = Math.min(RAMP.length - 1, Math.floor(Math.sqrt(most) * RAMP.length));
      if (most >= 0) paths[colour] += `M${x} ${y}h${CELL}v${CELL}h-${CELL}z`;
    }
  return paths.map((path, i) => `<path fill="${RAMP[i]}" d="${path}"/>`);
}

const LENGTHS = [30000, 4000, 11000];

/** The keys of three sequences of one new token each, as they are and as the planner cuts them. */
function splits(): string {
  const work = workOf(
    LENGTHS.map((nKeys) => [1, nKeys] as const),
    { heads: [8, 2], headDim: 128 },
  );
  const items = itemsOf(work);
  const pixels = 660 / LENGTHS[0]!;
  const rows = LENGTHS.map((nKeys, sequence) => {
    const own = items.filter((item) => item.sequence === sequence).toSorted((a, b) => a.chunk - b.chunk);
    return `<g transform="translate(20 ${20 + sequence * 56})">${drawSequence(nKeys, own, pixels)}</g>`;
  });
  return svg(700, 190, rows);
}

function drawSequence(nKeys: number, chunks: readonly PlannedItem[], pixels: number): string {
  const width = (nKeys * pixels) / chunks.length;
  const pieces = chunks.map(
    (_, i) =>
      `<rect x="${(i * width).toFixed(1)}" y="20" width="${Math.max(1, width - 2).toFixed(1)}" height="18" rx="2" fill="${RAMP[4]}"/>`,
  );
  const count = chunks.length === 1 ? '1 workgroup' : `${chunks.length} workgroups`;
  return `<text y="12" ${FONT} fill="${INK}">${nKeys} keys: ${count} for each key/value head</text>${pieces.join('')}`;
}

/** A pool with two forks that share a prefix, a sequence of its own, pages that are only cached, and free ones. */
function pages(): string {
  const manager = new PageManager({ nPages: 64, pageSize: 16 });
  const compute = (id: number): number => {
    manager.reserve(id);
    manager.commit(id);
    return id;
  };
  const tokens = (n: number, first: number) => Array.from({ length: n }, (_, i) => first + i);
  const ended = compute(manager.add(tokens(100, 10_000)));
  const chat = compute(manager.add(tokens(150, 0)));
  const other = compute(manager.add(tokens(200, 20_000)));
  const fork = manager.fork(chat);
  for (const [id, n] of [
    [chat, 60],
    [other, 40],
    [fork, 90],
  ] as const) {
    manager.append(id, tokens(n, 30_000 + 1000 * id));
    compute(id);
  }
  manager.release(ended);
  return `${drawPagesSvg(manager.snapshot(), { columns: 32 })}\n`;
}

function svg(width: number, height: number, parts: readonly string[]): string {
  const [w, h] = [Math.round(width), Math.round(height)];
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${w} ${h}" width="${w}" height="${h}">\n${parts.join('\n')}\n</svg>\n`;
}
