import { describe, expect, test } from 'vitest';
import { encode, type QuantisedDType } from '../../src/core/dtype.js';
import type { Dispatch } from '../../src/core/dispatch.js';
import { I4_GROUP, type ScaleDType } from '../../src/core/kvFormats.js';
import { elementCount } from '../../src/core/tensor.js';
import type { DecodeTile } from '../../src/kernels/attnDecode.js';
import type { AttentionProblem, KvScales, PagedRows } from '../../src/problem/attentionProblem.js';
import { attnVarlenReference, type HostTensor } from '../../src/reference/attention.js';
import { link } from '../../src/wgsl/link.js';
import { Random } from '../../tools/random.js';
import { quantiseCache, type QuantisedCache } from '../attention/quantisedCache.js';
import { batchOf, type Batch } from '../plan/batch.js';
import { checkLse, checkOut } from '../reference/tolerance.js';
import { fakeTensor } from '../runtime/fakeDevice.js';
import { filled, withoutPages } from './batchesOnHost.js';
import { interpret, type HostBuffers } from './interpreter.js';
import { DECODE_TILE, PREFETCH_TILE, PREFILL_TILE, decodeRows, prefill } from './tinyTiles.js';

// The kernels run on the CPU over quantised pages, where every access to memory is noted, and give what the reference gives
// for the numbers that codes and scales stand for. Pages that no table names hold NaN, as far as a format has one.

/** Two groups of i4 in a head of 64. */
const TWO_GROUPS: DecodeTile = { ...PREFETCH_TILE, headOctets: 8, cols: 2 };

/** ms, for a busy machine. */
const SLOW = 60_000;

const N_KV_HEADS = 2;
const HEAD_SCALES = { k: [0.02, 0.5], v: [0.015, 2] };

interface Format {
  readonly dtype: QuantisedDType;
  readonly scaleDType?: ScaleDType;
}

const FORMATS: readonly Format[] = [
  { dtype: 'i8' },
  { dtype: 'i8', scaleDType: 'f16' },
  { dtype: 'i4', scaleDType: 'f16' },
  { dtype: 'e4m3' },
];

interface QuantisedBatch extends Batch {
  readonly buffers: HostBuffers;
  readonly values: { readonly k: HostTensor; readonly v: HostTensor };
}

/** Two heads of queries for each of keys, causal, in pages of three. */
function quantised({ dtype, scaleDType = 'f32' }: Format, headDim: number, hasPages = true): QuantisedBatch {
  const sequences = [
    [3, 19],
    [2, 37],
  ] as const;
  const whole = batchOf(sequences, {
    heads: [2 * N_KV_HEADS, N_KV_HEADS],
    headDim,
    masks: { right: 0 },
    pageSize: 3,
  });
  const { problem, lengths } = hasPages ? whole : withoutPages(whole);
  const pages = problem.pages!;
  const random = new Random(3);
  const named = new Set(pages.table as Int32Array);
  const buffers = filled({
    problem: { ...problem, k: problem.q as PagedRows, v: problem.q as PagedRows },
    lengths,
  });
  const bytesOf = (rows: PagedRows) => new Uint8Array(buffers.contentsOf(rows.tensor));
  const rowsOf = (type: QuantisedDType | ScaleDType, perHead: number): PagedRows => ({
    tensor: fakeTensor(type, [pages.nPages, pages.pageSize, N_KV_HEADS, perHead]),
    pageStride: pages.pageSize * N_KV_HEADS * perHead,
    sequenceStride: 0,
    tokenStride: N_KV_HEADS * perHead,
    headStride: perHead,
  });
  const draw = (headScales: readonly number[]): QuantisedCache => {
    const shape = [pages.nPages, pages.pageSize, N_KV_HEADS, headDim];
    const data = random.normals(elementCount(shape));
    const page = data.length / pages.nPages;
    for (let i = 0; i < pages.nPages; i++) if (!named.has(i)) data.fill(NaN, i * page, (i + 1) * page);
    return quantiseCache(dtype, { shape, data }, { scaleDType, headScales });
  };
  const caches = { k: draw(HEAD_SCALES.k), v: draw(HEAD_SCALES.v) };
  const place = (side: 'k' | 'v'): PagedRows => {
    const rows = rowsOf(dtype, headDim);
    bytesOf(rows).set(caches[side].bytes);
    return rows;
  };
  const placeScales = (side: 'k' | 'v'): PagedRows => {
    const rows = rowsOf(scaleDType, dtype === 'i4' ? headDim / I4_GROUP : 1);
    bytesOf(rows).set(new Uint8Array(encode(scaleDType, caches[side].scales.data).buffer));
    return rows;
  };
  const scales: KvScales =
    dtype === 'e4m3'
      ? { per: 'head', k: Float32Array.from(HEAD_SCALES.k), v: Float32Array.from(HEAD_SCALES.v) }
      : { per: 'token', k: placeScales('k'), v: placeScales('v') };
  const ofQuantised: AttentionProblem = { ...problem, k: place('k'), v: place('v'), scales };
  return { problem: ofQuantised, lengths, buffers, values: { k: caches.k.values, v: caches.v.values } };
}

