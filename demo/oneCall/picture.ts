import { drawPagesSvg, type DeviceTraits } from '../../src/index.js';
import { drawPattern, rampGradient } from './drawPattern.js';
import { fillOptions } from './form.js';
import { element, setNote, setText } from './page.js';
import { computePattern, type Pattern } from './pattern.js';
import type { RunResult } from './run.js';
import { totalKeys } from './settings.js';
import { tileBands, type TileBands } from './tiles.js';

/** The pictures of the last run: the attention pattern of one head of one sequence, and the pages. */
export class Picture {
  readonly #canvas = element<HTMLCanvasElement>('pattern');
  readonly #sequence = element<HTMLSelectElement>('picture-sequence');
  readonly #head = element<HTMLSelectElement>('picture-head');
  readonly #showTiles = element<HTMLInputElement>('picture-tiles');
  #result: RunResult | undefined;
  #pattern: Pattern | undefined;
  #tiles: TileBands | undefined;
  #traits: DeviceTraits | undefined;

  constructor() {
    for (const select of [this.#sequence, this.#head])
      select.addEventListener('change', () => this.#compute());
    this.#showTiles.addEventListener('change', () => this.#draw());
    matchMedia('(prefers-color-scheme: dark)').addEventListener('change', () => this.#draw());
    let width = 0;
    new ResizeObserver(() => {
      // Drawing sets the height, which triggers the observer again.
      if (this.#canvas.clientWidth === width) return;
      width = this.#canvas.clientWidth;
      this.#draw();
    }).observe(this.#canvas);
  }

  show(result: RunResult, traits: DeviceTraits): void {
    const { sequences, nHeads } = result.settings;
    const sequence = Math.min(Math.max(0, this.#sequence.selectedIndex), sequences.length - 1);
    const head = Math.min(Math.max(0, this.#head.selectedIndex), nHeads - 1);
    const names = sequences.map(({ nQueries, nKeys }, b) => {
      const size = nQueries === nKeys ? `${nKeys} tokens` : `${nQueries} over ${nKeys} keys`;
      return `${b}: ${size}`;
    });
    fillOptions(this.#sequence, names);
    fillOptions(
      this.#head,
      Array.from({ length: nHeads }, (_, h) => String(h)),
    );
    this.#sequence.selectedIndex = sequence;
    this.#head.selectedIndex = head;
    this.#result = result;
    this.#traits = traits;
    this.#compute();
    showPages(result);
  }

  #compute(): void {
    if (!this.#result || !this.#traits) return;
    const { settings, inputs } = this.#result;
    const sequence = this.#sequence.selectedIndex;
    const head = this.#head.selectedIndex;
    this.#pattern = computePattern(settings, inputs, { sequence, head });
    this.#tiles = tileBands(settings, settings.sequences[sequence]!, this.#traits);
    const { nQueries, nKeys, nRows, nCols } = this.#pattern;
    setNote(
      'picture-note',
      nRows < nQueries || nCols < nKeys
        ? `Downsampled: ${nRows} of ${nQueries} queries, keys in ${nCols} groups.`
        : undefined,
    );
    this.#draw();
  }

  #draw(): void {
    if (!this.#pattern) return;
    element('legend-ramp').style.background = rampGradient(this.#canvas);
    element('legend-tiles').hidden = !this.#showTiles.checked;
    const skipped = Math.round(100 * (this.#tiles?.skipped ?? 0));
    element('legend-tiles-text').textContent = `tiles that the kernel computes; it skips ${skipped} %`;
    drawPattern(this.#canvas, {
      pattern: this.#pattern,
      tiles: this.#showTiles.checked ? this.#tiles : undefined,
    });
  }
}

/** Show which sequence has which page. */
function showPages({ settings, inputs: { pages } }: RunResult): void {
  element('pages').hidden = !pages;
  if (!pages) return;
  const { pageSize, sequences } = settings;
  const { nPages, snapshot } = pages;
  element('pages-picture').innerHTML = drawPagesSvg(snapshot, { columns: PAGE_COLUMNS });
  const slots = nPages * pageSize;
  const waste = slots > 0 ? (100 * (slots - totalKeys({ sequences }))) / slots : 0;
  setText(
    'pages-note',
    `${nPages} pages of ${pageSize} tokens; ${waste.toFixed(1)} % of their slots are empty.`,
  );
}

const PAGE_COLUMNS = 48;
