import { create, globals } from 'webgpu';

Object.assign(globalThis, globals);

/** Dawn in Node. Keep the object: its adapters and devices live only as long as it does. */
export function createNodeGpu(): GPU {
  return create([
    'enable-dawn-features=allow_unsafe_apis,vulkan_enable_f16_on_nvidia',
    // Without this, timestamps are rounded to 65 µs.
    'disable-dawn-features=timestamp_quantization',
  ]);
}

/**
 * Lets Dawn look every millisecond whether the GPU is done. By itself it asks without a pause, which takes a core from
 * the driver that compiles and runs kernels on the CPU. Not for measurements: what waits for the GPU is told later.
 */
export function pollSparingly(): void {
  const { setImmediate } = globalThis;
  const isDawns = (callback: unknown): boolean => String(callback).includes('[native code]');
  const patient = (callback: (...args: unknown[]) => void, ...args: unknown[]): unknown =>
    isDawns(callback) ? setTimeout(callback, 1, ...args) : setImmediate(callback, ...args);
  globalThis.setImmediate = Object.assign(patient, setImmediate) as typeof setImmediate;
}