function expectAttention({ problem, lengths, buffers, values }: QuantisedBatch): void {
  const { q, pages, out, lse, softmaxScale } = problem;
  const want = attnVarlenReference({
    q: { shape: q.tensor.shape, data: buffers.read(q.tensor) },
    ...values,
    cuSeqlensQ: [...lengths.qStart, q.tensor.shape[0]!],
    sequsedK: lengths.kLen,
    blockTable: pages!.table as Int32Array,
    causal: true,
    softmaxScale,
  });
  checkOut({ actual: buffers.read(out.tensor), reference: want.out.data, dtype: 'f32' });
  checkLse({ actual: buffers.read(lse!.tensor), reference: want.lse.data });
}

const TILES: readonly {
  readonly why: string;
  readonly headDim: number;
  readonly of: (batch: Batch) => Dispatch;
}[] = [
  { why: 'attn_decode', headDim: 32, of: (batch) => decodeRows(batch, DECODE_TILE) },
  { why: 'attn_decode, loaded ahead', headDim: 32, of: (batch) => decodeRows(batch, PREFETCH_TILE) },
  {
    why: 'attn_decode, several octets of a key at a time',
    headDim: 64,
    of: (batch) => decodeRows(batch, TWO_GROUPS),
  },
  { why: 'attn_prefill', headDim: 32, of: (batch) => prefill(batch, PREFILL_TILE) },
];

describe.each(FORMATS)('$dtype with scales of $scaleDType', { timeout: SLOW }, (format) => {
  test.each(TILES)('has no race: $why', ({ headDim, of }) => {
    const batch = quantised(format, headDim);
    expect(interpret(of(batch), batch.buffers)).toEqual([]);
    expectAttention(batch);
  });

  test.each(TILES)('nothing is used of pages that are not there: $why', ({ headDim, of }) => {
    const batch = quantised(format, headDim, false);
    expect(interpret(of(batch), batch.buffers)).toEqual([]);
    expectAttention(batch);
  });
});

test.each(TILES)('every barrier is needed: $why', { timeout: SLOW }, ({ headDim, of }) => {
  const dispatch = of(quantised({ dtype: 'i4' }, headDim));
  const barriers = link(dispatch.kernel, dispatch.spec).split('workgroupBarrier();').length - 1;
  for (let removed = 0; removed < barriers; removed++) {
    let seen = 0;
    const without = (code: string) =>
      code.replace(/workgroupBarrier\(\);/g, (barrier) => (seen++ === removed ? '' : barrier));
    const again = quantised({ dtype: 'i4' }, headDim);
    const races = interpret(of(again), again.buffers, without);
    expect.soft(races, `without barrier ${removed + 1} of ${barriers}`).not.toEqual([]);
  }
});
