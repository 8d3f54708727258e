import * as pageflash from '../../src/index.js';
import { checkPrinted, examplesOf } from './readme.js';
import { assert, type GpuCase } from '../platforms/gpuCase.js';

/** The examples of the README on every WebGPU. */
export const cases: GpuCase[] = examplesOf('browser').map(({ shows, code }) => ({
  name: `the example of ${shows}`,
  async run() {
    const program = code.replaceAll(/import (\{.*?\}) from 'pageflash';/gs, 'const $1 = pageflash;');
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

interface Results {
  readonly device: GPUDevice;
  readonly runtime: pageflash.Runtime;
}
