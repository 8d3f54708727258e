import { formatBytes, formatMs, threeDigits } from '../format.js';
import type { BenchCase } from '../cases.js';
import type { Measurement, RivalName } from '../results.js';
import { spread } from './cells.js';

/** What a table shows of one contender. */
export interface ContenderColumn {
  readonly title: string;
  /** HTML */
  readonly cell: (measured: Measurement) => string;
}

export const RIVALS: Readonly<Record<BenchCase['kind'], readonly RivalName[]>> = {
  prefill: ['naive'],
  decode: ['naive', 'attn_prefill'],
};

const TIME: ContenderColumn = { title: 'time', cell: timeCell };
const TIME_AND_RATE: ContenderColumn = {
  title: 'time',
  cell: (measured) => `${timeCell(measured)}<small>${threeDigits(measured.gbps)} GB/s</small>`,
};
const GFLOPS: ContenderColumn = { title: 'GFLOP/s', cell: ({ gflops }) => threeDigits(gflops) };
const GBPS: ContenderColumn = { title: 'GB/s', cell: ({ gbps }) => threeDigits(gbps) };
const MEMORY: ContenderColumn = { title: 'memory', cell: ({ memoryBytes }) => formatBytes(memoryBytes) };

export const CONTENDER_COLUMNS: Readonly<Record<BenchCase['kind'], readonly ContenderColumn[]>> = {
  prefill: [TIME, GFLOPS, GBPS, MEMORY],
  decode: [TIME_AND_RATE, MEMORY],
};

function timeCell({ ms, gpuMs }: Measurement): string {
  return spread(ms, formatMs) + (gpuMs ? `<small>on the GPU ${formatMs(gpuMs.median)}</small>` : '');
}
