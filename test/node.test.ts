import { afterAll, describe, test } from 'vitest';
import { suites } from './gpu/index.js';
import { title } from './support/gpuCase.js';
import { GpuDevices } from './support/gpuDevices.js';
import { createNodeGpu } from './support/nodeDevice.js';
import { runCase } from './support/runCase.js';

const gpu = createNodeGpu();
// Where examples look for it, as in a browser.
Object.defineProperty(globalThis, 'navigator', { value: { gpu }, configurable: true });
const devices = new GpuDevices(gpu);
afterAll(() => devices.destroy());

for (const [suite, cases] of Object.entries(suites)) {
  describe(suite, () => {
    for (const gpuCase of cases) test(title(gpuCase), () => runCase(gpuCase, devices, 'node'));
  });
}
