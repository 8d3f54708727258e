import { headsOf, lengthOf, type BenchCase } from '../cases.js';
import { excessOf, type DecodeTraffic } from '../decode/traffic.js';
import { formatExcess, formatRatio } from '../format.js';
import {
  isMeasured,
  wasSkipped,
  type Check,
  type MeasuredRow,
  type RivalName,
  type Row,
} from '../results.js';
import { cells, headCells, spread } from './cells.js';
import { CONTENDER_COLUMNS, RIVALS } from './contenderColumns.js';
import { escape } from './escape.js';

type Kind = BenchCase['kind'];

/** Everything that was measured of the rows of a kind, as an HTML table. */
export function rowsTable(kind: Kind, rows: readonly Row[]): string {
  const own = CONTENDER_COLUMNS[kind].map(({ title }) => title);
  const heads = [
    { name: 'pageflash', titles: own },
    ...RIVALS[kind].map((name) => ({ name, titles: [...own, 'speed-up'] })),
  ];
  const single = (title: string) => `<th rowspan="2">${title}</th>`;
  return `<table>
<thead>
<tr><th class="shape" rowspan="2">shape<br />heads × size, ${kind === 'prefill' ? 'S' : 'keys'}</th>
${heads.map(({ name, titles }) => `<th class="contender" colspan="${titles.length}">${name}</th>`).join('')}
${kind === 'decode' ? single('bytes ÷<br />needed') : ''}${single('differs by')}</tr>
<tr>${headCells(heads.flatMap(({ titles }) => titles))}</tr>
</thead>
<tbody>
${rows.map((row) => tableRow(kind, row)).join('\n')}
</tbody>
</table>`;
}

function tableRow(kind: Kind, row: Row): string {
  const start = `<td>${escape(row.case.shape)}<small>${headsOf(row.case)}, ${lengthOf(row.case)}</small></td>`;
  if (!isMeasured(row)) return `<tr>${start}<td class="failed" colspan="20">${escape(row.message)}</td></tr>`;
  const { pageflash, traffic, checks } = row;
  const own = cells(CONTENDER_COLUMNS[kind].map(({ cell }) => cell(pageflash)));
  const rivals = RIVALS[kind].map((name) => rivalCells(kind, row, name)).join('');
  return `<tr>${start}${own}${rivals}${traffic ? cells([excess(traffic)]) : ''}${cells([worst(checks)])}</tr>`;
}

function rivalCells(kind: Kind, { rivals }: MeasuredRow, name: RivalName): string {
  const columns = CONTENDER_COLUMNS[kind];
  const rival = rivals.find((candidate) => candidate.name === name);
  if (!rival || wasSkipped(rival)) {
    const why = rival ? `not run: ${escape(rival.skipped)}` : 'not run';
    return `<td class="soft" colspan="${columns.length + 1}" style="white-space: normal">${why}</td>`;
  }
  return cells([...columns.map(({ cell }) => cell(rival)), spread(rival.speedup, formatRatio)]);
}

function excess(traffic: DecodeTraffic): string {
  const { read, moved, asked } = excessOf(traffic);
  return `${formatExcess(moved)}<small>reads ${formatExcess(read)}</small><small>by loads ${formatExcess(asked)}</small>`;
}

function worst(checks: readonly Check[]): string {
  const { maxDifference, allowed } = checks.reduce((a, b) => (b.maxDifference > a.maxDifference ? b : a));
  return `${maxDifference.toExponential(1)}<small>≤ ${allowed.toExponential(1)}</small>`;
}
