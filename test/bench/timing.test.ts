import { expect, test } from 'vitest';
import { timeCalls, warmUpClocks } from '../../tools/timing.js';

/** A device whose queue is empty at once. */
const device = {
  lost: new Promise<never>(() => {}),
  queue: { onSubmittedWorkDone: () => Promise.resolve() },
} as unknown as GPUDevice;

test('a call that submits later is waited for before the next', async () => {
  const order: string[] = [];
  const call = async (): Promise<void> => {
    order.push('start');
    await Promise.resolve();
    order.push('submitted');
  };
  await timeCalls(device, call, 2);
  expect(order).toEqual(['start', 'submitted', 'start', 'submitted']);
});

test('clocks are warmed for as long as asked, with ever more calls between two looks at the clock', async () => {
  let calls = 0;
  const start = performance.now();
  await warmUpClocks(device, () => void calls++, 20);
  expect(performance.now() - start).toBeGreaterThanOrEqual(20);
  expect(calls).toBeGreaterThan(64);
});

test('no warming, no calls', async () => {
  let calls = 0;
  await warmUpClocks(device, () => void calls++, 0);
  expect(calls).toBe(0);
});
