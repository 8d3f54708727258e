import { describe, expect, test } from 'vitest';
import { parseOptions } from '../../bench/cli/options.js';

describe('options', () => {
  test('defaults', () => {
    expect(parseOptions([], ['chrome', 'node'])).toEqual({
      adapter: 'chrome',
      dtype: 'f32',
      shapes: [],
      quick: false,
      full: false,
      sweep: false,
      out: 'bench/results/latest',
    });
  });

  test('--sweep has a file of its own', () => {
    expect(parseOptions(['--sweep'], ['node'])).toMatchObject({ sweep: true, out: 'bench/results/sweep' });
  });

  test.each([
    { out: 'm2', path: 'bench/results/m2', why: 'a name' },
    { out: 'm2.json', path: 'bench/results/m2', why: 'an ending that it gets anyway' },
    { out: './m2', path: './m2', why: 'a path' },
  ])('--out takes $why', ({ out, path }) => {
    expect(parseOptions(['--out', out], ['node'])?.out).toBe(path);
  });

  test('--help returns no options', () => {
    expect(parseOptions(['--help'], ['node'])).toBeUndefined();
  });

  test('a wrong option is refused with the values allowed', () => {
    const wrong = [
      ['--shape', 'llama'],
      ['--dtype', 'i8'],
      ['--adapter', 'firefox'],
      ['--fast'],
      ['--out', ''],
    ];
    const messages = wrong.map((args) => {
      try {
        return parseOptions(args, ['chrome', 'node']);
      } catch (error) {
        return String(error);
      }
    });
    expect(messages).toMatchInlineSnapshot(`
      [
        "Error: --shape must be one of llama-7b, llama-3-8b, qwen2.5-7b, gemma-2-9b, llama-3.2-1b, encoder-base, decode-mha, decode-gqa, decode-ragged, decode-long, decode-small, recording, not "llama"",
        "Error: --dtype must be one of f32, f16, bf16, not "i8"",
        "Error: --adapter must be one of chrome, node, not "firefox"",
        "Error: Unknown option '--fast'",
        "Error: --out needs a name",
      ]
    `);
  });
});
