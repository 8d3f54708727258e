// npm run bench:paging: what paging costs on the host, and the memory that it saves.
import { formatSpread, threeDigits } from '../../tools/format.js';
import { bytesPerPage, MAX_TOKENS, steadyState, wasteOf } from '../cases/pagingMemory.js';
import { OPERATIONS, timeOperations } from '../cases/pagingOperations.js';
import { textTable, type Column } from '../report/textTable.js';

const POOLS = [
  { nPages: 1000, nSequences: 10 },
  { nPages: 10_000, nSequences: 100 },
  { nPages: 100_000, nSequences: 1000 },
  { nPages: 1_000_000, nSequences: 10_000 },
];

// Measured first, while nothing else is in memory.
const pageBytes = bytesPerPage(100_000);
const times = POOLS.map(({ nPages, nSequences }) => timeOperations(nPages, nSequences));
const nanoseconds = (value: number): string => value.toFixed(0);
print(
  'Nanoseconds per operation, median [quartiles], and millions per second with 100 000 pages',
  Object.keys(OPERATIONS),
  [
    { title: '', align: 'left', cell: (name) => name },
    ...POOLS.map(({ nPages, nSequences }, i): Column<string> => ({
      title: `${nPages} pages, ${nSequences} seq.`,
      cell: (name) => formatSpread(times[i]!.get(name)!, nanoseconds),
    })),
    { title: 'M/s', cell: (name) => threeDigits(1000 / times[2]!.get(name)!.median) },
  ],
);

console.log(`Host memory\nbytes per page: ${threeDigits(pageBytes)}`);
for (const nSequences of [16, 256]) {
  const { garbageBytes, microseconds } = steadyState(nSequences);
  console.log(
    `a decode step of ${nSequences} sequences: ${threeDigits(microseconds)} µs, ${threeDigits(garbageBytes)} bytes of garbage`,
  );
}

const wastes = [1, 8, 16, 32, 64, 128].map((pageSize) => ({ pageSize, ...wasteOf(pageSize, 1000) }));
print(`\nPercentage of slots wasted, chats of up to ${MAX_TOKENS} tokens`, wastes, [
  { title: 'page size', align: 'left', cell: ({ pageSize }) => String(pageSize) },
  { title: 'pages', cell: ({ paged }) => threeDigits(paged) },
  { title: 'contiguous', cell: ({ contiguous }) => threeDigits(contiguous) },
]);

function print<R>(title: string, rows: readonly R[], columns: readonly Column<R>[]): void {
  console.log([title, ...textTable(columns, rows), ''].join('\n'));
}
