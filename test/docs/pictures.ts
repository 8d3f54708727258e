import { drawPagesSvg, PageManager } from '../../src/index.js';
import { createInputs } from '../../demo/oneCall/inputs.js';
import { computePattern } from '../../demo/oneCall/pattern.js';
import type { Sequence, Settings } from '../../demo/oneCall/settings.js';
import { tileBands } from '../../demo/oneCall/tiles.js';
import { tileKeysOf } from '../../src/plan/attentionWork.js';
import { GPU, itemsOf, workOf, type PlannedItem } from '../plan/work.js';

/** Pictures of the site by their place in `docs`, as SVG: what the demo draws of a call, and what the planner makes of a batch. */
export const PICTURES: Readonly<Record<string, () => string>> = {
  'guide/pictures/tiles': tiles,
  'guide/pictures/splits': splits,
  'guide/pictures/pages': pages,
  'public/hero': hero,
};

const INK = '#3c4257';
const MASKED = '#eceef3';
const TILE = '#d9480f';
/** From a probability of nearly nothing to the largest of a row. */
const RAMP = [
  '#e4e3fd',
  '#cbc8f9',
  '#aea9f3',
  '#9086ee',
  '#6d5ee8',
  '#5440c0',
  '#3f2b93',
  '#2a1466',
] as const;
const FONT = 'font-family="system-ui, sans-serif" font-size="16"';

interface Panel {
  readonly title: string;
  readonly sequence: Sequence;
  readonly masks?: Partial<Pick<Settings, 'causal' | 'windowSize' | 'attentionChunk'>>;
}

const N_KEYS = 1024;
const PANELS: readonly Panel[] = [
  { title: 'causal', sequence: { nQueries: 1024, nKeys: N_KEYS } },
  {
    title: 'windowSize [255, 0]',
    sequence: { nQueries: 1024, nKeys: N_KEYS },
    masks: { windowSize: [255, 0] },
  },
  {
    title: 'attentionChunk 384',
    sequence: { nQueries: 1024, nKeys: N_KEYS },
    masks: { attentionChunk: 384 },
  },
  { title: 'after a prefix of 768', sequence: { nQueries: 256, nKeys: N_KEYS } },
];

/** Cells side by side, and the pixels and tokens of each. */
const N_CELLS = 64;
const CELL = 5;
const CELL_TOKENS = N_KEYS / N_CELLS;
const PANEL = N_CELLS * CELL;

/** Attention patterns of a head under several masks, with the tiles that the kernel computes. */
function tiles(): string {
  const [width, height] = [PANEL + 30, PANEL + 44];
  const panels = PANELS.map(
    (panel, i) =>
      `<g transform="translate(${15 + (i % 2) * width} ${32 + Math.floor(i / 2) * height})">${drawPanel(panel)}</g>`,
  );
  const legend = drawLegend(15 + width, 32 + height + PANEL / 2);
  return svg(2 * width, 2 * height, [...panels, legend]);
}

/** The first of these patterns alone, for the home page. */
function hero(): string {
  const picture = drawPattern(settingsOf(PANELS[0]!));
  return svg(PANEL + 8, PANEL + 8, [`<g transform="translate(4 4)">${picture}</g>`]);
}

function drawLegend(x: number, y: number): string {
  const ramp = RAMP.map((colour, i) => `<rect x="${16 * i}" width="16" height="16" fill="${colour}"/>`);
  return [
    `<g transform="translate(${x} ${y})" ${FONT} fill="${INK}">`,
    ...ramp,
    '<text x="140" y="13">probability</text>',
    `<rect y="30" width="128" height="16" fill="${MASKED}"/><text x="140" y="43">masked</text>`,
    `<rect y="60" width="128" height="16" fill="none" stroke="${TILE}" stroke-width="1.5"/><text x="140" y="73">tile that is computed</text>`,
    '<text y="105">Queries go down, keys to the right.</text>',
    '</g>',
  ].join('\n');
}

function drawPanel(panel: Panel): string {
  const settings = settingsOf(panel);
  const { skipped } = tileBands(settings, panel.sequence, GPU);
  const title = `${panel.title}: ${Math.round(100 * skipped)} % skipped`;
  return `<text y="-9" ${FONT} fill="${INK}">${title}</text>\n${drawPattern(settings)}`;
}

