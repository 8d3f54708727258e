import { caseName } from '../cases.js';
import { formatBytes, formatRatio, formatUs } from '../format.js';
import type { RecordingRow } from '../recording/results.js';
import { measuredRival, type MeasuredRow, type RivalName } from '../results.js';
import { geometricMean } from '../statistics.js';
import { escape } from './escape.js';

/** The results in a few numbers. */
export function tiles(rows: readonly MeasuredRow[], recording: RecordingRow | undefined): string {
  const prompts = (causal: boolean) =>
    rows.filter(({ case: benchCase }) => benchCase.kind === 'prefill' && benchCase.causal === causal);
  const steps = rows.filter((row) => row.case.kind === 'decode');
  return [
    speedupTile('prompts, causal', prompts(true), 'naive'),
    speedupTile('prompts, not causal', prompts(false), 'naive'),
    speedupTile('decoding', steps, 'naive'),
    speedupTile('decoding, against the kernel for prompts', steps, 'attn_prefill'),
    memoryTile(rows),
    recordingTile(recording),
  ].join('');
}

function speedupTile(what: string, rows: readonly MeasuredRow[], name: RivalName): string {
  const ratios = rows.flatMap((row) => measuredRival(row, name)?.speedup.median ?? []);
  if (ratios.length === 0) return '';
  const range = `${formatRatio(Math.min(...ratios))} to ${formatRatio(Math.max(...ratios))}`;
  const mean =
    ratios.length === 1 ? 'one speed-up' : `geometric mean of ${ratios.length} speed-ups, ${range}`;
  return tile(formatRatio(geometricMean(ratios)), `${what}: ${mean}`);
}

function memoryTile(rows: readonly MeasuredRow[]): string {
  const pairs = rows.flatMap((row) => {
    const naive = measuredRival(row, 'naive')?.memoryBytes;
    return naive === undefined ? [] : [{ name: caseName(row.case), own: row.pageflash.memoryBytes, naive }];
  });
  const most = pairs.toSorted((a, b) => b.naive - a.naive)[0];
  if (!most) return '';
  return tile(
    formatBytes(most.own),
    `extra memory where naive attention takes most, ${formatBytes(most.naive)} (${most.name})`,
  );
}

function recordingTile(recording: RecordingRow | undefined): string {
  if (recording?.status !== 'measured') return '';
  const { layerUs, dispatchesPerLayer, dispatchUs } = recording.costs[0]!;
  return tile(
    formatUs(layerUs.median),
    `to record a planned layer of ${dispatchesPerLayer} dispatches; a bare dispatch takes ${formatUs(dispatchUs.median)}`,
  );
}

function tile(number: string, what: string): string {
  return `<div class="tile"><b>${escape(number)}</b><span>${escape(what)}</span></div>`;
}
