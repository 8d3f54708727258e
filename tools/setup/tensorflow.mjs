import { ensureBesides } from './besides.mjs';

const VERSION = '4.22.0';

/** Installs TensorFlow.js with its backend for WebGPU, which takes 70 MB and which only an example needs. */
export function ensureTensorflow() {
  return ensureBesides({
    folder: 'tensorflow',
    packages: { '@tensorflow/tfjs-core': VERSION, '@tensorflow/tfjs-backend-webgpu': VERSION },
  });
}
