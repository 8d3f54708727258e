import {
  formatBytes,
  formatExcess,
  formatFraction,
  formatMs,
  formatPercent,
  formatRatio,
  formatSpread,
  formatUs,
  formatWideSpread,
  threeDigits,
} from '../../tools/format.js';
import type { Summary } from '../../tools/statistics.js';
import { caseName, headsOf, lengthOf } from '../cases/cases.js';
import { excessOf } from '../cases/traffic.js';
import { onnxCaseName } from '../onnx/onnxCases.js';
import {
  bestRightMode,
  callCountsText,
  ceilingsText,
  hasRun,
  isMeasured,
  measuredPeer,
  ONNX_MODES,
  skippedOnce,
  wasSkipped,
  type BenchResults,
  type Ceilings,
  type MeasuredOnnxRow,
  type MeasuredPeer,
  type MeasuredRow,
  type OnnxMode,
  type OnnxRow,
  type PeerName,
  type RecordingCost,
  type RecordingRow,
  type Row,
} from '../results.js';
import { featureRows, onPaperOf, type FeatureRow } from './featureSection.js';
import { scaleOf, shareOf } from './scaleSection.js';

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

type Tabled = Pick<BenchResults, 'rows' | 'recording' | 'ceilings' | 'scale' | 'onnx'>;

/** The results as tables for the terminal: medians, with the quartiles of speed-ups. */
export function resultTables({ rows, recording, ceilings, scale = [], onnx = [] }: Tabled): string {
  const measured = rows.filter(isMeasured);
  const ofKind = (kind: string) => measured.filter((row) => row.case.kind === kind);
  const blocks = [
    textTable(withShare(prefillColumns(measured), 'GFLOP/s', ceilings), ofKind('prefill')),
    textTable(withShare(DECODE_COLUMNS, 'GB/s', ceilings), ofKind('decode')),
    textTable(
      FEATURE_COLUMNS,
      featureRows(rows).filter((row) => row.status === 'measured'),
    ),
    recordingLines(recording),
    textTable(
      ONNX_COLUMNS,
      onnx.filter((row) => row.status === 'measured'),
    ),
    textTable(withShare(SCALE_COLUMNS, 'GB/s', ceilings), scale.filter(isMeasured)),
    ceilings ? [ceilingsText(ceilings)] : [],
    [...measured.flatMap(notes), ...[...rows, ...scale].flatMap(failures), ...onnxNotes(onnx)],
  ];
  return blocks
    .filter((lines) => lines.length > 0)
    .map((lines) => lines.join('\n'))
    .join('\n\n');
}

/** The median, and the spread if it is wide. */
function timeText(ms: Summary): string {
  const wide = formatWideSpread(ms);
  return formatMs(ms.median) + (wide && ` (${wide})`);
}

/** The columns with one more, behind that of the rate that the device limits. */
function withShare(
  columns: readonly Column<MeasuredRow>[],
  rate: string,
  ceilings: Ceilings | undefined,
): readonly Column<MeasuredRow>[] {
  if (!ceilings) return columns;
  const share = (row: MeasuredRow): string => formatPercent(shareOf(row, ceilings));
  return columns.flatMap((column) =>
    column.title === rate ? [column, { title: 'of the device', cell: share }] : [column],
  );
}

const START: readonly Column<MeasuredRow>[] = [
  { title: 'shape', align: 'left', cell: ({ case: { shape } }) => shape },
  { title: 'heads', cell: (row) => headsOf(row.case) },
];

