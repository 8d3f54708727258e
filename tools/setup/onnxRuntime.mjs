import { existsSync } from 'node:fs';
import { mkdir } from 'node:fs/promises';
import { execFile } from 'node:child_process';
import { resolve } from 'node:path';
import { promisify } from 'node:util';

const FOLDER = resolve('node_modules/.cache/pageflash/onnxruntime');
const VERSION = '1.30.0';

/** Installs onnxruntime-web by npm beside the project's own packages: only the benchmark needs it, and it takes 150 MB. */
export async function ensureOnnxRuntime() {
  if (existsSync(resolve(FOLDER, 'node_modules/onnxruntime-web/dist'))) return;
  console.log(`Installing onnxruntime-web ${VERSION} with npm …`);
  await mkdir(FOLDER, { recursive: true });
  const args = ['install', '--prefix', FOLDER, '--no-save', '--no-audit', '--no-fund', '--ignore-scripts'];
  const packages = [`onnxruntime-web@${VERSION}`];
  await promisify(execFile)('npm', [...args, ...packages], {
    cwd: FOLDER,
    shell: process.platform === 'win32',
  });
}
