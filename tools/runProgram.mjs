import { basename, resolve } from 'node:path';
import { pathToFileURL } from 'node:url';
import { bundleForNode } from './bundleForNode.mjs';
import { setUp } from './setup/setUp.mjs';

/**
 * Run a TypeScript program in Node, which sees its arguments in process.argv as if it had been started itself. What it
 * needs is installed first.
 *
 * @param {{ entry: string, args: readonly string[], needs: readonly string[] }} options
 */
export async function runProgram({ entry, args, needs }) {
  await setUp(needs);
  const program = resolve('node_modules/.cache/pageflash', `${basename(entry, '.ts')}.mjs`);
  await bundleForNode({ entry, out: program, external: ['webgpu', 'puppeteer', 'vite'] });
  process.setSourceMapsEnabled(true);
  process.argv = [process.execPath, program, ...args];
  await import(pathToFileURL(program).href);
}
