import { afterAll, beforeAll, describe, test } from 'vitest';
import { PlatformDriver } from './drivePlatform.js';
import { title, type GpuCase, type Platform } from './gpuCase.js';
import { createHost, type UnpackedMesa } from './hosts.js';

declare module 'vitest' {
  interface ProvidedContext {
    /** The driver to run cases in Node on; undefined for the machine's own. */
    mesa: UnpackedMesa | undefined;
  }
}

/** Makes a test of each case, all of which run in one process or page of the platform. */
export function testOnPlatform(
  platform: Platform,
  suites: Readonly<Record<string, readonly GpuCase[]>>,
  mesa?: UnpackedMesa,
): void {
  let driver: PlatformDriver;
  beforeAll(async () => {
    driver = new PlatformDriver(await createHost(platform, {}, mesa), { platform, features: 'all' });
    await driver.begin();
  });
  afterAll(() => driver.close());

  for (const [suite, cases] of Object.entries(suites)) {
    describe(suite, () => {
      for (const gpuCase of cases) test(title(gpuCase), () => run(suite, gpuCase));
    });
  }

  async function run(suite: string, gpuCase: GpuCase): Promise<void> {
    const { failure } = await driver.run(suite, gpuCase);
    if (failure) throw Object.assign(new Error(failure.message), failure.stack && { stack: failure.stack });
  }
}
