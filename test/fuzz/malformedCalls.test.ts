import { expect, test } from 'vitest';
import { fuzzCalls, summary } from './runCalls.js';

const SEED = 1;
const INPUTS = 3000;

test('malformed arguments are refused before anything happens, or do no harm', async () => {
  const figures = await fuzzCalls(SEED, INPUTS);
  process.stdout.write(`seed ${SEED}, ${summary(figures)}\n`);
  expect(figures.escapes).toEqual([]);
  expect(figures.inputs).toBe(INPUTS);
  expect(figures.accepted).toBeGreaterThan(INPUTS / 10);
  expect([...figures.errors.keys()].toSorted()).toEqual([
    'argument',
    'buffer',
    'dtype',
    'length',
    'limit',
    'shape',
  ]);
}, 300_000);
