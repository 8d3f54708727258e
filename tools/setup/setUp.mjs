import { ensureChrome } from './browsers.mjs';
import { ensureOnnxRuntime } from './onnxRuntime.mjs';
import { ensureTensorflow } from './tensorflow.mjs';
import { ensureTransformers } from './transformers.mjs';
import { ensureVulkan } from './vulkan.mjs';

const parts = {
  chrome: ensureChrome,
  vulkan: ensureVulkan,
  onnxruntime: ensureOnnxRuntime,
  tensorflow: ensureTensorflow,
  transformers: ensureTransformers,
};

/** @param {readonly string[]} names what is needed, of `parts` */
export async function setUp(names) {
  for (const [name, ensure] of Object.entries(parts)) {
    if (names.includes(name)) await ensure();
  }
}
