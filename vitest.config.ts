import { defineConfig } from 'vitest/config';
import { plugins } from './vite.config.js';

const NODE_LANE = [
  'test/node.test.ts',
  'test/example.test.ts',
  'test/exit.test.ts',
  'test/package.test.ts',
  'test/size.test.ts',
];
const CHROME_LANE = [
  'test/chrome.test.ts',
  'test/conformance.test.ts',
  'test/crash.test.ts',
  'test/demo.test.ts',
  'test/readmeInChrome.test.ts',
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
          globalSetup: 'scripts/setup/vulkan.mjs',
          testTimeout: laneTimeout,
        },
      },
      {
        plugins,
        test: {
          name: 'chrome',
          include: CHROME_LANE,
          globalSetup: 'scripts/setup/chrome.mjs',
          testTimeout: laneTimeout,
          hookTimeout: laneTimeout,
        },
      },
    ],
  },
});
