import { existsSync } from 'node:fs';
import { mkdir } from 'node:fs/promises';
import { execFile } from 'node:child_process';
import { resolve } from 'node:path';
import { promisify } from 'node:util';

/**
 * Install packages by npm beside the project's own, which only some commands need and which are too large for all.
 *
 * @param {{ folder: string, packages: Readonly<Record<string, string>> }} options a name below the project's cache, and
 * the version of each package
 */
export async function ensureBesides({ folder, packages }) {
  const root = resolve('node_modules/.cache/pageflash', folder);
  if (Object.keys(packages).every((name) => existsSync(resolve(root, 'node_modules', name, 'dist')))) return;
  const wanted = Object.entries(packages).map(([name, version]) => `${name}@${version}`);
  console.log(`Installing ${wanted.join(' and ')} with npm …`);
  await mkdir(root, { recursive: true });
  const args = ['install', '--prefix', root, '--no-save', '--no-audit', '--no-fund', '--ignore-scripts'];
  await promisify(execFile)('npm', [...args, ...wanted], { cwd: root, shell: process.platform === 'win32' });
}