const PREFILL_COLUMNS: readonly Column<MeasuredRow>[] = [
  ...START,
  { title: 'S', cell: (row) => lengthOf(row.case) },
  { title: 'pageflash', cell: ({ pageflash }) => timeText(pageflash.ms) },
  { title: 'naive', cell: ofPeer('naive', ({ ms }) => timeText(ms)) },
  { title: 'speed-up', cell: ofPeer('naive', ({ speedup }) => formatSpread(speedup, formatRatio)) },
  { title: 'T1', cell: ofPeer('T1', ({ ms }) => timeText(ms)) },
  { title: 'T1 ÷ own', cell: ofPeer('T1', ({ speedup }) => formatRatio(speedup.median)) },
  { title: 'GFLOP/s', cell: ({ pageflash }) => threeDigits(pageflash.gflops) },
  { title: 'naive', cell: ofPeer('naive', ({ gflops }) => threeDigits(gflops)) },
  { title: 'extra memory', cell: ({ pageflash }) => formatBytes(pageflash.memoryBytes) },
  { title: 'naive', cell: ofPeer('naive', ({ memoryBytes }) => formatBytes(memoryBytes)) },
];

/** Those above, without T1 where no row has it. */
function prefillColumns(rows: readonly MeasuredRow[]): readonly Column<MeasuredRow>[] {
  if (rows.some((row) => measuredPeer(row, 'T1'))) return PREFILL_COLUMNS;
  return PREFILL_COLUMNS.filter(({ title }) => title !== 'T1' && title !== 'T1 ÷ own');
}

