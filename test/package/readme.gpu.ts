import * as pageflash from '../../src/index.js';
import { checkPrinted, examples, snippets } from './readme.js';
import { assert, assertEqual, type GpuCase } from '../platforms/gpuCase.js';

/** The code blocks of the README that need no package but pageflash, on every WebGPU. */
export const cases: GpuCase[] = examples
  .filter(({ host }) => host === 'browser')
  .map(({ shows, code }) => ({
    name: `the example of ${shows}`,
    async run() {
      assertEqual(snippets.length, SNIPPETS, 'blocks that go on from the example of the cache');
      const whole = shows === 'PagedKvCache' ? [code, ...snippets].join('\n') : code;
      const program = whole.replaceAll(/import (\{.*?\}) from 'pageflash';/gs, 'const $1 = pageflash;');
      const lines: string[] = [];
      const run = new Function(
        'pageflash',
        'console',
        `return (async () => {${program}\nreturn { device, runtime };})();`,
      );
      const print = { log: (line: string) => lines.push(line) };
      const { device, runtime } = (await run(pageflash, print)) as Results;
      checkPrinted(shows, lines.join('\n'));
      await runtime.done();
      assert(device.features, 'the example makes a device');
      runtime.destroy();
      device.destroy();
    },
  }));

const SNIPPETS = 3;

interface Results {
  readonly device: GPUDevice;
  readonly runtime: pageflash.Runtime;
}
