import { defineConfig } from 'vitest/config';
import { plugins } from './vite.config.js';

const NODE_LANE = [
  'test/platforms/node.test.ts',
  'test/conformance/conformance.test.ts',
  'test/package/example.test.ts',
  'test/runtime/exit.test.ts',
  'test/package/package.test.ts',
  'test/package/size.test.ts',
];
const CHROME_LANE = [
  'test/platforms/chrome.test.ts',
  'test/runtime/crash.test.ts',
  'test/demo/demo.test.ts',
  'test/package/readmeInChrome.test.ts',
];

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
        test: {
          name: 'unit',
          include: ['test/**/*.test.ts'],
          exclude: [...NODE_LANE, ...CHROME_LANE],
          testTimeout: unitTimeout,
        },
      },
      {
        plugins,
        test: {
          name: 'node',
          include: NODE_LANE,
          globalSetup: 'tools/setup/vulkan.mjs',
          testTimeout: laneTimeout,
        },
      },
      {
        plugins,
        test: {
          name: 'chrome',
          include: CHROME_LANE,
          globalSetup: 'tools/setup/chrome.mjs',
          testTimeout: laneTimeout,
          hookTimeout: laneTimeout,
        },
      },
    ],
  },
});
