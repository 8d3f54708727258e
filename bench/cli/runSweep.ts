import { mkdirSync, writeFileSync } from 'node:fs';
import { dirname } from 'node:path';
import type { Tuning } from '../../src/core/tuning.js';
import { currentCommit, currentPlatform } from '../../tools/provenance.js';
import type { BenchHost } from '../device/deviceBench.js';
import { sweepCellName, sweepCells, type SweepCell } from '../sweep/sweepCells.js';
import type { SweepOutcome, SweepResults, SweepRow } from '../sweep/sweepResults.js';
import { sweepOutcome, sweepTables } from '../sweep/sweepTables.js';
import type { BenchOptions } from './options.js';
import { Progress } from './progress.js';

/** How long a sweep takes, at most: what remains then is left out. Compilers of software adapters are slow. */
const SWEEP_MS = 210_000;
const QUICK_MS = 60_000;

/** A cell may use this many times its share of the time that is left, since others need less. */
const SHARE = 2;

/** Measures every candidate of every kernel, prints what was best and writes the results. Closes the host. */
export async function runSweep(host: BenchHost, { quick, out }: BenchOptions): Promise<void> {
  const { adapter, environment } = host;
  const cells = sweepCells({ software: adapter.software, quick });
  const progress = new Progress(cells.length);
  const start = performance.now();
  const end = start + (quick ? QUICK_MS : SWEEP_MS);
  const rows: SweepRow[] = [];
  const left: SweepCell[] = [];
  let tuning: Tuning | null = null;
  try {
    for (const [i, cell] of cells.entries()) {
      const leftMs = end - performance.now();
      const name = sweepCellName(cell);
      if (leftMs <= 0) {
        left.push(cell);
        continue;
      }
      const budgetMs = Math.min(leftMs, (SHARE * leftMs) / (cells.length - i));
      const args = { cell, tuning, budgetMs };
      const outcome: SweepOutcome = await host
        .measureSweep(args, (...step) => progress.update(name, ...step))
        .catch((error: Error) => ({ row: { status: 'failed', cell, message: error.message }, tuning }));
      progress.finishRow(name, sweepOutcome(outcome.row));
      if (outcome.row) rows.push(outcome.row);
      else left.push(cell);
      ({ tuning } = outcome);
    }
  } finally {
    await host.close();
  }
  const results: SweepResults = {
    format: 1,
    date: new Date().toISOString(),
    commit: currentCommit(),
    environment,
    platform: currentPlatform(),
    adapter,
    seconds: Math.round((performance.now() - start) / 1000),
    rows,
    left,
    tuning,
  };
  console.log(`\n${sweepTables(results)}\n`);
  mkdirSync(dirname(out), { recursive: true });
  writeFileSync(`${out}.json`, `${JSON.stringify(results, null, 2)}\n`);
  console.log(`Written: ${out}.json, in ${results.seconds} s`);
  if (rows.some(({ status }) => status === 'failed')) process.exitCode = 1;
}
