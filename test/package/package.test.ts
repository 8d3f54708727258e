import { afterAll, beforeAll, describe, expect, inject, test } from 'vitest';
import { DEVICE_NAMES } from '../../src/standalone/device.js';
import { OPTION_NAMES } from '../../src/standalone/options.js';
import { kernelVariant, type KernelVariant } from '../../src/standalone/kernelVariant.js';
import { createOutsideProject, type OutsideProject } from './outsideProject.js';
import { checkPrinted, examplesOf } from './readme.js';
import { testStrictTypes } from './strictTypes.js';

let project: OutsideProject;
beforeAll(async () => {
  project = await createOutsideProject(inject('mesa'));
  project.add('@webgpu/types');
  project.add('webgpu');
});
afterAll(() => project.remove());

// The fastest of the compilers; `npm run test:package` asks the others.
describe('as strict TypeScript, by typescript-7', () =>
  testStrictTypes({ compiler: 'typescript-7', types: [] }, () => project));

describe('in Node', () => {
  test.each(examplesOf('node'))('the example of $shows prints what is right', async ({ shows, code }) => {
    project.write('main.mjs', code);
    checkPrinted(shows, await project.node('main.mjs'));
  });

  test('errors of subpaths are those of the package', async () => {
    project.write(
      'main.mjs',
      `import { PageflashError } from 'pageflash';
       import { kernelVariant } from 'pageflash/wgsl';
       import { attnReference } from 'pageflash/reference';
       const calls = [() => kernelVariant({}), () => attnReference({ q: { shape: [] }, k: { shape: [] } })];
       for (const call of calls) try { call(); } catch (error) { console.log(error instanceof PageflashError); }`,
    );
    expect(await project.node('main.mjs')).toBe('true\ntrue\n');
  });
});

describe('npx pageflash', () => {
  const cli = (...args: readonly string[]) => project.node('node_modules/.bin/pageflash', ...args);

  /** What it writes where it fails. */
  const failure = async (...args: readonly string[]): Promise<string> =>
    cli(...args).then(
      (text) => `nothing, but printed ${text}`,
      ({ message }: Error) => message.replace(/^.* (ended with \d+):/, '$1:'),
    );

  const DECODE = ['wgsl', '--kernel', 'attn_decode', '--head-dim', '128', '--dtype', 'f16', '--paged'];

  test('prints the text of a kernel, or all of it as JSON', async () => {
    const text = await cli(...DECODE);
    const variant = JSON.parse(await cli(...DECODE, '--json')) as KernelVariant;
    expect(variant).toEqual(
      kernelVariant({ kernel: 'attn_decode', headDim: 128, dtype: 'f16', paged: true }),
    );
    expect(text.endsWith(`\n\n${variant.code}`)).toBe(true);
    expect(text).toMatch(/^\/\/ attn_decode: attention of few query rows/);
  });

  test('has every option of every kernel and of a device', async () => {
    const help = await cli('--help');
    expect(await cli('wgsl', '--help')).toBe(help);
    const names = [...Object.values(OPTION_NAMES).flat(), ...DEVICE_NAMES].filter(
      (name) => name !== 'device',
    );
    const options = names.map(
      (name) =>
        `--${name.replace('DType', '-dtype').replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)}`,
    );
    expect(options.filter((option) => !help.includes(`${option} `))).toEqual([]);
  });

  test('hands on types', async () => {
    const text = await cli(...DECODE, '--kv-dtype', 'i8', '--scale-dtype', 'f32');
    const sizes = { headDim: 128, dtype: 'f16', kvDType: 'i8', scaleDType: 'f32', paged: true } as const;
    expect(text).toContain(kernelVariant({ kernel: 'attn_decode', ...sizes }).code);
  });

  test('hands on what a device has', async () => {
    const json = await cli(
      ...DECODE,
      '--json',
      '--tier',
      'T1',
      '--subgroup-min-size',
      '32',
      '--group',
      '4',
      '--kv-dtype',
      'bf16',
    );
    const device = { tier: 'T1', subgroupMinSize: 32 } as const;
    const sizes = { headDim: 128, dtype: 'f16', kvDType: 'bf16', paged: true, group: 4 } as const;
    expect(JSON.parse(json)).toEqual(kernelVariant({ kernel: 'attn_decode', ...sizes, device }));
  });

  test('says what is wrong', async () => {
    expect(await failure()).toMatchInlineSnapshot(`
      "ended with 1:
      pageflash: a command is missing. Ask for pageflash wgsl, or for pageflash --help.
      "
    `);
    expect(await failure('glsl')).toMatchInlineSnapshot(`
      "ended with 1:
      pageflash: there is no command glsl. Ask for pageflash wgsl, or for pageflash --help.
      "
    `);
    expect(await failure('wgsl')).toMatchInlineSnapshot(`
      "ended with 1:
      pageflash wgsl: --kernel is missing. See pageflash wgsl --help.
      "
    `);
    expect(await failure(...DECODE, '--pagd')).toMatchInlineSnapshot(`
      "ended with 1:
      pageflash: Unknown option '--pagd'. See pageflash wgsl --help.
      "
    `);
    expect(await failure(...DECODE, '--group', 'four')).toMatchInlineSnapshot(`
      "ended with 1:
      pageflash wgsl: --group must be a number, not four.
      "
    `);
    expect(await failure(...DECODE, '--dtype', 'i8')).toMatchInlineSnapshot(`
      "ended with 1:
      pageflash wgsl: dtype must be 'f32', 'f16' or 'bf16', not "i8".
      "
    `);
    expect(await failure(...DECODE, '--rotary')).toMatchInlineSnapshot(`
      "ended with 1:
      pageflash wgsl: there is no argument rotary. There are kernel, device, headDim, headDimV, dtype, kvDType, scaleDType, paged, softcap, alibi, firstKeys, mask, bias, positions, treeMask, split, returnLse, unaligned, group, tokens. They are those of attn_decode.
      "
    `);
  });
});
