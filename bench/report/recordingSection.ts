import { formatRatio, formatUs } from '../format.js';
import { madeText, type RecordingCost, type RecordingRow } from '../recording/results.js';
import { cells, headCells, spread } from './cells.js';
import { escape } from './escape.js';

const TITLES = [
  'dispatches',
  'a planned layer',
  'a bare dispatch',
  'over bare',
  'made by layers',
  'planning a step',
  'made by planning',
];

/** What it costs the host to record planned attention. */
export function recordingSection(recording: RecordingRow | undefined): string {
  if (!recording) return '';
  return `<section>
<h2>Recording</h2>
${recording.status === 'failed' ? `<p class="failed">${escape(recording.message)}</p>` : costsTable(recording.costs)}
</section>`;
}

function costsTable(costs: readonly RecordingCost[]): string {
  const { steps, layers } = costs[0]!;
  return `<p class="soft">Time of the host to record a planned layer of attention over a cache into an open pass, new tokens
appended, beside that of the same dispatches bare: <code>setPipeline</code>, <code>setBindGroup</code>,
<code>dispatchWorkgroups</code>. A plan is made anew for each step, once for all layers. “Made” counts buffers, writes and bind
groups over ${steps} steps of ${layers} layers after the first.</p>
<div class="scroll"><table>
<thead><tr><th class="shape">a layer does</th>${headCells(TITLES)}</tr></thead>
<tbody>
${costs.map(costRow).join('\n')}
</tbody>
</table></div>`;
}

function costRow(cost: RecordingCost): string {
  return `<tr>${cells([
    escape(cost.name),
    String(cost.dispatchesPerLayer),
    spread(cost.layerUs, formatUs),
    spread(cost.dispatchUs, formatUs),
    spread(cost.overBare, formatRatio),
    madeText(cost.madeByLayers),
    spread(cost.updateUs, formatUs),
    madeText(cost.madeByUpdates),
  ])}</tr>`;
}
