import type { BenchCase } from '../cases.js';
import { isMeasured, type MeasuredRow, type RivalName, type Row } from '../results.js';
import { RIVALS } from './contenderColumns.js';
import { memoryPlot, speedupPlot, timePlot } from './plots.js';
import { rowsTable } from './rowsTable.js';

type Kind = BenchCase['kind'];

interface Texts {
  readonly title: string;
  readonly time: string;
  readonly memory: string;
  readonly numbers: string;
}

const TEXTS: Readonly<Record<Kind, Texts>> = {
  prefill: {
    title: 'Prompts',
    time: 'A call of attention over one sequence of S tokens, until the queue is idle. Left is faster.',
    memory:
      'What each allocates besides its inputs and its output. Naive attention keeps the scores of all heads.',
    numbers: `Medians, with quartiles below. Operations and bytes are counted on paper: only pairs of query and key that
the mask lets through, and only bytes that have to be moved at least, which for naive attention includes its scores.`,
  },
  decode: {
    title: 'Decoding',
    time: `A step of attention over a cache in pages, one new token for each sequence, until the queue is idle. Keys are
sequences × keys of each. Left is faster.`,
    memory:
      'What each allocates besides its inputs and its output. Naive attention gathers the whole cache, page by page.',
    numbers: `Medians, with quartiles below. GB/s are those of the bytes that any decoding must move: keys and values once
for each of their heads, queries and outputs. “Bytes ÷ needed” is what pageflash moves over these, as planned for this
adapter: each workgroup reads once what it has a use for, and chunks write and read their results. “Reads” leaves out
writes. “By loads” counts all that the loads and stores of every invocation ask for, though it be the same again.`,
  },
};

/** All about the rows of a kind; nothing where there are none. */
export function kindSections(kind: Kind, all: readonly Row[]): string {
  const rows = all.filter((row) => row.case.kind === kind);
  if (rows.length === 0) return '';
  const measured = rows.filter(isMeasured);
  const { title, numbers } = TEXTS[kind];
  return `${measured.length > 0 ? plots(kind, measured) : ''}
<section>
<h2>${title}: all numbers</h2>
<p class="soft">${numbers}
“Differs by” is the largest difference from the others and from the reference on the CPU, and what is allowed.</p>
<div class="scroll">${rowsTable(kind, rows)}</div>
</section>`;
}

function plots(kind: Kind, rows: readonly MeasuredRow[]): string {
  const { title, time, memory } = TEXTS[kind];
  return `<section>
<h2>${title}: time</h2>
<p class="soft">${time}</p>
${legend(RIVALS[kind])}
<div class="scroll">${timePlot(rows)}</div>
</section>
<section>
<h2>${title}: speed-up</h2>
<p class="soft">Bars are medians of the ratios of rounds, whiskers their quartiles. The dashed line is as fast as the other.</p>
<div class="scroll">${speedupPlot(rows)}</div>
</section>
<section>
<h2>${title}: memory</h2>
<p class="soft">${memory}</p>
${legend(['naive'])}
<div class="scroll">${memoryPlot(rows)}</div>
</section>`;
}

function legend(rivals: readonly RivalName[]): string {
  const entries = ['pageflash', ...rivals].map((name) => `<span><i class="${name}"></i>${name}</span>`);
  return `<p class="legend">${entries.join('')}</p>`;
}
