import { caseName, headsOf, lengthOf } from './cases.js';
import { excessOf } from './decode/traffic.js';
import {
  formatBytes,
  formatExcess,
  formatMs,
  formatRatio,
  formatSpread,
  formatUs,
  threeDigits,
} from './format.js';
import { madeText, type RecordingCost, type RecordingRow } from './recording/results.js';
import {
  isMeasured,
  measuredRival,
  wasSkipped,
  type BenchResults,
  type MeasuredRival,
  type MeasuredRow,
  type RivalName,
  type Row,
} from './results.js';
import { textTable, type Column } from './textTable.js';

/** The results as text for a terminal: medians, with the quartiles of speed-ups. */
export function table({ rows, recording }: Pick<BenchResults, 'rows' | 'recording'>): string {
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
  { title: 'naive', cell: ofRival('naive', ({ ms }) => formatMs(ms.median)) },
  { title: 'speed-up', cell: ofRival('naive', ({ speedup }) => formatSpread(speedup, formatRatio)) },
  { title: 'GFLOP/s', cell: ({ pageflash }) => threeDigits(pageflash.gflops) },
  { title: 'naive', cell: ofRival('naive', ({ gflops }) => threeDigits(gflops)) },
  { title: 'extra memory', cell: ({ pageflash }) => formatBytes(pageflash.memoryBytes) },
  { title: 'naive', cell: ofRival('naive', ({ memoryBytes }) => formatBytes(memoryBytes)) },
];

const DECODE_COLUMNS: readonly Column<MeasuredRow>[] = [
  ...START,
  { title: 'keys', cell: (row) => lengthOf(row.case) },
  { title: 'pageflash', cell: ({ pageflash }) => formatMs(pageflash.ms.median) },
  { title: 'naive', cell: ofRival('naive', ({ ms }) => formatMs(ms.median)) },
  { title: 'speed-up', cell: ofRival('naive', ({ speedup }) => formatSpread(speedup, formatRatio)) },
  { title: 'attn_prefill', cell: ofRival('attn_prefill', ({ ms }) => formatMs(ms.median)) },
  { title: 'speed-up', cell: ofRival('attn_prefill', ({ speedup }) => formatRatio(speedup.median)) },
  { title: 'GB/s', cell: ({ pageflash }) => threeDigits(pageflash.gbps) },
  { title: 'bytes ÷ needed', cell: ({ traffic }) => (traffic ? formatExcess(excessOf(traffic).moved) : '—') },
  { title: 'by loads', cell: ({ traffic }) => (traffic ? formatExcess(excessOf(traffic).asked) : '—') },
  { title: 'extra memory', cell: ({ pageflash }) => formatBytes(pageflash.memoryBytes) },
  { title: 'naive', cell: ofRival('naive', ({ memoryBytes }) => formatBytes(memoryBytes)) },
];

function ofRival(name: RivalName, format: (rival: MeasuredRival) => string): Column<MeasuredRow>['cell'] {
  return (row) => {
    const rival = measuredRival(row, name);
    return rival ? format(rival) : '—';
  };
}

const RECORDING_COLUMNS: readonly Column<RecordingCost>[] = [
  { title: 'planned layer', align: 'left', cell: ({ name }) => name },
  { title: 'dispatches', cell: ({ dispatchesPerLayer }) => String(dispatchesPerLayer) },
  { title: 'to record', cell: ({ layerUs }) => formatSpread(layerUs, formatUs) },
  { title: 'a bare dispatch', cell: ({ dispatchUs }) => formatSpread(dispatchUs, formatUs) },
  { title: 'over bare', cell: ({ overBare }) => formatRatio(overBare.median) },
  { title: 'made by layers', cell: ({ madeByLayers }) => madeText(madeByLayers) },
  { title: 'a step’s plan', cell: ({ updateUs }) => formatUs(updateUs.median) },
];

function recordingLines(recording: RecordingRow | undefined): string[] {
  if (!recording) return [];
  if (recording.status === 'failed') return [`FAILED recording: ${recording.message}`];
  return textTable(RECORDING_COLUMNS, recording.costs);
}

function notes(row: MeasuredRow): string[] {
  return row.rivals
    .filter(wasSkipped)
    .map(({ name, skipped }) => `${caseName(row.case)}: ${name} was not run, as ${skipped}.`);
}

function failures(row: Row): string[] {
  return isMeasured(row) ? [] : [`FAILED ${caseName(row.case)}: ${row.message}`];
}
