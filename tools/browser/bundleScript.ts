import { SourceMap, type SourceMapPayload } from 'node:module';
import { resolve } from 'node:path';
import { build, type Rolldown } from 'vite';
import { plugins } from '../../vite.config.js';

export interface Script {
  readonly code: string;
  /** A stack trace of the script with the files and lines of the sources. */
  sourceStack(stack: string): string;
}

export interface BundleOptions {
  /** Packages that stay imports. */
  readonly external?: readonly string[];
  /** Where packages are that are not among the project's own. */
  readonly alias?: Readonly<Record<string, string>>;
}

/** Bundles a TypeScript entry and all that it imports into one script. */
export async function bundleScript(
  entry: string,
  { external = [], alias = {} }: BundleOptions = {},
): Promise<Script> {
  const result = await build({
    configFile: false,
    logLevel: 'warn',
    plugins,
    resolve: { alias },
    build: {
      write: false,
      minify: false,
      sourcemap: true,
      target: 'esnext',
      rolldownOptions: {
        input: entry,
        external: [...external],
        checks: { pluginTimings: false },
        output: { codeSplitting: false, dir: '.', entryFileNames: 'page.js' },
      },
    },
  });
  const [{ code, map }] = (result as Rolldown.RolldownOutput).output;
  const sources = new SourceMap(map as unknown as SourceMapPayload);
  return { code, sourceStack: (stack) => mapStack(stack, sources) };
}

function mapStack(stack: string, map: SourceMap): string {
  return stack.replace(/(?:http|file):\S+\/page\.m?js:(\d+):(\d+)/g, (frame, line, column) => {
    const origin = map.findOrigin(Number(line), Number(column));
    if (!('fileName' in origin)) return frame;
    return `${resolve(origin.fileName)}:${origin.lineNumber}:${origin.columnNumber}`;
  });
}
