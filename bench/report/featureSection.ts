import { formatBytes, formatRatio, threeDigits } from '../../tools/format.js';
import { headsOf, isPrompt, lengthOf, type FeatureCase } from '../cases/cases.js';
import { FAMILIES, type Family } from '../cases/featureShapes.js';
import { isMeasured, measuredPeer, type MeasuredRow, type Measurement, type Row } from '../results.js';
import { speedupPlot, timePlot } from './comparisonPlots.js';
import { cells, escape, headCells, spread } from './html.js';
import { timeCell, worst } from './rowsTable.js';

/** A row of a call with an option. */
export type FeatureRow = Row & { readonly case: FeatureCase };

export function featureRows(rows: readonly Row[]): readonly FeatureRow[] {
  return rows.filter((row): row is FeatureRow => row.case.kind === 'feature');
}

/** How many times as fast the call with the option should be: by its bytes, and by the scores that it computes. */
export interface OnPaper {
  readonly byBytes: number;
  readonly byScores: number;
}

export function onPaperOf(row: MeasuredRow): OnPaper | undefined {
  const plain = measuredPeer(row, 'plain');
  if (!plain?.bytes || !plain.flops || !row.pageflash.bytes || !row.pageflash.flops) return undefined;
  return {
    byBytes: plain.bytes / row.pageflash.bytes,
    byScores: plain.flops / row.pageflash.flops,
  };
}

/** Calls with an option beside plain ones; empty if there are none. */
export function featureSections(all: readonly Row[]): string {
  const rows = featureRows(all);
  if (rows.length === 0) return '';
  const measured = rows.filter((row) => row.status === 'measured');
  return `${measured.length > 0 ? plots(measured) : ''}
<section>
<h2>Options: all numbers</h2>
<p class="soft">Medians, with quartiles below. “Plain ÷ own” is the time of the plain call over that of the call with the option,
round by round. Beside it is what it should be on paper: by the bytes that each call must move (keys and values once per kv
head, of the queries that look at them; scales, bits and biases; queries and outputs), which decide a decode step, and by the
pairs of query and key that it cannot leave out as a whole block, which decide a prompt. Both calls are checked against the
reference on the CPU, or the plain one against the other where they must agree.</p>
${FAMILIES.map((family) => familyTable(family, rows)).join('')}
</section>`;
}

const TITLES: Readonly<Record<Family, string>> = {
  formats: 'Formats of the cache',
  masks: 'Masks and biases',
  mods: 'Functions of one’s own',
  blocks: 'Block masks',
  prefix: 'Shared prefixes',
};

const LEGEND = `<p class="legend"><span><i class="pageflash"></i>with the option</span><span><i class="plain"></i>plain</span></p>`;

function plots(rows: readonly MeasuredRow[]): string {
  return `<section>
<h2>Options: time</h2>
<p class="soft">A call with an option, and the plain call: the same without the option, or with what is built in for it. Left is
faster.</p>
${LEGEND}
<div class="scroll">${timePlot(rows)}</div>
</section>
<section>
<h2>Options: plain ÷ own</h2>
<p class="soft">Bars are medians of the ratios within rounds, whiskers their quartiles. Beyond the dashed line the option saves time,
before it the option costs time.</p>
<div class="scroll">${speedupPlot(rows)}</div>
</section>`;
}

function familyTable(family: Family, all: readonly FeatureRow[]): string {
  const rows = all.filter((row) => row.case.family === family);
  if (rows.length === 0) return '';
  return `<h3>${TITLES[family]}</h3>
<div class="scroll"><table>
<thead>
<tr><th class="shape" rowspan="2">row<br />heads × size, tokens or<br />sequences × keys, type</th><th class="implementation" colspan="3">with the option</th>
<th class="implementation" colspan="2">plain</th><th rowspan="2">plain ÷ own</th><th class="implementation" colspan="2">on paper</th><th rowspan="2">largest<br />difference</th></tr>
<tr>${headCells(['time', 'bytes', 'memory', 'time', 'bytes', 'by bytes', 'by scores'])}</tr>
</thead>
<tbody>
${rows.map(tableRow).join('\n')}
</tbody>
</table></div>`;
}

function tableRow(row: FeatureRow): string {
  const { shape, what, beside, dtype } = row.case;
  const text = `${what}; plain: ${beside}`;
  const sizes = `${headsOf(row.case)}, ${lengthOf(row.case)}, ${dtype}`;
  const start = `<td>${escape(shape)}<small class="text">${escape(text)}</small><small>${sizes}</small></td>`;
  if (!isMeasured(row)) return `<tr>${start}<td class="failed" colspan="20">${escape(row.message)}</td></tr>`;
  const { pageflash, checks } = row;
  const plain = measuredPeer(row, 'plain');
  const paper = onPaperOf(row);
  return `<tr>${start}${cells([
    timeAndRate(row, pageflash),
    bytesText(pageflash),
    formatBytes(pageflash.memoryBytes),
    plain ? timeAndRate(row, plain) : '—',
    plain ? bytesText(plain) : '—',
    plain ? spread(plain.speedup, formatRatio) : '—',
    paper ? formatRatio(paper.byBytes) : '—',
    paper ? formatRatio(paper.byScores) : '—',
    worst(checks),
  ])}</tr>`;
}

/** With the rate that decides. */
function timeAndRate({ case: benchCase }: FeatureRow, measured: Measurement): string {
  const { gflops, gbps } = measured;
  const rate = isPrompt(benchCase) ? `${threeDigits(gflops)} GFLOP/s` : `${threeDigits(gbps)} GB/s`;
  return `${timeCell(measured)}<small>${rate}</small>`;
}

function bytesText({ bytes }: Measurement): string {
  return bytes === undefined ? '—' : formatBytes(bytes);
}
