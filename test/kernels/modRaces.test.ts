import { describe, expect, test } from 'vitest';
import type { Dispatch } from '../../src/core/dispatch.js';
import type { Tensor } from '../../src/core/tensor.js';
import { attnDecodeDispatch } from '../../src/kernels/attnDecode.js';
import { attnPrefillDispatch, prefillTileRows } from '../../src/kernels/attnPrefill.js';
import type { AttentionWork } from '../../src/kernels/shared/attention.js';
import { hostBatchInfo, packItems } from '../../src/kernels/shared/batchInfo.js';
import { attnVarlenReference, type ModOptions } from '../../src/reference/attention.js';
import { MOD_PARAMS, parseMod, type ModSource } from '../../src/wgsl/mods.js';
import { batchOf, type Batch } from '../plan/batch.js';
import { checkLse, checkOut } from '../reference/tolerance.js';
import { fakeTensor } from '../runtime/fakeDevice.js';
import { filled, GRID } from './batchesOnHost.js';
import { interpret, type HostBuffers } from './interpreter.js';
import { DECODE_TILE, PREFETCH_TILE, PREFILL_TILE } from './tinyTiles.js';

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

function workOf({ problem, lengths }: Batch, rows: number): AttentionWork {
  const group = problem.nHeads / problem.nKvHeads;
  const items = [...lengths.qLen].flatMap((qLen, sequence) =>
    Array.from({ length: Math.ceil((qLen * group) / rows) }, (_, rowTile) => ({
      sequence,
      rowTile,
      chunk: 0,
      nChunks: 1,
      firstPart: 0,
    })),
  );
  return {
    problem,
    batchInfo: hostBatchInfo(problem, lengths, packItems([items])),
    range: [0, items.length],
    parts: null,
    rotatedQ: null,
    links: null,
    ...GRID,
  };
}

const KERNELS: readonly (readonly [name: string, dispatchOf: (batch: Batch) => Dispatch])[] = [
  [
    'attn_prefill',
    (batch) => attnPrefillDispatch(workOf(batch, prefillTileRows(PREFILL_TILE)), PREFILL_TILE),
  ],
  ['attn_decode', (batch) => attnDecodeDispatch(workOf(batch, DECODE_TILE.rows), DECODE_TILE)],
  [
    'attn_decode, loaded ahead',
    (batch) => attnDecodeDispatch(workOf(batch, PREFETCH_TILE.rows), PREFETCH_TILE),
  ],
];

function expectReference({ batch, buffers }: Drawn, kinds: Kinds): void {
  const { q, k, v, out, lse, softmaxScale } = batch.problem;
  const { lengths } = batch;
  const host = (tensor: Tensor) => ({ shape: tensor.shape, data: buffers.read(tensor) });
  const want = attnVarlenReference({
    q: host(q.tensor),
    k: host(k.tensor),
    v: host(v.tensor),
    cuSeqlensQ: [...lengths.qStart, q.tensor.shape[0]!],
    cuSeqlensK: [...lengths.kStart, k.tensor.shape[0]!],
    causal: true,
    softmaxScale,
    ...Object.fromEntries(kinds.map((kind) => [kind, RUN[kind]])),
  });
  checkOut({ actual: buffers.read(out.tensor), reference: want.out.data, dtype: 'f32' });
  checkLse({ actual: buffers.read(lse!.tensor), reference: want.lse.data });
}

describe.each(KERNELS)('%s', (_, dispatchOf) => {
  test.each([{ kinds: ['scoreMod'] }, { kinds: ['maskMod'] }, { kinds: ['scoreMod', 'maskMod'] }] as const)(
    'has no race: $kinds',
    { timeout: SLOW },
    ({ kinds }) => {
      const given = drawn(kinds);
      expect(interpret(dispatchOf(given.batch), given.buffers)).toEqual([]);
      expectReference(given, kinds);
    },
  );
});
