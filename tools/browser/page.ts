import { casesOf } from '../../test/platforms/casesOf.js';
import type { Failure } from '../../test/platforms/message.js';
import { GpuDevices } from '../../test/platforms/gpuDevices.js';
import { runCase } from '../../test/platforms/runCase.js';

// The page of the Chrome lane: the tests outside call `runGpuCase`.

declare global {
  var runGpuCase: (suite: string, name: string) => Promise<Failure | undefined>;
}

const devices = new GpuDevices(navigator.gpu);

globalThis.runGpuCase = async (suite, name) => {
  try {
    const gpuCase = casesOf(suite).find((candidate) => candidate.name === name);
    if (!gpuCase) throw new Error(`The page has no case "${name}" in ${suite}.`);
    await runCase(gpuCase, devices, 'chrome');
    return undefined;
  } catch (error) {
    const { message, stack = '' } = error as Error;
    return { message, stack };
  }
};
