import { resolve } from 'node:path';
import { openChromePage, type ChromePageOptions } from './browser/chromePage.js';

/** Where tools/setup installs the packages of an engine. */
const packages = (engine: string) => resolve('node_modules/.cache/pageflash', engine, 'node_modules');

const onnxruntime = packages('onnxruntime');
const ONNX_ALIAS = {
  'onnxruntime-web/webgpu': resolve(onnxruntime, 'onnxruntime-web/dist/ort.webgpu.min.mjs'),
  'onnxruntime-common': resolve(onnxruntime, 'onnxruntime-common'),
};
const ONNX_FOLDERS = { onnxruntime: resolve(onnxruntime, 'onnxruntime-web/dist') };
const TENSORFLOW = ['@tensorflow/tfjs-core', '@tensorflow/tfjs-backend-webgpu'];
const TRANSFORMERS = '@huggingface/transformers';

/** The examples in other engines, by their folders, and where a page finds the engine. */
export const ENGINES = {
  'bare-webgpu': {},
  typegpu: {},
  tensorflow: {
    alias: Object.fromEntries(TENSORFLOW.map((name) => [name, resolve(packages('tensorflow'), name)])),
  },
  onnxruntime: { alias: ONNX_ALIAS, folders: ONNX_FOLDERS },
  transformers: {
    alias: {
      ...ONNX_ALIAS,
      [TRANSFORMERS]: resolve(packages('transformers'), TRANSFORMERS, 'dist/transformers.web.js'),
    },
    folders: ONNX_FOLDERS,
  },
} as const satisfies Readonly<Record<string, ChromePageOptions>>;

export type Engine = keyof typeof ENGINES;

/** Runs an example's `main.ts` in headless Chrome. Throws what it throws. */
export async function runExample(engine: Engine, print: (line: string) => void): Promise<void> {
  const { page, close } = await openChromePage(`examples/${engine}/main.ts`, { ...ENGINES[engine], print });
  try {
    // The page has begun it: this waits until it has ended.
    await page.evaluate(`import('/page.js').then(() => undefined)`);
  } finally {
    await close();
  }
}
