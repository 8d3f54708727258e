import { afterAll, describe, test } from 'vitest';
import { suites } from './suites.js';
import { title } from './gpuCase.js';
import { GpuDevices } from './gpuDevices.js';
import { createNodeGpu } from '../../tools/nodeDevice.js';
import { runCase } from './runCase.js';

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
