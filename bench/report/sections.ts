import { formatBytes, formatRatio, formatUs } from '../../tools/format.js';
import type { Summary } from '../../tools/statistics.js';
import type { ShapeKind as Kind } from '../cases/cases.js';
import {
  callCountsText,
  isMeasured,
  type Ceilings,
  type MeasuredRow,
  type PeerName,
  type RecordingCost,
  type RecordingRow,
  type Row,
} from '../results.js';
import { memoryPlot, speedupPlot, timePlot } from './comparisonPlots.js';
import { cells, escape, headCells, spread } from './html.js';
import { peersOf, rowsTable } from './rowsTable.js';

interface Texts {
  readonly title: string;
  readonly time: string;
  readonly memory: string;
  readonly numbers: string;
}

const TEXTS: Readonly<Record<Kind, Texts>> = {
  prefill: {
    title: 'Prompts',
    time: 'One call of attention over one sequence of S tokens, until the queue is empty. Left is faster.',
    memory: 'GPU memory allocated besides inputs and output. Naive attention keeps the scores of all heads.',
    numbers: `Medians, with quartiles below; a spread is given where the quartiles are more than a tenth of the median apart. Operations and bytes are computed, not measured: only unmasked pairs of query and
key, and only the bytes that must be moved, which for naive attention include its scores.`,
  },
  decode: {
    title: 'Decoding',
    time: `One decode step over a paged cache, one new token per sequence, until the queue is empty. Keys are given as
sequences × keys per sequence. Left is faster.`,
    memory:
      'GPU memory allocated besides inputs and output. Naive attention gathers the whole cache, page by page.',
    numbers: `Medians, with quartiles below; a spread is given where the quartiles are more than a tenth of the median apart. GB/s count the bytes that any decode step must move: keys and values once per kv
head, queries and outputs. “Moved ÷ needed” is what pageflash moves, as planned for this adapter, over these bytes: each
workgroup reads each byte that it uses once, and chunks write and read partial results. “Read” leaves out writes.
“Issued” adds up the loads and stores of all invocations, repeated ones included.`,
  },
};

const SHARES: Readonly<Record<Kind, string>> = {
  prefill:
    'Percentages are of the rate at which the device multiplies and adds in f32, by the time on the GPU where it is known.',
  decode: 'Percentages are of the rate at which the device reads, by the time on the GPU where it is known.',
};

/** The sections on the rows of one kind; empty if there are none. */
export function kindSections(kind: Kind, all: readonly Row[], ceilings?: Ceilings): string {
  const rows = all.filter((row) => row.case.kind === kind);
  if (rows.length === 0) return '';
  const measured = rows.filter(isMeasured);
  const { title, numbers } = TEXTS[kind];
  return `${measured.length > 0 ? plots(kind, measured) : ''}
<section>
<h2>${title}: all numbers</h2>
<p class="soft">${numbers}
${ceilings ? SHARES[kind] : ''}
The largest difference is that from the peers and from the reference on the CPU; below it is what is allowed.</p>
<div class="scroll">${rowsTable(kind, rows, ceilings)}</div>
</section>`;
}

function plots(kind: Kind, rows: readonly MeasuredRow[]): string {
  const { title, time, memory } = TEXTS[kind];
  return `<section>
<h2>${title}: time</h2>
<p class="soft">${time}</p>
${legend(peersOf(kind, rows))}
<div class="scroll">${timePlot(rows)}</div>
</section>
<section>
<h2>${title}: speed-up</h2>
<p class="soft">Bars are medians of the ratios within rounds, whiskers their quartiles. At the dashed line both are equally fast.</p>
<div class="scroll">${speedupPlot(rows)}</div>
</section>
<section>
<h2>${title}: memory</h2>
<p class="soft">${memory}</p>
${legend(['naive'])}
<div class="scroll">${memoryPlot(rows)}</div>
</section>`;
}

function legend(peers: readonly PeerName[]): string {
  const entries = ['pageflash', ...peers].map((name) => `<span><i class="${name}"></i>${name}</span>`);
  return `<p class="legend">${entries.join('')}</p>`;
}

const LAYER_TITLES = [
  'sequences',
  'dispatches',
  'planned layer',
  'bare dispatch',
  'planned ÷ bare',
  'calls by layers',
];
const STEP_TITLES = [
  'sequences',
  'planning a step',
  '÷ bare',
  'garbage',
  'calls by planning',
  'a call',
  '÷ bare',
];

/** The section on what recording costs the host; empty if that was not measured. */
export function recordingSection(recording: RecordingRow | undefined): string {
  if (!recording) return '';
  return `<section>
<h2>Recording</h2>
${recording.status === 'failed' ? `<p class="failed">${escape(recording.message)}</p>` : costsTable(recording.costs)}
</section>`;
}

function costsTable(costs: readonly RecordingCost[]): string {
  const { steps, layers } = costs[0]!;
  return `<p class="soft">The time that the host takes to record a planned layer of attention over a cache, new tokens appended,
into an open pass; and to record the same dispatches bare: <code>setPipeline</code>, <code>setBindGroup</code>,
<code>dispatchWorkgroups</code>. Calls that create buffers or bind groups, or write buffers, are counted over ${steps} steps of
${layers} layers, the first step left out.</p>
${costTable('a layer does', LAYER_TITLES, costs.map(layerCells))}
<p class="soft">The plan is updated once per step, for all layers, with new lengths and pages; garbage is what that leaves on the
heap. A call is one of <code>attnWithKvCache</code> without a plan, until it has submitted its work. The unit is the bare
dispatch of the same run.</p>
${costTable('a step does', STEP_TITLES, costs.map(stepCells))}`;
}

function costTable(first: string, titles: readonly string[], rows: readonly (readonly string[])[]): string {
  return `<div class="scroll"><table>
<thead><tr><th class="shape">${first}</th>${headCells(titles)}</tr></thead>
<tbody>
${rows.map((row) => `<tr>${cells(row)}</tr>`).join('\n')}
</tbody>
</table></div>`;
}

function layerCells(cost: RecordingCost): string[] {
  return [
    escape(cost.name),
    String(cost.sequences ?? 1),
    String(cost.dispatchesPerLayer),
    spread(cost.layerUs, formatUs),
    spread(cost.dispatchUs, formatUs),
    spread(cost.overBare, formatRatio),
    callCountsText(cost.madeByLayers),
  ];
}

function stepCells(cost: RecordingCost): string[] {
  return [
    escape(cost.name),
    String(cost.sequences ?? 1),
    spread(cost.updateUs, formatUs),
    spreadOrDash(cost.updateOverBare, formatRatio),
    cost.updateBytes === undefined ? '—' : formatBytes(cost.updateBytes),
    callCountsText(cost.madeByUpdates),
    spreadOrDash(cost.callUs, formatUs),
    spreadOrDash(cost.callOverBare, formatRatio),
  ];
}

function spreadOrDash(summary: Summary | undefined, format: (value: number) => string): string {
  return summary ? spread(summary, format) : '—';
}
