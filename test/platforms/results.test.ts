import { readFile } from 'node:fs/promises';
import { expect, test } from 'vitest';
import { browserEngine, nodeEngine } from './engines.js';
import { page, renewed, savedRows, table, type Row } from './results.js';
import { fillSupportTable } from './supportTable.js';

const ran: Row = {
  platform: 'deno',
  features: 'none',
  date: '2026-11-26',
  engine: 'Deno 2.9.6, wgpu 29.0.1',
  adapter: 'llvmpipe',
  isOffered: true,
  cases: 64,
  cells: 78,
  failed: [],
  variants: 66,
  refused: [],
  seconds: 12,
};
const notOffered: Row = { ...ran, features: 'subgroups', isOffered: false, cases: 0, cells: 0 };

const README = `# A project

| not | this |
| --- | ---- |
| one | two  |

## Where it runs

|              | last run |
| ------------ | -------- |
| Deno         | never    |
| Firefox 141+ | long ago |

More.
`;

test('a row says when it ran and on which version', () => {
  expect(table([ran, notOffered])).toMatchInlineSnapshot(`
    "| platform | features  | date       | engine                  | adapter  | cases       | cells | failed | variants | refused | seconds |
    | -------- | --------- | ---------- | ----------------------- | -------- | ----------- | ----- | ------ | -------- | ------- | ------- |
    | deno     | none      | 2026-11-26 | Deno 2.9.6, wgpu 29.0.1 | llvmpipe | 64          | 78    | 0      | 66       | 0       | 12      |
    | deno     | subgroups | 2026-11-26 | Deno 2.9.6, wgpu 29.0.1 | llvmpipe | not offered |       |        |          |         |         |"
  `);
});

test('a run renews its own rows, and the others keep their dates', () => {
  const other: Row = { ...ran, platform: 'node', features: 'f16' };
  const anew: Row = { ...ran, date: '2026-11-27' };
  expect(renewed([notOffered, ran, other], [anew])).toEqual([other, anew, notOffered]);
});

test('the page names the cases that failed', () => {
  const lines = page([{ ...ran, failed: ['pages: copies'] }]);
  expect(lines).toMatch(/\n- failed on deno with none: pages: copies\n$/);
});

test('engines name themselves with their versions', async () => {
  expect(browserEngine('HeadlessChrome/156.0.8078.108')).toBe('Chrome 156.0.8078.108');
  expect(browserEngine('firefox/153.7.0')).toBe('Firefox 153.7.0');
  expect(await nodeEngine()).toMatch(/^Node \d+\.\d+\.\d+, webgpu \d+\.\d+\.\d+$/);
});

test('the table of engines takes the version and the oldest day of its rows; an engine without rows keeps its cell', () => {
  const anew: Row = { ...ran, features: 'f16', date: '2026-11-27' };
  const filled = fillSupportTable(README, [anew, ran, { ...notOffered, date: '2026-01-01' }]);
  expect(filled.slice(filled.indexOf('##'))).toMatchInlineSnapshot(`
    "## Where it runs

    |              | last run                            |
    | ------------ | ----------------------------------- |
    | Deno         | Deno 2.9.6, wgpu 29.0.1, 2026-11-26 |
    | Firefox 141+ | long ago                            |

    More.
    "
  `);
  expect(filled.slice(0, filled.indexOf('##'))).toBe(README.slice(0, README.indexOf('##')));
});

test('the table of engines shows each version of which rows are left, and what failed', () => {
  const anew: Row = { ...ran, features: 'f16', engine: 'Deno 3.0.0', failed: ['a', 'b'] };
  expect(fillSupportTable(README, [ran, anew])).toContain(
    '| Deno 2.9.6, wgpu 29.0.1, 2026-11-26; Deno 3.0.0, 2026-11-26: 2 failed |',
  );
});

test('a README without the table is refused', () => {
  expect(() => fillSupportTable('# A project', [ran])).toThrowErrorMatchingInlineSnapshot(
    `[Error: README.md has no table with a column "last run" under "## Where it runs".]`,
  );
});

test('the table of the README says what the rows say', async () => {
  const readme = await readFile('README.md', 'utf8');
  expect(fillSupportTable(readme, await savedRows())).toBe(readme);
});
