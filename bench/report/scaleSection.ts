import { formatBytes, formatMs, formatPercent, threeDigits } from '../../tools/format.js';
import { headsOf, isPrompt, type ShapeKind as Kind } from '../cases/cases.js';
import {
  fmaShare,
  isMeasured,
  readShare,
  type BenchResults,
  type Ceilings,
  type MeasuredRow,
} from '../results.js';
import { BINARY, DECIMAL } from './comparisonPlots.js';
import { cells, escape, headCells, spread } from './html.js';
import { linePlot } from './linePlot.js';

/** How time and memory grow with the length of prompts and caches; empty if that was not measured. */
export function scaleSection({ scale, ceilings }: Pick<BenchResults, 'scale' | 'ceilings'>): string {
  if (!scale) return '';
  const rows = scale.filter(isMeasured);
  const failed = scale.filter((row) => !isMeasured(row));
  const ofKind = (kind: Kind) => rows.filter((row) => row.case.kind === kind);
  const kinds = KINDS.filter((kind) => ofKind(kind).length > 0);
  return `<section>
<h2>Scale</h2>
<p class="soft">pageflash alone, at many lengths: ${kinds.map((kind) => modelOf(kind, ofKind(kind)[0]!)).join('; ')}. Both axes are logarithmic.
${ceilings ? LINES : ''}</p>
${ceilings ? LEGEND : ''}
<div class="pair">${kinds.map((kind) => figure(TEXTS[kind].time, timePlot(kind, ofKind(kind), ceilings))).join('')}
${kinds.map((kind) => figure(TEXTS[kind].memory, memoryPlot(kind, ofKind(kind)))).join('')}</div>
${failed.map(({ message }) => `<p class="failed">${escape(message)}</p>`).join('')}
<div class="scroll">${kinds.map((kind) => table(kind, ofKind(kind), ceilings)).join('')}</div>
</section>`;
}

const KINDS: readonly Kind[] = ['prefill', 'decode'];

const TEXTS = {
  prefill: {
    what: 'prompts',
    time: 'Time of a prompt',
    memory: 'Extra memory of a prompt',
    axis: 'tokens of the prompt',
    rate: 'GFLOP/s',
    share: '% of multiply-adds',
  },
  decode: {
    what: 'decode steps of one sequence',
    time: 'Time of a decode step',
    memory: 'Extra memory of a decode step',
    axis: 'keys in the cache',
    rate: 'GB/s',
    share: '% of reading',
  },
};

const LINES = `The dashed line is what a call would take if the device did nothing but what it must, at the rate measured in the same
run: multiply and add for prompts, read keys and values once for decode steps.`;
const LEGEND = `<p class="legend"><span><i class="pageflash"></i>pageflash</span><span><i class="line"></i>at the measured rate of the device</span></p>`;

function modelOf(kind: Kind, { case: benchCase }: MeasuredRow): string {
  const scaled = benchCase.scaled ? ', scaled down' : '';
  return `${TEXTS[kind].what}, ${escape(benchCase.model)} with ${headsOf(benchCase)} heads${scaled}`;
}

function figure(title: string, plot: string): string {
  return `<div><h3>${title}</h3>${plot}</div>`;
}

/** Tokens of the prompt, or keys of the sequence. */
export function scaleOf({ case: benchCase }: MeasuredRow): number {
  if (benchCase.kind === 'feature') return benchCase.nKeys;
  return benchCase.kind === 'prefill' ? benchCase.length : benchCase.keys[0]!;
}

/** How much of the device a row makes use of: of its multiply-adds for a prompt, of its reads for a decode step. */
export function shareOf({ case: benchCase, pageflash }: MeasuredRow, ceilings: Ceilings): number {
  return isPrompt(benchCase) ? fmaShare(pageflash, ceilings) : readShare(pageflash, ceilings);
}

function timePlot(kind: Kind, rows: readonly MeasuredRow[], ceilings: Ceilings | undefined): string {
  return linePlot({
    ...axesOf(kind),
    title: TEXTS[kind].time,
    yAxis: rows.some(({ pageflash }) => pageflash.gpuMs) ? 'per call, on the GPU' : 'per call',
    points: rows.map((row) => {
      const { ms, gpuMs = ms } = row.pageflash;
      const y = gpuMs.median;
      return { x: scaleOf(row), y, dashed: ceilings && y * shareOf(row, ceilings) };
    }),
    yTicks: DECIMAL,
    formatY: formatMs,
  });
}

function memoryPlot(kind: Kind, rows: readonly MeasuredRow[]): string {
  return linePlot({
    ...axesOf(kind),
    title: TEXTS[kind].memory,
    yAxis: 'besides inputs and output; dashed: their own size',
    points: rows.map((row) => {
      const { memoryBytes, gbps, ms } = row.pageflash;
      // What must be moved is what inputs and output take.
      return { x: scaleOf(row), y: memoryBytes, dashed: gbps * ms.median * 1e6 };
    }),
    yTicks: BINARY,
    formatY: formatBytes,
  });
}

function axesOf(kind: Kind) {
  return { xAxis: TEXTS[kind].axis, xTicks: BINARY, formatX: String };
}

function table(kind: Kind, rows: readonly MeasuredRow[], ceilings: Ceilings | undefined): string {
  const { rate, share } = TEXTS[kind];
  const titles = ['time', rate, ...(ceilings ? [share] : []), 'extra memory'];
  return `<table class="even">
<thead><tr><th class="shape">${TEXTS[kind].axis}</th>${headCells(titles)}</tr></thead>
<tbody>
${rows.map((row) => `<tr>${cells(cellsOf(row, ceilings))}</tr>`).join('\n')}
</tbody>
</table>`;
}

function cellsOf(row: MeasuredRow, ceilings: Ceilings | undefined): string[] {
  const { ms, gpuMs, gflops, gbps, memoryBytes } = row.pageflash;
  return [
    String(scaleOf(row)),
    spread(ms, formatMs) + (gpuMs ? `<small>GPU ${formatMs(gpuMs.median)}</small>` : ''),
    threeDigits(row.case.kind === 'prefill' ? gflops : gbps),
    ...(ceilings ? [formatPercent(shareOf(row, ceilings))] : []),
    formatBytes(memoryBytes),
  ];
}
