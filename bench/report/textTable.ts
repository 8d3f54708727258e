import {
  formatBytes,
  formatExcess,
  formatMs,
  formatRatio,
  formatSpread,
  formatUs,
  threeDigits,
} from '../../tools/format.js';
import { caseName, headsOf, lengthOf } from '../cases/cases.js';
import { excessOf } from '../cases/traffic.js';
import {
  callCountsText,
  isMeasured,
  measuredPeer,
  wasSkipped,
  type BenchResults,
  type MeasuredPeer,
  type MeasuredRow,
  type PeerName,
  type RecordingCost,
  type RecordingRow,
  type Row,
} from '../results.js';

/** A column of a table for the terminal. */
export interface Column<R> {
  readonly title: string;
  /** Default right. */
  readonly align?: 'left' | 'right';
  readonly cell: (row: R) => string;
}

/** The lines of a table, column titles first. No lines if there are no rows. */
export function textTable<R>(columns: readonly Column<R>[], rows: readonly R[]): string[] {
  if (rows.length === 0) return [];
  const lines = [
    columns.map(({ title }) => title),
    ...rows.map((row) => columns.map(({ cell }) => cell(row))),
  ];
  const widths = columns.map((_, i) => Math.max(...lines.map((line) => line[i]!.length)));
  return lines.map((line) =>
    line
      .map((cell, i) => (columns[i]!.align === 'left' ? cell.padEnd(widths[i]!) : cell.padStart(widths[i]!)))
      .join('  ')
      .trimEnd(),
  );
}

/** The results as tables for the terminal: medians, with the quartiles of speed-ups. */
export function resultTables({ rows, recording }: Pick<BenchResults, 'rows' | 'recording'>): string {
  const measured = rows.filter(isMeasured);
  const ofKind = (kind: string) => measured.filter((row) => row.case.kind === kind);
  const blocks = [
    textTable(PREFILL_COLUMNS, ofKind('prefill')),
    textTable(DECODE_COLUMNS, ofKind('decode')),
    recordingLines(recording),
    [...measured.flatMap(notes), ...rows.flatMap(failures)],
  ];
  return blocks
    .filter((lines) => lines.length > 0)
    .map((lines) => lines.join('\n'))
    .join('\n\n');
}

const START: readonly Column<MeasuredRow>[] = [
  { title: 'shape', align: 'left', cell: ({ case: { shape } }) => shape },
  { title: 'heads', cell: (row) => headsOf(row.case) },
];

const PREFILL_COLUMNS: readonly Column<MeasuredRow>[] = [
  ...START,
  { title: 'S', cell: (row) => lengthOf(row.case) },
  { title: 'pageflash', cell: ({ pageflash }) => formatMs(pageflash.ms.median) },
  { title: 'naive', cell: ofPeer('naive', ({ ms }) => formatMs(ms.median)) },
  { title: 'speed-up', cell: ofPeer('naive', ({ speedup }) => formatSpread(speedup, formatRatio)) },
  { title: 'GFLOP/s', cell: ({ pageflash }) => threeDigits(pageflash.gflops) },
  { title: 'naive', cell: ofPeer('naive', ({ gflops }) => threeDigits(gflops)) },
  { title: 'extra memory', cell: ({ pageflash }) => formatBytes(pageflash.memoryBytes) },
  { title: 'naive', cell: ofPeer('naive', ({ memoryBytes }) => formatBytes(memoryBytes)) },
];

const DECODE_COLUMNS: readonly Column<MeasuredRow>[] = [
  ...START,
  { title: 'keys', cell: (row) => lengthOf(row.case) },
  { title: 'pageflash', cell: ({ pageflash }) => formatMs(pageflash.ms.median) },
  { title: 'naive', cell: ofPeer('naive', ({ ms }) => formatMs(ms.median)) },
  { title: 'speed-up', cell: ofPeer('naive', ({ speedup }) => formatSpread(speedup, formatRatio)) },
  { title: 'attn_prefill', cell: ofPeer('attn_prefill', ({ ms }) => formatMs(ms.median)) },
  { title: 'speed-up', cell: ofPeer('attn_prefill', ({ speedup }) => formatRatio(speedup.median)) },
  { title: 'GB/s', cell: ({ pageflash }) => threeDigits(pageflash.gbps) },
  { title: 'moved ÷ needed', cell: ({ traffic }) => (traffic ? formatExcess(excessOf(traffic).moved) : '—') },
  {
    title: 'issued ÷ needed',
    cell: ({ traffic }) => (traffic ? formatExcess(excessOf(traffic).issued) : '—'),
  },
  { title: 'extra memory', cell: ({ pageflash }) => formatBytes(pageflash.memoryBytes) },
  { title: 'naive', cell: ofPeer('naive', ({ memoryBytes }) => formatBytes(memoryBytes)) },
];

function ofPeer(name: PeerName, format: (peer: MeasuredPeer) => string): Column<MeasuredRow>['cell'] {
  return (row) => {
    const peer = measuredPeer(row, name);
    return peer ? format(peer) : '—';
  };
}

const RECORDING_COLUMNS: readonly Column<RecordingCost>[] = [
  { title: 'a layer does', align: 'left', cell: ({ name }) => name },
  { title: 'dispatches', cell: ({ dispatchesPerLayer }) => String(dispatchesPerLayer) },
  { title: 'planned layer', cell: ({ layerUs }) => formatSpread(layerUs, formatUs) },
  { title: 'bare dispatch', cell: ({ dispatchUs }) => formatSpread(dispatchUs, formatUs) },
  { title: 'planned ÷ bare', cell: ({ overBare }) => formatRatio(overBare.median) },
  { title: 'calls by layers', cell: ({ madeByLayers }) => callCountsText(madeByLayers) },
  { title: 'planning a step', cell: ({ updateUs }) => formatUs(updateUs.median) },
];

function recordingLines(recording: RecordingRow | undefined): string[] {
  if (!recording) return [];
  if (recording.status === 'failed') return [`FAILED recording: ${recording.message}`];
  return textTable(RECORDING_COLUMNS, recording.costs);
}

function notes(row: MeasuredRow): string[] {
  return row.peers
    .filter(wasSkipped)
    .map(({ name, skipped }) => `${caseName(row.case)}: ${name} was not run, as ${skipped}.`);
}

function failures(row: Row): string[] {
  return isMeasured(row) ? [] : [`FAILED ${caseName(row.case)}: ${row.message}`];
}
