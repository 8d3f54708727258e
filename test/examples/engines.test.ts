import { resolve } from 'node:path';
import { expect, test } from 'vitest';
import { openChromePage } from '../../tools/browser/chromePage.js';

declare global {
  /** Runs an example's steps in a page, and throws what is wrong. */
  var checkExample: () => Promise<void>;
}

/** Where an engine is installed. */
const packages = (engine: string) => resolve('node_modules/.cache/pageflash', engine, 'node_modules');

test('attention between two products of TensorFlow.js', async () => {
  const folder = packages('tensorflow');
  const names = ['@tensorflow/tfjs-core', '@tensorflow/tfjs-backend-webgpu'];
  const alias = Object.fromEntries(names.map((name) => [name, resolve(folder, name)]));
  await check('test/examples/tensorflowPage.ts', { alias });
});

const onnxruntime = packages('onnxruntime');
const ONNX = {
  alias: { 'onnxruntime-web/webgpu': resolve(onnxruntime, 'onnxruntime-web/dist/ort.webgpu.min.mjs') },
  folders: { onnxruntime: resolve(onnxruntime, 'onnxruntime-web/dist') },
};

test('attention between sessions of onnxruntime-web', () => check('test/examples/onnxruntimePage.ts', ONNX));

test('generation by transformers.js', () =>
  check('test/examples/transformersPage.ts', {
    ...ONNX,
    alias: {
      ...ONNX.alias,
      'onnxruntime-common': resolve(onnxruntime, 'onnxruntime-common'),
      '@huggingface/transformers': resolve(
        packages('transformers'),
        '@huggingface/transformers/dist/transformers.web.js',
      ),
    },
  }));

async function check(entry: string, options: Parameters<typeof openChromePage>[1]): Promise<void> {
  const { page, sourceStack, close } = await openChromePage(entry, options);
  try {
    const failure = await page.evaluate(() =>
      globalThis.checkExample().then(
        () => '',
        (error: Error) => error.stack ?? error.message,
      ),
    );
    expect(sourceStack(failure)).toBe('');
  } finally {
    await close();
  }
}
