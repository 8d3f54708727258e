import { execFile } from 'node:child_process';
import { existsSync } from 'node:fs';
import { mkdir } from 'node:fs/promises';
import { resolve } from 'node:path';
import { promisify } from 'node:util';

const FOLDER = resolve('node_modules/.cache/pageflash/deno');

/**
 * The path of Deno, installed by npm beside the project's own packages: only few need it, and it is big.
 *
 * @returns {Promise<string>}
 */
export async function ensureDeno() {
  const program = resolve(FOLDER, 'node_modules/.bin/deno');
  if (!existsSync(program)) {
    console.log('Installing Deno with npm …');
    await mkdir(FOLDER, { recursive: true });
    const args = ['install', '--prefix', FOLDER, '--no-save', '--no-audit', '--no-fund', 'deno@2'];
    await promisify(execFile)('npm', args, { cwd: FOLDER, shell: process.platform === 'win32' });
  }
  return program;
}
