import { existsSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, resolve } from 'node:path';

/** Where tools/setup/onnxRuntime.mjs installs it. */
const INSTALLED = 'node_modules/.cache/pageflash/onnxruntime/node_modules/onnxruntime-web/dist';

/** The folder `dist` of onnxruntime-web; undefined if it is not installed. */
export function onnxRuntimeDist(): string | undefined {
  const own = resolve(INSTALLED);
  if (existsSync(own)) return own;
  try {
    // A bundled benchmark has it beside itself.
    return dirname(createRequire(import.meta.url).resolve('onnxruntime-web/webgpu'));
  } catch {
    return undefined;
  }
}
