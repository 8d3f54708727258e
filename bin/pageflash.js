#!/usr/bin/env node
import { parseArgs } from 'node:util';
import { kernelVariant, PageflashError } from '../dist/wgsl.js';

const HELP = `Print the WGSL of a kernel, for engines in any language.

  pageflash wgsl --kernel NAME [options]

  --kernel NAME              attn_prefill, attn_decode, attn_weights, append_kv,
                             append_quantised, turn_heads, merge_states, copy_pages,
                             gather_lengths, gather_heads or gather_tokens
  --json                     print text, bindings, layouts and grid as JSON

What decides the variant; each kernel takes the options that it depends on:
  --head-dim N               size of a head of q and k, and of v unless --head-dim-v is given
  --head-dim-v N             size of a head of v
  --dtype TYPE               f32, f16 or bf16: of q and out; of the new keys, of the merged result
  --kv-dtype TYPE            of keys and values, or of the cache; default that of --dtype;
                             attention, too: i8, i4 or e4m3; append_quantised: one of these
  --paged                    keys and values are in pages
  --softcap                  scores are capped
  --alibi                    scores fall with distance
  --first-keys               first keys are seen whatever a window says
  --mask                     bits say which keys a row sees
  --bias TYPE                f32, f16 or bf16: of numbers that are added to scores
  --positions                query tokens have positions of their own
  --tree-mask                query tokens see each other along a tree
  --split                    items are chunks of keys, which merge_states combines
  --return-lse               the lse of each row is written, too
  --group N                  attn_decode, attn_weights: query heads that share a kv head; default 1
  --tokens N                 attn_decode: query tokens of a sequence; default 1
  --scale-dtype TYPE         f32 or f16, of the scales of i8 and i4; default f16
  --side SIDE                append_quantised: keys (default) or values
  --kv-rotation KIND         append_quantised: hadamard, if heads are turned
  --heads KIND               turn_heads: queries (default) or outputs
  --rotary                   append_kv, append_quantised, turn_heads: apply rotary embeddings
  --rotary-sections          the same: tokens have three positions each
  --queries                  append_kv: rotate queries
  --appends                  append_kv: append keys and values, as without --queries; both need ten
                             storage buffers
  --q-dtype TYPE             append_kv: of the queries; default that of --dtype
  --parts KIND               merge_states: chunks (default), cascade, stack or pair
  --unaligned                rows may begin at any element

The device that it is to run on; defaults are what every WebGPU device has:
  --device-class CLASS       gpu or software
  --tier TIER                T0 (no optional feature) or T1
  --shader-f16               the device has shader-f16
  --subgroup-min-size N      invocations of a subgroup
  --subgroup-max-size N
  --max-workgroup-bytes N    default 16384
  --max-workgroup-invocations N     default 256
  --max-workgroups-per-dimension N  default 65535
  --max-storage-buffers N    default 8

  --help                     print this
`;

const KERNEL_OPTIONS = {
  kernel: 'string',
  'head-dim': 'number',
  'head-dim-v': 'number',
  dtype: 'string',
  'kv-dtype': 'string',
  'scale-dtype': 'string',
  side: 'string',
  'kv-rotation': 'string',
  heads: 'string',
  paged: 'boolean',
  softcap: 'boolean',
  alibi: 'boolean',
  'first-keys': 'boolean',
  mask: 'boolean',
  bias: 'string',
  positions: 'boolean',
  'tree-mask': 'boolean',
  split: 'boolean',
  'return-lse': 'boolean',
  group: 'number',
  tokens: 'number',
  rotary: 'boolean',
  'rotary-sections': 'boolean',
  queries: 'boolean',
  appends: 'boolean',
  'q-dtype': 'string',
  parts: 'string',
  unaligned: 'boolean',
};

const DEVICE_OPTIONS = {
  'device-class': 'string',
  tier: 'string',
  'shader-f16': 'boolean',
  'subgroup-min-size': 'number',
  'subgroup-max-size': 'number',
  'max-workgroup-bytes': 'number',
  'max-workgroup-invocations': 'number',
  'max-workgroups-per-dimension': 'number',
  'max-storage-buffers': 'number',
};

/** A wrong command line. */
class UsageError extends Error {}

/**
 * Returns what to print.
 *
 * @param {readonly string[]} args
 */
function answerTo(args) {
  const { values, positionals } = parsed(args);
  if (values.help) return HELP;
  const [command, ...rest] = positionals;
  if (command !== 'wgsl' || rest.length > 0) {
    const found =
      positionals.length > 0 ? `there is no command ${positionals.join(' ')}` : 'a command is missing';
    throw new UsageError(`pageflash: ${found}. Ask for pageflash wgsl, or for pageflash --help.`);
  }
  if (values.kernel === undefined)
    throw new UsageError('pageflash wgsl: --kernel is missing. See pageflash wgsl --help.');
  const device = optionsAmong(DEVICE_OPTIONS, values);
  const variant = kernelVariant({ ...optionsAmong(KERNEL_OPTIONS, values), device });
  if (values.json) return `${JSON.stringify(variant, null, 2)}\n`;
  const about = variant.about.replace(/^/gm, '// ').replace(/ +$/gm, '');
  return `${about}\n//\n// This variant: ${variant.name}\n\n${variant.code}`;
}

/** @param {readonly string[]} args */
function parsed(args) {
  const types = { ...KERNEL_OPTIONS, ...DEVICE_OPTIONS, json: 'boolean', help: 'boolean' };
  const options = Object.fromEntries(
    Object.entries(types).map(([name, type]) => [name, { type: type === 'boolean' ? type : 'string' }]),
  );
  try {
    return parseArgs({ args: [...args], options, allowPositionals: true });
  } catch (error) {
    // Node adds advice on its own quoting.
    const [problem] = error.message.split('. ');
    throw new UsageError(`pageflash: ${problem}. See pageflash wgsl --help.`, { cause: error });
  }
}

/**
 * Returns the values of these flags, under the names that kernelVariant has for them.
 *
 * @param {Readonly<Record<string, string>>} types
 * @param {Readonly<Record<string, unknown>>} values
 */
function optionsAmong(types, values) {
  const given = Object.entries(types).filter(([name]) => values[name] !== undefined);
  return Object.fromEntries(
    given.map(([name, type]) => [
      name.replace(/-(.)/g, (_, letter) => letter.toUpperCase()).replace(/Dtype$/, 'DType'),
      type === 'number' ? numberOf(name, values[name]) : values[name],
    ]),
  );
}

/**
 * @param {string} name
 * @param {unknown} text
 */
function numberOf(name, text) {
  const value = Number(text);
  if (text === '' || Number.isNaN(value))
    throw new UsageError(`pageflash wgsl: --${name} must be a number, not ${text}.`);
  return value;
}

try {
  process.stdout.write(answerTo(process.argv.slice(2)));
} catch (error) {
  if (!(error instanceof UsageError) && !(error instanceof PageflashError)) throw error;
  process.stderr.write(`${error.message.replace(/^kernelVariant: /, 'pageflash wgsl: ')}\n`);
  process.exitCode = 1;
}
