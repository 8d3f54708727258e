import { suites } from '../lanes/suites.js';
import { GpuDevices } from './gpuDevices.js';
import { runCase } from './runCase.js';

// The page of the Chrome lane: the tests outside call `runGpuCase`.

export interface Failure {
  readonly message: string;
  readonly stack: string;
}

declare global {
  var runGpuCase: (suite: string, name: string) => Promise<Failure | undefined>;
}

const devices = new GpuDevices(navigator.gpu);

globalThis.runGpuCase = async (suite, name) => {
  try {
    const gpuCase = suites[suite]?.find((candidate) => candidate.name === name);
    if (!gpuCase) throw new Error(`The page has no case "${name}" in ${suite}.`);
    await runCase(gpuCase, devices, 'chrome');
    return undefined;
  } catch (error) {
    const { message, stack = '' } = error as Error;
    return { message, stack };
  }
};