const DECODE_COLUMNS: readonly Column<MeasuredRow>[] = [
  ...START,
  { title: 'keys', cell: (row) => lengthOf(row.case) },
  { title: 'pageflash', cell: ({ pageflash }) => timeText(pageflash.ms) },
  { title: 'naive', cell: ofPeer('naive', ({ ms }) => timeText(ms)) },
  { title: 'speed-up', cell: ofPeer('naive', ({ speedup }) => formatSpread(speedup, formatRatio)) },
  { title: 'attn_prefill', cell: ofPeer('attn_prefill', ({ ms }) => timeText(ms)) },
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

const FEATURE_COLUMNS: readonly Column<FeatureRow & MeasuredRow>[] = [
  { title: 'option', align: 'left', cell: ({ case: { shape } }) => shape },
  { title: 'heads', cell: (row) => headsOf(row.case) },
  { title: 'keys', cell: (row) => lengthOf(row.case) },
  { title: 'own', cell: ({ pageflash }) => timeText(pageflash.ms) },
  { title: 'plain', cell: ofPeer('plain', ({ ms }) => timeText(ms)) },
  { title: 'plain ÷ own', cell: ofPeer('plain', ({ speedup }) => formatSpread(speedup, formatRatio)) },
  { title: 'on paper by bytes', cell: (row) => orDash(onPaperOf(row)?.byBytes, formatRatio) },
  { title: 'by scores', cell: (row) => orDash(onPaperOf(row)?.byScores, formatRatio) },
  { title: 'plain is', align: 'left', cell: ({ case: { beside } }) => beside },
];

function ofPeer(name: PeerName, format: (peer: MeasuredPeer) => string): Column<MeasuredRow>['cell'] {
  return (row) => {
    const peer = measuredPeer(row, name);
    return peer ? format(peer) : '—';
  };
}

const SCALE_COLUMNS: readonly Column<MeasuredRow>[] = [
  { title: 'scale', align: 'left', cell: ({ case: { kind } }) => kind },
  { title: 'heads', cell: (row) => headsOf(row.case) },
  { title: 'length', cell: (row) => String(scaleOf(row)) },
  { title: 'pageflash', cell: ({ pageflash }) => timeText(pageflash.ms) },
  { title: 'GFLOP/s', cell: ({ pageflash }) => threeDigits(pageflash.gflops) },
  { title: 'GB/s', cell: ({ pageflash }) => threeDigits(pageflash.gbps) },
  { title: 'extra memory', cell: ({ pageflash }) => formatBytes(pageflash.memoryBytes) },
];

const ONNX_COLUMNS: readonly Column<MeasuredOnnxRow>[] = [
  { title: 'beside onnxruntime-web', align: 'left', cell: (row) => onnxCaseName(row.case) },
  { title: 'pageflash', cell: ({ pageflashMs }) => timeText(pageflashMs) },
  ...ONNX_MODES.map((mode): Column<MeasuredOnnxRow> => {
    return { title: mode, cell: (row) => onnxModeText(row, mode) };
  }),
  {
    title: 'ratio',
    cell: (row) => {
      const best = bestRightMode(row);
      return best ? formatSpread(best.ratio, formatFraction) : '—';
    },
  },
];

function onnxModeText({ modes }: MeasuredOnnxRow, mode: OnnxMode): string {
  const result = modes.find((candidate) => candidate.mode === mode);
  if (!result || !hasRun(result)) return '—';
  const difference = result.maxDifference?.toExponential(1) ?? 'not a number';
  return `${timeText(result.ms)}, ${result.right ? 'right' : 'WRONG'} by ${difference}`;
}

/** What did not run beside onnxruntime-web, and why. */
function onnxNotes(rows: readonly OnnxRow[]): string[] {
  const skipped = skippedOnce(rows).map(
    ({ case: { operator, dtype }, message }) => `${operator} ${dtype}: not run, as ${message}.`,
  );
  const others = rows.flatMap((row): string[] => {
    const name = onnxCaseName(row.case);
    if (row.status === 'failed') return [`FAILED ${name}: ${row.message}`];
    if (row.status === 'skipped') return [];
    return row.modes.flatMap((mode) =>
      hasRun(mode) ? [] : `${name}, ${mode.mode}: not run: ${mode.skipped}.`,
    );
  });
  return [...skipped, ...others];
}

const LAYER_COLUMNS: readonly Column<RecordingCost>[] = [
  { title: 'a layer does', align: 'left', cell: ({ name }) => name },
  { title: 'sequences', cell: ({ sequences = 1 }) => String(sequences) },
  { title: 'dispatches', cell: ({ dispatchesPerLayer }) => String(dispatchesPerLayer) },
  { title: 'planned layer', cell: ({ layerUs }) => formatSpread(layerUs, formatUs) },
  { title: 'bare dispatch', cell: ({ dispatchUs }) => formatSpread(dispatchUs, formatUs) },
  { title: 'planned ÷ bare', cell: ({ overBare }) => formatRatio(overBare.median) },
  { title: 'calls by layers', cell: ({ madeByLayers }) => callCountsText(madeByLayers) },
];

const STEP_COLUMNS: readonly Column<RecordingCost>[] = [
  { title: 'a step does', align: 'left', cell: ({ name }) => name },
  { title: 'sequences', cell: ({ sequences = 1 }) => String(sequences) },
  { title: 'planning a step', cell: ({ updateUs }) => formatUs(updateUs.median) },
  { title: '÷ bare', cell: ({ updateOverBare }) => orDash(updateOverBare?.median, formatRatio) },
  {
    title: 'garbage',
    cell: ({ updateBytes }) => (updateBytes === undefined ? '—' : formatBytes(updateBytes)),
  },
  { title: 'a call', cell: ({ callUs }) => orDash(callUs?.median, formatUs) },
  { title: '÷ bare', cell: ({ callOverBare }) => orDash(callOverBare?.median, formatRatio) },
];

function orDash(value: number | undefined, format: (value: number) => string): string {
  return value === undefined ? '—' : format(value);
}

function recordingLines(recording: RecordingRow | undefined): string[] {
  if (!recording) return [];
  if (recording.status === 'failed') return [`FAILED recording: ${recording.message}`];
  return [...textTable(LAYER_COLUMNS, recording.costs), '', ...textTable(STEP_COLUMNS, recording.costs)];
}

function notes(row: MeasuredRow): string[] {
  return row.peers
    .filter(wasSkipped)
    .map(({ name, skipped }) => `${caseName(row.case)}: ${name} was not run, as ${skipped}.`);
}

function failures(row: Row): string[] {
  return isMeasured(row) ? [] : [`FAILED ${caseName(row.case)}: ${row.message}`];
}
