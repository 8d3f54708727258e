import { describe, expect, test } from 'vitest';
import { roundTo, type FloatDType } from '../../src/core/dtype.js';
import type { Dispatch } from '../../src/core/dispatch.js';
import type { Tensor } from '../../src/core/tensor.js';
import { attnDecodeDispatch } from '../../src/kernels/attnDecode.js';
import { attnPrefillDispatch } from '../../src/kernels/attnPrefill.js';
import { maskTilesDispatch, tileLinks } from '../../src/kernels/maskTiles.js';
import type { AttentionWork } from '../../src/kernels/shared/attention.js';
import { RAGGED } from '../../src/problem/tokenRows.js';
import type { HostTensor, HostWords } from '../../src/reference/attention.js';
import { Random } from '../../tools/random.js';
import { batchOf, type Batch } from '../plan/batch.js';
import { fakeTensor } from '../runtime/fakeDevice.js';
import { filled } from './batchesOnHost.js';
import { interpret, type HostBuffers } from './interpreter.js';
import { expectReference, referenceArgs } from './referenceOnHost.js';
import { DECODE_TILE, PREFETCH_TILE, PREFILL_TILE, TINY_KERNELS, workOf } from './tinyTiles.js';

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
  /** Whether some keys are hidden from all rows, and hold NaN. */
  readonly spoils?: boolean;
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
  const { bits, bias: kind, windowSize = [-1, -1], firstKeys = 0, pageSize, spoils = false } = options;
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
        : (random.int(0, 2 ** 31) * 2 + random.int(0, 2)) & (spoils ? ~SPOILT_BITS : -1),
    );
  const mask = bits ? { shape: [2, nTokens, WORDS], data: words([2, nTokens, WORDS]) } : undefined;
  const bias = kind && {
    shape: [1, nTokens, kind.keys],
    data: random
      .normals(nTokens * kind.keys)
      .map((x, i) =>
        i % 5 === 0 || (spoils && isSpoilt(i % kind.keys)) ? -Infinity : roundTo(kind.dtype, x),
      ),
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
  if (spoils) for (const { tensor } of [problem.k, problem.v]) spoil(buffers, tensor);
  return { batch, buffers, mask, bias, options };
}

/** Keys 1 and 6 of every 32. */
const SPOILT_BITS = 0x42;

function isSpoilt(key: number): boolean {
  return ((SPOILT_BITS >>> (key % 32)) & 1) === 1;
}

/** Makes NaN of what no row sees. */
function spoil(buffers: HostBuffers, tensor: Tensor): void {
  const data = buffers.read(tensor).slice();
  const row = tensor.shape[1]! * tensor.shape[2]!;
  let first = 0;
  for (const [, nKeys] of SEQUENCES) {
    for (let key = 0; key < nKeys; key++)
      if (isSpoilt(key)) data.fill(NaN, (first + key) * row, (first + key + 1) * row);
    first += nKeys;
  }
  buffers.write(tensor, data);
}

function expectAttention({ batch, buffers, mask, bias, options }: Drawn): void {
  const { windowSize, firstKeys } = options;
  const args = { ...referenceArgs(batch, buffers), causal: true, windowSize, firstKeys, mask, bias };
  expectReference(batch, buffers, args);
}

const CASES: readonly Case[] = [
  { why: 'bits', bits: true },
  { why: 'a bias of f32', bias: { dtype: 'f32', keys: 120 } },
  { why: 'a bias of f32 at any element', bias: { dtype: 'f32', keys: 117 } },
  { why: 'a bias of f16', bias: { dtype: 'f16', keys: 120 } },
  { why: 'a bias of bf16 at any element, bits', bias: { dtype: 'bf16', keys: 117 }, bits: true },
  { why: 'bits that hide NaN from all rows', bits: true, spoils: true },
  { why: 'a bias that hides NaN from all rows', bias: { dtype: 'f32', keys: 120 }, spoils: true },
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
      expectAttention(given);
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
    expectAttention(given);
  });
});

describe.each(TINY_KERNELS)('%s', (_, dispatchOf) => {
  test.each(CASES)('has no race: $why', { timeout: SLOW }, ({ why: _why, ...options }) => {
    const given = drawn(options);
    expect(interpret(dispatchOf(given.batch), given.buffers)).toEqual([]);
    expectAttention(given);
  });
});
