import readme from '../../README.md?raw';
import * as pageflash from '../../src/index.js';
import { assert, assertEqual, type GpuCase } from '../support/gpuCase.js';

const blocks = [...readme.matchAll(/```js\n(.*?)```/gs)].map(([, code]) => code!);

/** The code blocks of the README, run as they stand. */
export const cases: GpuCase[] = [
  {
    name: 'the first example',
    async run() {
      assertEqual(blocks.length, 1, 'blocks of JavaScript');
      const code = blocks[0]!.replace(/import (\{.*?\}) from 'pageflash';/, 'const $1 = pageflash;');
      const run = new Function(
        'pageflash',
        `return (async () => {${code}\nreturn { out, device, runtime }; })();`,
      );
      const { out, device, runtime } = (await run(pageflash)) as {
        readonly out: pageflash.Tensor;
        readonly device: GPUDevice;
        readonly runtime: pageflash.Runtime;
      };
      assertEqual(out.shape, [8, 8, 64], 'shape of out');
      assert(out.dtype === 'f16', 'out has the type of q');
      await device.queue.onSubmittedWorkDone();
      runtime.destroy();
      device.destroy();
    },
  },
];
