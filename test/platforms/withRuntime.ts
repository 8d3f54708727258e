import { createRuntime, type Runtime } from '../../src/index.js';
import type { GpuTest } from './gpuCase.js';

/** A runtime on the lane's device with every feature, for as long as `use` takes. */
export async function withRuntime(t: GpuTest, use: (runtime: Runtime) => Promise<void>): Promise<void> {
  const runtime = createRuntime(await t.device('full'));
  try {
    await use(runtime);
  } finally {
    runtime.destroy();
  }
}
