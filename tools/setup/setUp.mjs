import { ensureChrome } from './browsers.mjs';
import { ensureOnnxRuntime } from './onnxRuntime.mjs';
import { ensureTensorflow } from './tensorflow.mjs';
import { ensureVulkan } from './vulkan.mjs';

const parts = {
  chrome: ensureChrome,
  vulkan: ensureVulkan,
  onnxruntime: ensureOnnxRuntime,
  tensorflow: ensureTensorflow,
};

/** @param {readonly string[]} names what is needed: `chrome`, `vulkan`, `onnxruntime`, `tensorflow` */
export async function setUp(names) {
  for (const [name, ensure] of Object.entries(parts)) {
    if (names.includes(name)) await ensure();
  }
}
