import { defineConfig } from 'vitest/config';
import { BaseSequencer, type TestSpecification } from 'vitest/node';
import { ProgressReporter } from './tools/progressReporter.js';
import { plugins } from './vite.config.js';

/** Tests of GPU cases in Node, and of what else needs Dawn there; those that take longest come first. */
const NODE = [
  'test/conformance/varlenPairs.test.ts',
  'test/platforms/node.test.ts',
  'test/conformance/kvCachePairs.test.ts',
  'test/conformance/matrixValues.test.ts',
  'test/docs/guide.test.ts',
  'test/package/example.test.ts',
  'test/runtime/exit.test.ts',
  'test/package/package.test.ts',
  'test/package/size.test.ts',
];
/** Tests in Chrome, in such an order too. */
const CHROME = [
  'test/platforms/chrome.test.ts',
  'test/runtime/crash.test.ts',
  'test/demo/chat.test.ts',
  'test/demo/offline.test.ts',
  'test/demo/oneCall.test.ts',
  'test/package/readmeInChrome.test.ts',
];
/** Not in `npm test`: `npm run test:package`. */
const PACKAGE = ['test/package/compilers.test.ts', 'test/package/projects.test.ts'];
/** Nor are these, whose engines are installed for them: `npm run test:examples`. */
const EXAMPLES = ['test/examples/engines.test.ts'];

// A kernel is compiled and run by the CPU where there is no GPU.
const gpuTimeout = 300_000;
// Beside them, a core does the work of the unit tests.
const unitTimeout = 60_000;

/** Starts with what takes longest, so that at the end no core waits for it. */
class LongestFirst extends BaseSequencer {
  override async sort(files: TestSpecification[]): Promise<TestSpecification[]> {
    const order = [NODE[0]!, CHROME[0]!, ...NODE.slice(1), ...CHROME.slice(1)];
    const rank = ({ moduleId }: TestSpecification): number => {
      const found = order.findIndex((file) => moduleId.endsWith(file));
      return found < 0 ? order.length : found;
    };
    const { sort } = BaseSequencer.prototype;
    return (await sort.call(this, files)).toSorted((a, b) => rank(a) - rank(b));
  }
}

export default defineConfig({
  test: {
    reporters: ['default', new ProgressReporter()],
    sequence: { sequencer: LongestFirst },
    // Those on a GPU wait for a driver or a browser now and then, and leave the cores to the others.
    maxWorkers: 3,
    projects: [
      {
        plugins,
        test: {
          name: 'node',
          include: NODE,
          globalSetup: 'tools/setup/vulkan.mjs',
          testTimeout: gpuTimeout,
          hookTimeout: gpuTimeout,
        },
      },
      {
        plugins,
        test: {
          name: 'chrome',
          include: CHROME,
          globalSetup: 'tools/setup/browsers.mjs',
          testTimeout: gpuTimeout,
          hookTimeout: gpuTimeout,
        },
      },
      {
        plugins,
        test: {
          name: 'unit',
          include: ['test/**/*.test.ts'],
          exclude: [...NODE, ...CHROME, ...PACKAGE, ...EXAMPLES],
          testTimeout: unitTimeout,
        },
      },
      {
        plugins,
        test: {
          name: 'package',
          include: PACKAGE,
          globalSetup: 'tools/setup/projects.mjs',
          testTimeout: gpuTimeout,
          hookTimeout: gpuTimeout,
        },
      },
      {
        plugins,
        test: {
          name: 'examples',
          include: EXAMPLES,
          globalSetup: 'tools/setup/engines.mjs',
          testTimeout: gpuTimeout,
          hookTimeout: gpuTimeout,
        },
      },
    ],
  },
});
