// node scripts/runTs.mjs bench/paging/main.ts: what paging costs on the host, and what it saves.
import { threeDigits } from '../format.js';
import { bytesPerPage, steadyState } from './memory.js';
import { OPERATIONS, timeOperations } from './operations.js';
import { MAX_TOKENS, wasteOf } from './waste.js';

const POOLS = [
  { nPages: 1000, nSequences: 10 },
  { nPages: 10_000, nSequences: 100 },
  { nPages: 100_000, nSequences: 1000 },
  { nPages: 1_000_000, nSequences: 10_000 },
];

// First, while there is nothing else in memory.
const pageBytes = bytesPerPage(100_000);
const times = POOLS.map(({ nPages, nSequences }) => timeOperations(nPages, nSequences));
print('Nanoseconds an operation, median [quartiles], and millions a second with 100 000 pages', [
  ['', ...POOLS.map(({ nPages, nSequences }) => `${nPages} pages, ${nSequences} seq.`), 'M/s'],
  ...Object.keys(OPERATIONS).map((name) => [
    name,
    ...times.map((byName) => {
      const { median, q1, q3 } = byName.get(name)!;
      return `${median.toFixed(0)} [${q1.toFixed(0)}, ${q3.toFixed(0)}]`;
    }),
    threeDigits(1000 / times[2]!.get(name)!.median),
  ]),
]);

print('Host memory', [
  ['bytes a page', threeDigits(pageBytes)],
  ...[16, 256].map((nSequences) => {
    const { garbageBytes, microseconds } = steadyState(nSequences);
    const cost = `${threeDigits(microseconds)} µs, ${threeDigits(garbageBytes)} bytes of garbage`;
    return [`a step of ${nSequences} sequences that decode`, cost];
  }),
]);

print(`Waste in percent, chats of up to ${MAX_TOKENS} tokens`, [
  ['page size', 'pages', 'contiguous'],
  ...[1, 8, 16, 32, 64, 128].map((pageSize) => {
    const { paged, contiguous } = wasteOf(pageSize, 1000);
    return [String(pageSize), threeDigits(paged), threeDigits(contiguous)];
  }),
]);

function print(title: string, lines: readonly (readonly string[])[]): void {
  const widths = lines[0]!.map((_, column) => Math.max(...lines.map((line) => line[column]!.length)));
  const text = lines.map((line) =>
    line.map((cell, i) => (i === 0 ? cell.padEnd(widths[i]!) : cell.padStart(widths[i]!))).join('  '),
  );
  console.log([title, ...text, ''].join('\n'));
}
