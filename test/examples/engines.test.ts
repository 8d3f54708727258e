import { expect, test } from 'vitest';
import { openChromePage } from '../../tools/browser/chromePage.js';
import { ENGINES, runExample, type Engine } from '../../tools/engines.js';

declare global {
  /** Runs an example's steps in a page, and throws what is wrong. */
  var checkExample: () => Promise<void>;
}

// Those without a page here are suites of GPU cases.
test.each(['tensorflow', 'onnxruntime', 'transformers'] as const)(
  'attention inside %s is right, and nothing comes back to the CPU meanwhile',
  async (engine) => {
    const entry = `test/examples/${engine}Page.ts`;
    const { page, sourceStack, close } = await openChromePage(entry, ENGINES[engine]);
    try {
      const failure = await page.evaluate(() =>
        globalThis.checkExample().then(
          () => '',
          (error: Error) => error.stack ?? error.message,
        ),
      );
      expect(sourceStack(failure)).toBe('');
    } finally {
      await close();
    }
  },
);

test('three engines print the same of the same layer', async () => {
  const expected = await linesOf('bare-webgpu');
  expect(expected).toHaveLength(2);
  expect(expected[0]).toMatch(/^y \[8, 64\]: …( -?\d\.\d{4}){4}$/);
  for (const engine of ['typegpu', 'tensorflow'] as const) expect(await linesOf(engine)).toEqual(expected);
});

test('transformers.js prints what the sessions of onnxruntime-web print', async () => {
  const [first] = await linesOf('onnxruntime');
  expect(first).toMatch(/^tokens 1 2 3( \d+){8}$/);
  expect(await linesOf('transformers')).toEqual([first]);
});

async function linesOf(engine: Engine): Promise<string[]> {
  const lines: string[] = [];
  await runExample(engine, (line) => lines.push(line));
  return lines;
}
