import { formatBytes, formatMs, formatRatio, threeDigits } from '../format.js';
import { isMeasured, wasSkipped, type Check, type Measurement, type Row, type Skipped } from '../results.js';
import { headsOf } from '../table.js';
import type { Summary } from '../statistics.js';
import { escape } from './escape.js';

const COLUMNS_OF_CONTENDER = ['time', 'GFLOP/s', 'GB/s', 'memory'];

/** Everything that was measured, as an HTML table. */
export function rowsTable(rows: readonly Row[]): string {
  const contenderHeads = COLUMNS_OF_CONTENDER.map((title) => `<th>${title}</th>`).join('');
  return `<table>
<thead>
<tr><th class="shape" rowspan="2">shape</th><th rowspan="2">heads × size</th><th rowspan="2">S</th>
<th class="contender" colspan="4">pageflash</th><th class="contender" colspan="4">naive</th>
<th rowspan="2">speed-up</th><th rowspan="2">differs by</th></tr>
<tr>${contenderHeads}${contenderHeads}</tr>
</thead>
<tbody>
${rows.map(tableRow).join('\n')}
</tbody>
</table>`;
}

function tableRow(row: Row): string {
  const { shape, length } = row.case;
  const start = `<td>${escape(shape)}</td><td>${headsOf(row.case)}</td><td>${length}</td>`;
  if (!isMeasured(row)) return `<tr>${start}<td class="failed" colspan="10">${escape(row.message)}</td></tr>`;
  const { pageflash, naive, speedup, checks } = row;
  return `<tr>${start}${contenderCells(pageflash)}${contenderCells(naive)}<td>${speedup ? spread(speedup, formatRatio) : '—'}</td><td>${worst(checks)}</td></tr>`;
}

function contenderCells(contender: Measurement | Skipped): string {
  if (wasSkipped(contender)) {
    return `<td class="soft" colspan="4" style="white-space: normal">not run: ${escape(contender.skipped)}</td>`;
  }
  const { ms, gpuMs, gflops, gbps, memoryBytes } = contender;
  const onGpu = gpuMs ? `<small>on the GPU ${formatMs(gpuMs.median)}</small>` : '';
  const numbers = [threeDigits(gflops), threeDigits(gbps), formatBytes(memoryBytes)];
  return `<td>${spread(ms, formatMs)}${onGpu}</td>${numbers.map((cell) => `<td>${cell}</td>`).join('')}`;
}

function spread({ median, q1, q3 }: Summary, format: (value: number) => string): string {
  return `${format(median)}<small>${format(q1)} – ${format(q3)}</small>`;
}

function worst(checks: readonly Check[]): string {
  const { maxDifference, allowed } = checks.reduce((a, b) => (b.maxDifference > a.maxDifference ? b : a));
  return `${maxDifference.toExponential(1)}<small>≤ ${allowed.toExponential(1)}</small>`;
}
