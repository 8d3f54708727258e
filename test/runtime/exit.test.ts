import { execFile } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { expect, test } from 'vitest';

const program = fileURLToPath(new URL('./letGo.mjs', import.meta.url));

// Dawn crashes if its instance is freed before its devices, which at the end of a program is up to chance.
test.each([[[]], [['--expose-gc']], [[], 'destroy'], [['--expose-gc'], 'destroy']] as const)(
  'a Node program that drops its references to gpu exits cleanly: %s %s',
  async (flags, ...args: readonly string[]) => {
    const { stdout } = await promisify(execFile)(process.execPath, [...flags, program, ...args]);
    expect(stdout).toBe('1,2,3\n1,2,3\n');
  },
);
