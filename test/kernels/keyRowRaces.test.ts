import { describe, expect, test } from 'vitest';
import { roundTo, type FloatDType } from '../../src/core/dtype.js';
import type { Dispatch } from '../../src/core/dispatch.js';
import type { Tensor } from '../../src/core/tensor.js';
import { attnDecodeDispatch } from '../../src/kernels/attnDecode.js';
import { attnPrefillDispatch, prefillTileRows } from '../../src/kernels/attnPrefill.js';
import { maskTilesDispatch, tileLinks } from '../../src/kernels/maskTiles.js';
import type { AttentionWork } from '../../src/kernels/shared/attention.js';
import { hostBatchInfo, packItems } from '../../src/kernels/shared/batchInfo.js';
import { RAGGED } from '../../src/problem/tokenRows.js';
import { attnVarlenReference, type HostTensor, type HostWords } from '../../src/reference/attention.js';
import { Random } from '../../tools/random.js';
import { batchOf, type Batch } from '../plan/batch.js';
import { checkLse, checkOut } from '../reference/tolerance.js';
import { fakeTensor } from '../runtime/fakeDevice.js';
import { filled, GRID } from './batchesOnHost.js';
import { interpret, type HostBuffers } from './interpreter.js';
import { DECODE_TILE, PREFETCH_TILE, PREFILL_TILE } from './tinyTiles.js';

// Masks, biases and first keys on the CPU, where every access to memory is noted: tensors are exactly as large as they must
// be, so that a read beyond the last row fails.

/** ms, for a busy machine. */
const SLOW = 60_000;

const SEQUENCES = [
  [5, 19],
  [2, 117],
] as const;

const WORDS = 4;

interface Options {
  readonly bits?: boolean;
  readonly bias?: { readonly dtype: FloatDType; readonly keys: number };
  readonly windowSize?: readonly [number, number];
  readonly firstKeys?: number;
  readonly pageSize?: number;
}

interface Case extends Options {
  readonly why: string;
}

interface Drawn {
  readonly batch: Batch;
  readonly buffers: HostBuffers;
  readonly mask: HostWords | undefined;
  readonly bias: HostTensor | undefined;
  readonly options: Options;
}

