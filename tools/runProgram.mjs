import { basename, resolve } from 'node:path';
import { pathToFileURL } from 'node:url';
import { build, loadConfigFromFile } from 'vite';
import { setUp } from './setup/setUp.mjs';

/**
 * Runs a TypeScript program in Node, which sees its arguments in process.argv as if it had been started itself. What it
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

/**
 * Bundle a TypeScript program and everything it imports into one ES module for Node, `external` packages and Node's
 * own modules excepted.
 *
 * @param {{ entry: string, out: string, external: readonly string[] }} options
 */
export async function bundleForNode({ entry, out, external }) {
  const loaded = await loadConfigFromFile({ command: 'build', mode: 'production' }, 'vite.config.ts');
  const file = resolve(out);
  await build({
    configFile: false,
    logLevel: 'warn',
    plugins: loaded?.config.plugins ?? [],
    ssr: { noExternal: true, external: [...external] },
    build: {
      ssr: resolve(entry),
      target: 'node20',
      minify: false,
      sourcemap: 'inline',
      emptyOutDir: false,
      outDir: resolve(file, '..'),
      rolldownOptions: {
        checks: { pluginTimings: false },
        output: { codeSplitting: false, entryFileNames: basename(file) },
      },
    },
  });
}
