import { execFileSync } from 'node:child_process';
import { mkdirSync, writeFileSync } from 'node:fs';
import { arch, cpus, platform, release } from 'node:os';
import { dirname } from 'node:path';
import { report } from './report/report.js';
import type { BenchResults } from './results.js';

/** Write `<out>.json` and `<out>.html`; gives their paths. */
export function save(out: string, results: BenchResults): readonly string[] {
  mkdirSync(dirname(out), { recursive: true });
  const files = {
    [`${out}.json`]: `${JSON.stringify(results, null, 2)}\n`,
    [`${out}.html`]: report(results),
  };
  for (const [path, text] of Object.entries(files)) writeFileSync(path, text);
  return Object.keys(files);
}

/** The commit of the sources around the working directory, as `BenchResults` has it. */
export function currentCommit(): string {
  try {
    const args = ['describe', '--always', '--dirty', '--exclude', '*'];
    return execFileSync('git', args, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] }).trim();
  } catch {
    return 'unknown';
  }
}

export function currentPlatform(): string {
  const processors = cpus();
  return `${platform()} ${release()} ${arch()}, ${processors.length} × ${processors[0]?.model.trim() || 'unknown processor'}`;
}