function drawn(options: Options): Drawn {
  const { bits, bias: kind, windowSize = [-1, -1], firstKeys = 0, pageSize } = options;
  const plain = batchOf(SEQUENCES, {
    heads: [2, 1],
    headDim: 32,
    masks: { left: windowSize[0], right: 0, firstKeys, causal: true },
    ...(pageSize && { pageSize }),
  });
  const random = new Random(7);
  const nTokens = SEQUENCES.reduce((sum, [qLen]) => sum + qLen, 0);
  const words = (shape: readonly number[]): Uint32Array =>
    // Whole words of hidden keys, so that no row sees anything of some tiles, or none of the first head.
    Uint32Array.from({ length: shape.reduce((a, b) => a * b) }, (_, i) =>
      i % WORDS === 1 || (i % WORDS === 2 && i < nTokens * WORDS)
        ? 0
        : random.int(0, 2 ** 31) * 2 + random.int(0, 2),
    );
  const mask = bits ? { shape: [2, nTokens, WORDS], data: words([2, nTokens, WORDS]) } : undefined;
  const bias = kind && {
    shape: [1, nTokens, kind.keys],
    data: random
      .normals(nTokens * kind.keys)
      .map((x, i) => (i % 5 === 0 ? -Infinity : roundTo(kind.dtype, x))),
  };
  const tensors = {
    mask: mask ? fakeTensor('u32', mask.shape) : null,
    bias: bias ? fakeTensor(kind!.dtype, bias.shape) : null,
  };
  const rows = (tensor: Tensor | null) => tensor && RAGGED.keyRows(tensor);
  const problem = { ...plain.problem, mask: rows(tensors.mask), bias: rows(tensors.bias) };
  const batch = { problem, lengths: plain.lengths };
  const buffers = filled(batch);
  if (mask) buffers.write(tensors.mask!, mask.data);
  if (bias) buffers.write(tensors.bias!, bias.data);
  return { batch, buffers, mask, bias, options };
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

function expectReference({ batch, buffers, mask, bias, options }: Drawn): void {
  const { q, k, v, pages, out, lse, softmaxScale } = batch.problem;
  const { lengths } = batch;
  const host = (tensor: Tensor) => ({ shape: tensor.shape, data: buffers.read(tensor) });
  const want = attnVarlenReference({
    q: host(q.tensor),
    k: host(k.tensor),
    v: host(v.tensor),
    cuSeqlensQ: [...lengths.qStart, q.tensor.shape[0]!],
    ...(pages
      ? { sequsedK: lengths.kLen, blockTable: pages.table as Int32Array }
      : { cuSeqlensK: [...lengths.kStart, k.tensor.shape[0]!] }),
    causal: true,
    windowSize: options.windowSize,
    firstKeys: options.firstKeys,
    mask,
    bias,
    softmaxScale,
  });
  checkOut({ actual: buffers.read(out.tensor), reference: want.out.data, dtype: 'f32' });
  checkLse({ actual: buffers.read(lse!.tensor), reference: want.lse.data });
}

const CASES: readonly Case[] = [
  { why: 'bits', bits: true },
  { why: 'a bias of f32', bias: { dtype: 'f32', keys: 120 } },
  { why: 'a bias of f32 at any element', bias: { dtype: 'f32', keys: 117 } },
  { why: 'a bias of f16', bias: { dtype: 'f16', keys: 120 } },
  { why: 'a bias of bf16 at any element, bits', bias: { dtype: 'bf16', keys: 117 }, bits: true },
  { why: 'first keys before a window', windowSize: [5, -1], firstKeys: 3 },
  { why: 'first keys of several tiles, in pages', windowSize: [20, -1], firstKeys: 40, pageSize: 3 },
];

/** The same with tiles of 16 keys left out that the mask hides. */
function linked(dispatchOf: (work: AttentionWork) => Dispatch, rows: number, keys: number) {
  return (given: Drawn): readonly string[] => {
    const work = workOf(given.batch, rows);
    const items = { first: 0, count: work.range[1] };
    const links = tileLinks(given.batch.problem, items, Math.ceil(128 / keys), 'links');
    const whole = { ...work, links };
    return [
      ...interpret(maskTilesDispatch(whole, { rows, keys }), given.buffers),
      ...interpret(dispatchOf(whole), given.buffers),
    ];
  };
}

describe('tiles that the mask hides are left out', () => {
  test.each([
    ['attn_prefill', linked((work) => attnPrefillDispatch(work, PREFILL_TILE), 8, 16)],
    ['attn_decode', linked((work) => attnDecodeDispatch(work, DECODE_TILE), 2, 16)],
    ['attn_decode, loaded ahead', linked((work) => attnDecodeDispatch(work, PREFETCH_TILE), 2, 8)],
  ] as const)('%s', { timeout: SLOW }, (_, run) => {
    for (const options of [
      {},
      { pageSize: 3 },
      { windowSize: [30, -1], firstKeys: 9, pageSize: 3 },
    ] as const) {
      const given = drawn({ bits: true, ...options });
      expect(run(given)).toEqual([]);
      expectReference(given);
    }
  });

  test('their keys may hold anything', { timeout: SLOW }, () => {
    // Whole words of hidden keys: those from 32 to 63 of each sequence.
    const given = drawn({ bits: true });
    const { k, v } = given.batch.problem;
    const want = { k: given.buffers.read(k.tensor), v: given.buffers.read(v.tensor) };
    const first = SEQUENCES[0]![1];
    for (const { tensor } of [k, v]) {
      const data = given.buffers.read(tensor).slice();
      given.buffers.write(tensor, data.fill(NaN, (first + 32) * 32, (first + 64) * 32));
    }
    const run = linked((work) => attnPrefillDispatch(work, PREFILL_TILE), 8, 16);
    expect(run(given)).toEqual([]);
    given.buffers.write(k.tensor, want.k);
    given.buffers.write(v.tensor, want.v);
    expectReference(given);
  });
});

describe.each(KERNELS)('%s', (_, dispatchOf) => {
  test.each(CASES)('has no race: $why', { timeout: SLOW }, ({ why: _why, ...options }) => {
    const given = drawn(options);
    expect(interpret(dispatchOf(given.batch), given.buffers)).toEqual([]);
    expectReference(given);
  });
});
