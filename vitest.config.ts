import { defineConfig } from 'vitest/config';
import { plugins } from './vite.config.js';

const LANES = ['test/node.test.ts', 'test/chrome.test.ts', 'test/crash.test.ts', 'test/demo.test.ts'];

// A kernel is compiled and run by the CPU where there is no GPU.
const laneTimeout = 300_000;
// Beside them, a core does the work of the unit tests.
const unitTimeout = 60_000;

export default defineConfig({
  test: {
    // The lanes mostly wait for a GPU or a browser, so they leave a core to the unit tests.
    maxWorkers: 3,
    projects: [
      {
        plugins,
        test: { name: 'unit', include: ['test/**/*.test.ts'], exclude: LANES, testTimeout: unitTimeout },
      },
      {
        plugins,
        test: {
          name: 'node',
          include: ['test/node.test.ts'],
          globalSetup: 'scripts/setup/vulkan.mjs',
          testTimeout: laneTimeout,
        },
      },
      {
        plugins,
        test: {
          name: 'chrome',
          include: ['test/chrome.test.ts', 'test/crash.test.ts', 'test/demo.test.ts'],
          globalSetup: 'scripts/setup/chrome.mjs',
          testTimeout: laneTimeout,
          hookTimeout: laneTimeout,
        },
      },
    ],
  },
});
