import { ensureBesides } from './besides.mjs';

/**
 * Installs transformers.js, which only an example needs: its bundle for browsers, which takes 16 MB, without the
 * runtimes for Node that it depends on. It runs on the onnxruntime-web of `ensureOnnxRuntime`.
 */
export function ensureTransformers() {
  return ensureBesides({
    folder: 'transformers',
    packages: { '@huggingface/transformers': '4.3.1' },
    alone: true,
  });
}
