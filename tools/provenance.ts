import { execFileSync } from 'node:child_process';
import { arch, cpus, platform, release } from 'node:os';

/** The commit that is checked out, with `-dirty` if files were changed; `unknown` outside of a checkout. */
export function currentCommit(): string {
  try {
    const args = ['describe', '--always', '--dirty', '--exclude', '*'];
    return execFileSync('git', args, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] }).trim();
  } catch {
    return 'unknown';
  }
}

/** The operating system and processor of this machine. */
export function currentPlatform(): string {
  const processors = cpus();
  return `${platform()} ${release()} ${arch()}, ${processors.length} × ${processors[0]?.model.trim() || 'unknown processor'}`;
}
