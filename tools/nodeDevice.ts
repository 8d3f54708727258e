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
