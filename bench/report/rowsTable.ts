import {
  formatBytes,
  formatExcess,
  formatMs,
  formatPercent,
  formatRatio,
  threeDigits,
} from '../../tools/format.js';
import { headsOf, lengthOf, type ShapeKind as Kind } from '../cases/cases.js';
import { excessOf, type DecodeTraffic } from '../cases/traffic.js';
import {
  fmaShare,
  isMeasured,
  readShare,
  wasSkipped,
  type Ceilings,
  type Check,
  type Measurement,
  type MeasuredRow,
  type PeerName,
  type Row,
} from '../results.js';
import { cells, escape, headCells, spread } from './html.js';

/** A column that pageflash and every peer have. */
interface ImplementationColumn {
  readonly title: string;
  /** HTML; the rates of the device are known where they were measured. */
  readonly cell: (measured: Measurement, ceilings?: Ceilings) => string;
}

/** The peers of each kind of case, in the order of their columns. */
const PEERS: Readonly<Record<Kind, readonly PeerName[]>> = {
  prefill: ['naive', 'T1'],
  decode: ['naive', 'attn_prefill'],
};

/** Those that rows have. */
export function peersOf(kind: Kind, rows: readonly Row[]): readonly PeerName[] {
  return PEERS[kind].filter(
    (name) =>
      name !== 'T1' || rows.some((row) => isMeasured(row) && row.peers.some((peer) => peer.name === name)),
  );
}

const TIME: ImplementationColumn = { title: 'time', cell: timeCell };
const TIME_AND_RATE: ImplementationColumn = {
  title: 'time',
  cell: (measured, ceilings) => {
    const share = ceilings ? `<small>${formatPercent(readShare(measured, ceilings))} of reading</small>` : '';
    return `${timeCell(measured)}<small>${threeDigits(measured.gbps)} GB/s</small>${share}`;
  },
};
const GFLOPS: ImplementationColumn = {
  title: 'GFLOP/s',
  cell: (measured, ceilings) => {
    const share = ceilings ? `<small>${formatPercent(fmaShare(measured, ceilings))}</small>` : '';
    return threeDigits(measured.gflops) + share;
  },
};
const GBPS: ImplementationColumn = { title: 'GB/s', cell: ({ gbps }) => threeDigits(gbps) };
const MEMORY: ImplementationColumn = { title: 'memory', cell: ({ memoryBytes }) => formatBytes(memoryBytes) };

const IMPLEMENTATION_COLUMNS: Readonly<Record<Kind, readonly ImplementationColumn[]>> = {
  prefill: [TIME, GFLOPS, GBPS, MEMORY],
  decode: [TIME_AND_RATE, MEMORY],
};

export function timeCell({ ms, gpuMs }: Measurement): string {
  return spread(ms, formatMs) + (gpuMs ? `<small>GPU ${formatMs(gpuMs.median)}</small>` : '');
}

/** All numbers of the rows of one kind, as an HTML table. */
export function rowsTable(kind: Kind, rows: readonly Row[], ceilings?: Ceilings): string {
  const own = IMPLEMENTATION_COLUMNS[kind].map(({ title }) => title);
  const peers = peersOf(kind, rows);
  const heads = [
    { name: 'pageflash', titles: own },
    ...peers.map((name) => ({ name, titles: [...own, 'speed-up'] })),
  ];
  const single = (title: string) => `<th rowspan="2">${title}</th>`;
  return `<table>
<thead>
<tr><th class="shape" rowspan="2">shape<br />heads × size, ${kind === 'prefill' ? 'S' : 'keys'}</th>
${heads.map(({ name, titles }) => `<th class="implementation" colspan="${titles.length}">${name}</th>`).join('')}
${kind === 'decode' ? single('moved ÷<br />needed') : ''}${single('largest<br />difference')}</tr>
<tr>${headCells(heads.flatMap(({ titles }) => titles))}</tr>
</thead>
<tbody>
${rows.map((row) => tableRow(kind, row, peers, ceilings)).join('\n')}
</tbody>
</table>`;
}

function tableRow(kind: Kind, row: Row, peerNames: readonly PeerName[], ceilings?: Ceilings): string {
  const start = `<td>${escape(row.case.shape)}<small>${headsOf(row.case)}, ${lengthOf(row.case)}</small></td>`;
  if (!isMeasured(row)) return `<tr>${start}<td class="failed" colspan="20">${escape(row.message)}</td></tr>`;
  const { pageflash, traffic, checks } = row;
  const own = cells(IMPLEMENTATION_COLUMNS[kind].map(({ cell }) => cell(pageflash, ceilings)));
  const peers = peerNames.map((name) => peerCells(kind, row, name, ceilings)).join('');
  return `<tr>${start}${own}${peers}${traffic ? cells([excess(traffic)]) : ''}${cells([worst(checks)])}</tr>`;
}

function peerCells(kind: Kind, { peers }: MeasuredRow, name: PeerName, ceilings?: Ceilings): string {
  const columns = IMPLEMENTATION_COLUMNS[kind];
  const peer = peers.find((candidate) => candidate.name === name);
  if (!peer || wasSkipped(peer)) {
    const why = peer ? `not run: ${escape(peer.skipped)}` : 'not run';
    return `<td class="soft" colspan="${columns.length + 1}" style="white-space: normal">${why}</td>`;
  }
  return cells([...columns.map(({ cell }) => cell(peer, ceilings)), spread(peer.speedup, formatRatio)]);
}

function excess(traffic: DecodeTraffic): string {
  const { read, moved, issued } = excessOf(traffic);
  return `${formatExcess(moved)}<small>read ${formatExcess(read)}</small><small>issued ${formatExcess(issued)}</small>`;
}

export function worst(checks: readonly Check[]): string {
  const { maxDifference, allowed } = checks.reduce((a, b) => (b.maxDifference > a.maxDifference ? b : a));
  return `${maxDifference.toExponential(1)}<small>≤ ${allowed.toExponential(1)}</small>`;
}
