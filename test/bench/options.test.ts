import { describe, expect, test } from 'vitest';
import { help, parseOptions } from '../../bench/cli/options.js';

describe('options', () => {
  test('defaults', () => {
    expect(parseOptions([], ['chrome', 'node'])).toEqual({
      adapter: 'chrome',
      dtype: 'f32',
      shapes: [],
      quick: false,
      full: false,
      rows: true,
      peers: false,
      scale: false,
      sweep: false,
      out: 'bench/results/latest',
    });
  });

  test('--sweep has a file of its own', () => {
    expect(parseOptions(['--sweep'], ['node'])).toMatchObject({ sweep: true, out: 'bench/results/sweep' });
  });

  test.each([
    { args: ['--peers'], rows: false, peers: true, scale: false, why: 'only beside onnxruntime-web' },
    { args: ['--scale', '--peers'], rows: false, peers: true, scale: true, why: 'both, and no shape' },
    {
      args: ['--scale', '--shape', 'decode-mha'],
      rows: true,
      peers: false,
      scale: true,
      why: 'what is named, too',
    },
    { args: ['--all'], rows: true, peers: true, scale: true, why: 'everything' },
  ])('$args measures $why', ({ args, rows, peers, scale }) => {
    expect(parseOptions(args, ['node'])).toMatchObject({ rows, peers, scale });
  });

  test('--sweep refuses what it would ignore', () => {
    expect(() => parseOptions(['--sweep', '--dtype', 'f16'], ['node'])).toThrow(
      '--sweep measures all shapes and types, and no peers: leave out --dtype',
    );
  });

  test('the help names every option', () => {
    const text = help('npm run bench --', ['chrome', 'node']);
    for (const name of [
      'adapter',
      'quick',
      'shape',
      'dtype',
      'full',
      'peers',
      'scale',
      'all',
      'sweep',
      'out',
      'help',
    ])
      expect(text).toContain(`  --${name} `);
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
      ['--peers=onnx'],
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
        "Error: --shape must be one of llama-7b, llama-3-8b, qwen2.5-7b, gemma-2-9b, gemma-4-global, llama-3.2-1b, encoder-base, decode-mha, decode-gqa, decode-ragged, decode-long, decode-gemma, decode-mla, decode-mla-wide, decode-small, formats, masks, mods, blocks, prefix, kv-i8, kv-i8-turned, kv-e4m3, kv-i4, kv-i4-turned, prompt-i8, prompt-i8-turned, prompt-e4m3, prompt-i4, prompt-i4-turned, mask, bias, first-keys, first-keys-step, tree-16, tree-64, softcap-mod, softcap-mod-step, alibi-mod, window-mod, document-blocks, window-blocks, prefix-2, prefix-8, prefix-32, recording, not "llama"",
        "Error: --dtype must be one of f32, f16, bf16, not "i8"",
        "Error: --adapter must be one of chrome, node, not "firefox"",
        "Error: Unknown option '--fast'",
        "Error: Option '--peers' does not take an argument",
        "Error: --out needs a name",
      ]
    `);
  });
});
