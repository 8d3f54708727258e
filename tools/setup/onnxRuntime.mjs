import { ensureBesides } from './besides.mjs';

/** Installs onnxruntime-web, which takes 150 MB and which only a benchmark and an example need. */
export function ensureOnnxRuntime() {
  return ensureBesides({ folder: 'onnxruntime', packages: { 'onnxruntime-web': '1.30.0' } });
}
