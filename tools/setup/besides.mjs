import { existsSync } from 'node:fs';
import { mkdir, rm } from 'node:fs/promises';
import { execFile } from 'node:child_process';
import { resolve } from 'node:path';
import { promisify } from 'node:util';

const run = promisify(execFile);
const shell = process.platform === 'win32';

/**
 * Install packages by npm beside the project's own, which only some commands need and which are too large for all.
 *
 * @param {{ folder: string, packages: Readonly<Record<string, string>>, alone?: boolean }} options a name below the
 * project's cache, and the version of each package; `alone` leaves out what they depend on
 */
export async function ensureBesides({ folder, packages, alone = false }) {
  const root = resolve('node_modules/.cache/pageflash', folder);
  const missing = Object.entries(packages).filter(
    ([name]) => !existsSync(resolve(root, 'node_modules', name, 'package.json')),
  );
  if (missing.length === 0) return;
  const wanted = missing.map(([name, version]) => `${name}@${version}`);
  console.log(`Installing ${wanted.join(' and ')} with npm …`);
  await mkdir(root, { recursive: true });
  if (!alone) {
    const args = ['install', '--prefix', root, '--no-save', '--no-audit', '--no-fund', '--ignore-scripts'];
    await run('npm', [...args, ...wanted], { cwd: root, shell });
    return;
  }
  for (const [name, version] of missing) {
    const { stdout } = await run('npm', ['pack', '--silent', `${name}@${version}`], { cwd: root, shell });
    const archive = resolve(root, stdout.trim());
    const target = resolve(root, 'node_modules', name);
    await mkdir(target, { recursive: true });
    await run('tar', ['-xzf', archive, '-C', target, '--strip-components=1']);
    await rm(archive);
  }
}
