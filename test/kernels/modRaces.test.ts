import { describe, expect, test } from 'vitest';
import type { ModOptions } from '../../src/reference/attention.js';
import { MOD_PARAMS, parseMod, type ModSource } from '../../src/wgsl/mods.js';
import { batchOf, type Batch } from '../plan/batch.js';
import { fakeTensor } from '../runtime/fakeDevice.js';
import { filled } from './batchesOnHost.js';
import { interpret, type HostBuffers } from './interpreter.js';
import { expectReference, referenceArgs } from './referenceOnHost.js';
import { TINY_KERNELS } from './tinyTiles.js';

// Mods on the CPU, where every access to memory is noted.

/** ms, for a busy machine. */
const SLOW = 60_000;

const SEQUENCES = [
  [5, 19],
  [2, 57],
] as const;

const TABLE = [0.5, -1, 2];

const SCORE: ModSource = {
  kind: 'scoreMod',
  name: 'table',
  code: `
const N = 3;
fn entry(i: i32) -> f32 { return table[u32(max(i, 0)) % N]; }
fn score_mod(score: f32, b: u32, h: u32, q: i32, k: i32) -> f32 {
  if (k == 3) { return -2e30; }
  return score * mod_params[1] + entry(q - k) - f32(h + b);
}`,
  tensors: { table: 'f32' },
};

const MASK: ModSource = {
  kind: 'maskMod',
  name: 'odd',
  code: `fn mask_mod(b: u32, h: u32, q: i32, k: i32) -> bool { return k % 4 != i32(mod_params[0] + f32(b)); }`,
  tensors: {},
};

const RUN: Required<ModOptions> = {
  scoreMod: (score, b, h, q, k) =>
    k === 3 ? -2e30 : score * 0.75 + TABLE[Math.max(q - k, 0) % 3]! - (h + b),
  maskMod: (b, _h, _q, k) => k % 4 !== 1 + b,
};

type Kinds = readonly ('scoreMod' | 'maskMod')[];

interface Drawn {
  readonly batch: Batch;
  readonly buffers: HostBuffers;
}

function drawn(kinds: Kinds): Drawn {
  const plain = batchOf(SEQUENCES, { heads: [2, 1], headDim: 32, masks: { right: 0, causal: true } });
  const table = fakeTensor('f32', [3]);
  const params = new Float32Array(2 * MOD_PARAMS);
  params[1] = 0.75;
  params[MOD_PARAMS] = 1;
  const mods = {
    scoreMod: kinds.includes('scoreMod') ? { text: parseMod(SCORE), tensors: { table } } : null,
    maskMod: kinds.includes('maskMod') ? { text: parseMod(MASK), tensors: {} } : null,
    params,
  };
  const batch = { problem: { ...plain.problem, mods }, lengths: plain.lengths };
  const buffers = filled(batch);
  buffers.write(table, TABLE);
  return { batch, buffers };
}

describe.each(TINY_KERNELS)('%s', (_, dispatchOf) => {
  test.each([{ kinds: ['scoreMod'] }, { kinds: ['maskMod'] }, { kinds: ['scoreMod', 'maskMod'] }] as const)(
    'has no race: $kinds',
    { timeout: SLOW },
    ({ kinds }) => {
      const { batch, buffers } = drawn(kinds);
      expect(interpret(dispatchOf(batch), buffers)).toEqual([]);
      const mods = Object.fromEntries(kinds.map((kind) => [kind, RUN[kind]]));
      expectReference(batch, buffers, { ...referenceArgs(batch, buffers), causal: true, ...mods });
    },
  );
});
