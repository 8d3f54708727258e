import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { expect, test } from 'vitest';
import type { Faults } from '../../src/runtime/faults.js';
import { Memory } from '../../src/runtime/memory.js';
import { fakeBuffer, fakeDevice } from './fakeDevice.js';

setFlagsFromString('--expose-gc');
const collectGarbage = runInNewContext('gc') as () => void;

/** A memory, and a function that allocates and abandons buffers of it. */
function memoryOf() {
  const faults = { createBuffer: ({ size, usage }: GPUBufferDescriptor) => fakeBuffer(size, usage) };
  const memory = new Memory(fakeDevice(), faults as unknown as Faults);
  const abandon = (n: number): void => {
    for (let i = 0; i < n; i++) memory.abandon(memory.allocate('uploads', 256, 0));
  };
  return { memory, abandon };
}

test('forgets abandoned buffers once they were collected', async () => {
  const { memory, abandon } = memoryOf();
  const bytesAfter = async (nRounds: number): Promise<number> => {
    for (let round = 0; round < nRounds; round++) {
      abandon(1000);
      // The target of a new WeakRef is kept until the end of the task.
      await new Promise((resolve) => setTimeout(resolve, 0));
      collectGarbage();
    }
    return process.memoryUsage().heapUsed;
  };
  const before = await bytesAfter(20);
  const after = await bytesAfter(100);
  expect(memory.bytes).toBe(0);
  expect(after - before).toBeLessThan(1e6);
});
