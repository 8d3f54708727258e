import { basename, resolve } from 'node:path';
import { build, loadConfigFromFile } from 'vite';

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