function settingsOf({ sequence, masks }: Panel): Settings {
  return {
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
}

function drawPattern(settings: Settings): string {
  const [sequence] = settings.sequences as readonly [Sequence];
  const { bands } = tileBands(settings, sequence, GPU);
  const { tile } = workOf([[sequence.nQueries, N_KEYS]], { heads: [4, 4], headDim: 64 }).lists[0]!;
  const tileKeys = tileKeysOf(tile);
  const pixels = (tokens: number) => (tokens * CELL) / CELL_TOKENS;
  const outlines = bands.flatMap(({ queries: [top, bottom], keys: [left, right] }) =>
    Array.from({ length: Math.ceil((right - left) / tileKeys) }, (_, i) => {
      const [first, end] = [left + i * tileKeys, Math.min(left + (i + 1) * tileKeys, right)];
      return `<rect x="${pixels(first)}" y="${pixels(top)}" width="${pixels(end - first)}" height="${pixels(bottom - top)}"/>`;
    }),
  );
  return [
    `<rect width="${PANEL}" height="${pixels(sequence.nQueries)}" fill="${MASKED}"/>`,
    ...drawCells(settings),
    `<g fill="none" stroke="${TILE}" stroke-width="1.2">${outlines.join('')}</g>`,
  ].join('\n');
}

/** A path for each colour of the ramp. */
function drawCells(settings: Settings): string[] {
  const { nQueries, nRows, nCols, cells } = computePattern(settings, createInputs(settings), {
    sequence: 0,
    head: 1,
  });
  const [cellRows, cellCols] = [(nRows * CELL_TOKENS) / nQueries, nCols / N_CELLS];
  const paths = RAMP.map(() => '');
  for (let y = 0; y < nRows / cellRows; y++)
    for (let x = 0; x < N_CELLS; x++) {
      let [sum, nVisible] = [0, 0];
      for (let row = y * cellRows; row < (y + 1) * cellRows; row++)
        for (const cell of cells.subarray(row * nCols + x * cellCols, row * nCols + (x + 1) * cellCols))
          if (cell >= 0) [sum, nVisible] = [sum + cell, nVisible + 1];
      if (nVisible === 0) continue;
      // Most are small; the square root makes them distinguishable.
      const colour = Math.min(RAMP.length - 1, Math.floor(Math.sqrt(sum / nVisible) * RAMP.length));
      paths[colour] += `M${x * CELL} ${y * CELL}h${CELL}v${CELL}h-${CELL}z`;
    }
  return paths.map((path, i) => `<path fill="${RAMP[i]}" d="${path}"/>`);
}

const LENGTHS = [3000, 400, 1100];

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
    return `<g transform="translate(20 ${20 + sequence * 60})">${drawSequence(nKeys, own, pixels)}</g>`;
  });
  return svg(700, 194, rows);
}

function drawSequence(nKeys: number, chunks: readonly PlannedItem[], pixels: number): string {
  const width = (nKeys * pixels) / chunks.length;
  const pieces = chunks.map(
    (_, i) =>
      `<rect x="${(i * width).toFixed(1)}" y="20" width="${Math.max(1, width - 2).toFixed(1)}" height="18" rx="2" fill="${RAMP[4]}"/>`,
  );
  const count = chunks.length === 1 ? '1 workgroup' : `${chunks.length} workgroups`;
  return `<text y="13" ${FONT} fill="${INK}">a new token over ${nKeys} keys: ${count} for each key/value head</text>${pieces.join('')}`;
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
  // Twice as large, on a ground that its light and its dark pages both stand out from.
  const picture = drawPagesSvg(manager.snapshot(), { columns: 32 });
  return svg(2 * 32 * 12 + 24, 2 * 2 * 12 + 24, [
    '<rect width="100%" height="100%" rx="6" fill="#fff"/>',
    `<g transform="translate(13 13) scale(2)">${picture.replace(/^<svg[^>]*>|<\/svg>$/g, '')}</g>`,
  ]);
}

function svg(width: number, height: number, parts: readonly string[]): string {
  const [w, h] = [Math.round(width), Math.round(height)];
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${w} ${h}" width="${w}" height="${h}">\n${parts.join('\n')}\n</svg>\n`;
}
