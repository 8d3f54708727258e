import readme from '../../README.md?raw';
import * as pageflash from '../../src/index.js';
import { assert, assertEqual, type GpuCase } from '../support/gpuCase.js';

const blocks = [...readme.matchAll(/```js\n(.*?)```/gs)].map(([, code]) => code!);

/** The code blocks of the README, run one after the other as they stand. */
export const cases: GpuCase[] = [
  {
    name: 'the examples',
    async run() {
      assertEqual(blocks.length, EXAMPLES, 'blocks of JavaScript');
      const code = blocks
        .map((block) => block.replaceAll(/import (\{.*?\}) from 'pageflash';/gs, 'const $1 = pageflash;'))
        .join('\n');
      const run = new Function(
        'pageflash',
        `return (async () => {${code}\nreturn { out, device, runtime, cache, plan }; })();`,
      );
      const { out, device, runtime, cache, plan } = (await run(pageflash)) as Results;
      assertEqual(out.shape, [8, 8, 64], 'shape of out');
      assert(out.dtype === 'f16', 'out has the type of q');
      await device.queue.onSubmittedWorkDone();
      plan.destroy();
      cache.destroy();
      runtime.destroy();
      device.destroy();
    },
  },
];

const EXAMPLES = 3;

interface Results {
  readonly out: pageflash.Tensor;
  readonly device: GPUDevice;
  readonly runtime: pageflash.Runtime;
  readonly cache: pageflash.PagedKvCache;
  readonly plan: pageflash.AttentionPlan;
}
