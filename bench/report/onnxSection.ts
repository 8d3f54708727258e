import { formatFraction, formatMs } from '../../tools/format.js';
import { onnxLengthOf } from '../onnx/onnxCases.js';
import {
  bestRightMode,
  hasRun,
  ONNX_MODES,
  skippedOnce,
  type MeasuredOnnxRow,
  type OnnxMode,
  type OnnxRow,
  type SkippedOnnxRow,
} from '../results.js';
import { timeScale } from './comparisonPlots.js';
import { cells, escape, spread } from './html.js';
import { plot, type Mark, type PlotRow } from './plot.js';

/** pageflash beside onnxruntime-web; empty if that was not measured. */
export function onnxSection(rows: readonly OnnxRow[] | undefined): string {
  if (!rows) return '';
  const measured = rows.filter((row) => row.status === 'measured');
  const version = measured.find((row) => row.version !== undefined)?.version ?? '';
  return `<section>
<h2>Beside onnxruntime-web</h2>
<p class="soft">Whole calls, as an engine makes them for a layer of one sequence: new tokens are appended to the cache, then attend to
it. pageflash updates a plan, records it into a pass and submits it; onnxruntime-web ${escape(version)} runs a model of one node, all
tensors on the GPU, the cache written in place. It has other kernels for devices with subgroups than for those without;
both are timed, and compared with pageflash, whose own output is checked against the reference on the CPU. The ratio is
pageflash's time over that of its fastest mode that is right.</p>
${measured.length > 0 ? figure(measured) : ''}
<div class="scroll">${table(rows)}</div>
</section>`;
}

function figure(rows: readonly MeasuredOnnxRow[]): string {
  const entries = [
    ['pageflash', 'pageflash'],
    ['onnx', 'onnxruntime-web, fastest right mode'],
    ['onnx_other', 'its other mode'],
    ['wrong', 'a wrong result'],
  ].map(([series, text]) => `<span><i class="${series}"></i>${text}</span>`);
  return `<p class="legend">${entries.join('')}</p>
<div class="scroll">${plot({
    title: 'Time per call beside onnxruntime-web',
    axis: 'milliseconds per whole call, logarithmic',
    kind: 'dots',
    rows: rows.map(plotRow),
    ...timeScale,
  })}</div>`;
}

function plotRow(row: MeasuredOnnxRow): PlotRow {
  const best = bestRightMode(row);
  const marks: Mark[] = [{ series: 'pageflash', value: row.pageflashMs.median }];
  for (const mode of row.modes.filter(hasRun)) {
    const right = mode === best ? 'onnx' : 'onnx_other';
    marks.push({ series: mode.right ? right : 'wrong', value: mode.ms.median });
  }
  const note = best ? `ratio ${formatFraction(best.ratio.median)}` : 'no right mode';
  return { group: groupOf(row), label: onnxLengthOf(row.case), marks, note };
}

function groupOf({ case: { operator, nHeads, nKvHeads, headDim } }: OnnxRow): string {
  const short = operator === 'PagedAttention' ? 'paged' : 'GQA';
  return `${short} ${nHeads}/${nKvHeads}×${headDim}`;
}

function table(rows: readonly OnnxRow[]): string {
  return `<table>
<thead>
<tr><th class="shape" rowspan="2">operator<br />heads × size, dtype</th><th rowspan="2">pageflash</th>
${ONNX_MODES.map((mode) => `<th class="implementation" colspan="2">onnxruntime-web, ${mode}</th>`).join('')}
<th rowspan="2">ratio</th></tr>
<tr>${ONNX_MODES.map(() => '<th>time</th><th>difference</th>').join('')}</tr>
</thead>
<tbody>
${rows
  .filter(({ status }) => status !== 'skipped')
  .map(tableRow)
  .join('\n')}
${skippedOnce(rows).map(skippedRow).join('\n')}
</tbody>
</table>`;
}

function tableRow(row: OnnxRow): string {
  const { operator, nHeads, nKvHeads, headDim, dtype } = row.case;
  const start = `<td>${operator}<small>${nHeads}/${nKvHeads}×${headDim}, ${dtype}, ${onnxLengthOf(row.case)}</small></td>`;
  if (row.status !== 'measured') {
    return `<tr>${start}<td class="failed" colspan="6">${escape(row.message)}</td></tr>`;
  }
  const best = bestRightMode(row);
  const ratio = best ? spread(best.ratio, formatFraction) : '—';
  const modes = ONNX_MODES.map((mode) => modeCells(row, mode)).join('');
  return `<tr>${start}${cells([spread(row.pageflashMs, formatMs)])}${modes}${cells([ratio])}</tr>`;
}

function skippedRow({ case: { operator, dtype }, message }: SkippedOnnxRow): string {
  const why = `not run: ${escape(message)}`;
  return `<tr><td>${operator}<small>${dtype}</small></td><td class="soft left" colspan="6">${why}</td></tr>`;
}

function modeCells({ modes }: MeasuredOnnxRow, mode: OnnxMode): string {
  const result = modes.find((candidate) => candidate.mode === mode);
  if (!result || !hasRun(result)) {
    const why = result ? `not run: ${escape(result.skipped)}` : 'not run';
    return `<td class="soft" colspan="2" style="white-space: normal">${why}</td>`;
  }
  const difference = result.maxDifference === null ? 'not a number' : result.maxDifference.toExponential(1);
  const verdict = result.right ? 'right' : '<span class="bad">wrong</span>';
  return cells([spread(result.ms, formatMs), `${difference}<small>${verdict}</small>`]);
}
