import { describe, expect, test } from 'vitest';
import type { QuantisedDType } from '../../src/core/dtype.js';
import { I4_GROUP, turnHead, unpackCodes, type ScaleDType } from '../../src/core/kvFormats.js';
import { appendQuantisedDispatch } from '../../src/kernels/appendQuantised.js';
import { listNewTokens } from '../../src/kernels/appendKv.js';
import { hostBatchInfo } from '../../src/kernels/shared/batchInfo.js';
import type { KvScales, PagedRows } from '../../src/problem/attentionProblem.js';
import { turnedProblem } from '../../src/problem/turned.js';
import { rotate } from '../../src/reference/attnWithKvCache.js';
import { Random } from '../../tools/random.js';
import { batchOf, type Batch, type BatchOptions } from '../plan/batch.js';
import { fakeTensor } from '../runtime/fakeDevice.js';
import { checkQuantised, HARD_HEADS, repeated } from '../reference/quantised.js';
import { filled, GRID, NO_ITEMS, ROTARY, withoutPages } from './batchesOnHost.js';
import { interpret, type HostBuffers } from './interpreter.js';

interface Format {
  readonly dtype: QuantisedDType;
  /** Heads are turned. */
  readonly turned?: boolean;
  readonly scaleDType?: ScaleDType;
  /** Elements between tokens of the cache, and scales between those of tokens. */
  readonly gap?: number;
}

const SEQUENCES = [
  [1, 4],
  [2, 2],
  [3, 7],
] as const;
const NEW_TOKENS = [2, 0, 3];
const HEADS = 2;
const ROWS = 8;

/** A batch whose cache is quantised: in the pages of the batch, or in rows of its own. */
function quantised(
  options: BatchOptions,
  { dtype, turned = false, scaleDType = 'f32', gap = 0 }: Format,
): Batch {
  const batch = batchOf(SEQUENCES, { heads: [HEADS, HEADS], newTokens: NEW_TOKENS, ...options });
  const { headDim, pages } = batch.problem;
  const rowsOf = (type: QuantisedDType | ScaleDType, perHead: number): PagedRows => {
    const [outer, tokens] = pages ? [pages.nPages, pages.pageSize] : [SEQUENCES.length, ROWS];
    const tokenStride = HEADS * perHead + gap;
    const shape = [outer, tokens, HEADS, perHead];
    const strides = [tokens * tokenStride, tokenStride, perHead, 1];
    const stride = tokens * tokenStride;
    return {
      tensor: fakeTensor(type, shape, { strides }),
      pageStride: pages ? stride : 0,
      sequenceStride: pages ? 0 : stride,
      tokenStride,
      headStride: perHead,
    };
  };
  const scaleRows = () => rowsOf(scaleDType, dtype === 'i4' ? headDim / I4_GROUP : 1);
  const scales: KvScales =
    dtype === 'e4m3'
      ? { per: 'head', k: Float32Array.of(0.5, 0.03), v: Float32Array.of(2, 1) }
      : { per: 'token', k: scaleRows(), v: scaleRows() };
  const plain = { ...batch.problem, k: rowsOf(dtype, headDim), v: rowsOf(dtype, headDim), scales };
  const problem = turned ? turnedProblem(plain) : plain;
  return { problem, lengths: { ...batch.lengths, kStart: new Int32Array(SEQUENCES.length) } };
}

function dispatchOf({ problem, lengths }: Batch, side: 'k' | 'v') {
  const info = hostBatchInfo(problem, lengths, NO_ITEMS);
  const counts = Uint32Array.from(lengths.kLen, (kLen, b) => kLen - lengths.nCached[b]!);
  const tokens = listNewTokens(counts, info, () => info);
  return appendQuantisedDispatch({ problem, tokens, side, ...GRID });
}

/** Fills caches and scales with bytes of which each is another. */
function scrambled({ problem }: Batch, buffers: HostBuffers): void {
  const random = new Random(7);
  const { k, v, scales } = problem;
  const own = scales!.per === 'token' ? [scales!.k as PagedRows, scales!.v as PagedRows] : [];
  for (const { tensor } of [k, v, ...own]) {
    const bytes = new Uint8Array(buffers.contentsOf(tensor));
    for (let i = 0; i < bytes.length; i++) bytes[i] = random.int(0, 256);
  }
}

/** Codes of a cache in the order of its memory, or its scales. */
function stored({ tensor }: PagedRows, buffers: HostBuffers): Float32Array {
  const bytes = buffers.contentsOf(tensor).slice(0);
  switch (tensor.dtype) {
    case 'f32':
      return new Float32Array(bytes);
    case 'f16':
      return Float32Array.from(new Uint16Array(bytes), halfOf);
    default:
      return unpackCodes(tensor.dtype as QuantisedDType, new Uint8Array(bytes));
  }
}

function halfOf(bits: number): number {
  const exponent = (bits >> 10) & 31;
  const fraction = bits & 1023;
  const magnitude = exponent === 0 ? fraction * 2 ** -24 : (1024 + fraction) * 2 ** (exponent - 25);
  return (bits & 0x8000 ? -1 : 1) * (exponent === 31 ? (fraction ? NaN : Infinity) : magnitude);
}

/** What a new key is rotated for: its position, or three of them. */
function positionsOfKey({ problem, lengths }: Batch, b: number, key: number): number | readonly number[] {
  const positions = lengths.tokens?.positions as Int32Array | undefined;
  if (!positions) return key;
  const { nTokens, positionRows } = problem.masks.tokens!;
  const token = lengths.qStart[b]! + key - lengths.kLen[b]! + lengths.qLen[b]!;
  if (positionRows === 1) return positions[token]!;
  return [0, 1, 2].map((row) => positions[row * nTokens + token]!);
}

/** Checks new tokens by the host's twin, and that nothing else has changed. */
function checkWritten(batch: Batch, side: 'k' | 'v', before: HostBuffers, after: HostBuffers): void {
  const { problem, lengths } = batch;
  const { pages, append, headDim, scales } = problem;
  const cache = problem[side];
  const dtype = cache.tensor.dtype as QuantisedDType;
  const fresh = after.read((side === 'k' ? append!.newK! : append!.newV!).tensor);
  const ofTokens = scales!.per === 'token' ? scales![side] : null;
  const [oldCodes, codes] = [stored(cache, before), stored(cache, after)];
  const [oldScales, newScales] = ofTokens ? [stored(ofTokens, before), stored(ofTokens, after)] : [[], []];
  const perHead = dtype === 'i4' ? headDim / I4_GROUP : 1;
  const nScales = ofTokens ? perHead : 0;
  const written = { codes: new Set<number>(), scales: new Set<number>() };
  lengths.nCached.forEach((nCached, b) => {
    for (let key = nCached; key < lengths.kLen[b]!; key++) {
      const page = pages && (pages.table as Int32Array)[b * pages.width + Math.floor(key / pages.pageSize)]!;
      if (pages && (page! < 0 || page! >= pages.nPages)) continue;
      const at = (rows: PagedRows, head: number): number =>
        (pages
          ? page! * rows.pageStride + (key % pages.pageSize) * rows.tokenStride
          : b * rows.sequenceStride + key * rows.tokenStride) +
        head * rows.headStride;
      for (let head = 0; head < HEADS; head++) {
        const from = ((lengths.newStart[b]! + key - nCached) * HEADS + head) * headDim;
        const values = Float64Array.from(fresh.subarray(from, from + headDim));
        const rotary = side === 'k' ? append!.rotary : null;
        if (rotary) {
          const shape = [rotary.nPositions, rotary.pairs];
          const of = (data: unknown) => ({ data: data as Float32Array, shape });
          const { interleaved, sections } = rotary;
          rotate(values, positionsOfKey(batch, b, key), {
            cos: of(rotary.cos),
            sin: of(rotary.sin),
            interleaved,
            // With [0, 1, 1].
            ...(sections && { sectionOf: (pair: number) => pair + 1 }),
          });
        }
        if (problem.turned) turnHead(values);
        const codesAt = at(cache, head);
        for (let i = 0; i < headDim; i++) written.codes.add(codesAt + i);
        const scalesAt = ofTokens ? at(ofTokens, head) : 0;
        for (let i = 0; i < nScales; i++) written.scales.add(scalesAt + i);
        checkQuantised(`${side} ${key} of sequence ${b}, head ${head}`, {
          dtype,
          codes: codes.subarray(codesAt, codesAt + headDim),
          scales: ofTokens
            ? (newScales as Float32Array).subarray(scalesAt, scalesAt + perHead)
            : [(scales![side] as Float32Array)[head]!],
          scaleDType: (ofTokens?.tensor.dtype ?? 'f32') as ScaleDType,
          values,
          error: rotary || problem.turned ? 1e-6 : 0,
        });
      }
    }
  });
  const kept = (old: ArrayLike<number>, now: ArrayLike<number>, touched: Set<number>) =>
    Array.from(old).every((x, i) => touched.has(i) || Object.is(x, now[i]));
  expect(kept(oldCodes, codes, written.codes)).toBe(true);
  expect(kept(oldScales, newScales, written.scales)).toBe(true);
}

/** New tokens with positions are queries. */
const AS_QUERIES = SEQUENCES.map(([sq]) => sq);
const POSITIONS = Int32Array.of(5, 0, 6, 3, 3, 1);

/** Numbers of a batch, and a cache of other bytes. */
function contentsOf(batch: Batch): HostBuffers {
  // Of queries and of the cache itself, nothing is read.
  const fresh = batch.problem.append!.newK as PagedRows;
  const buffers = filled({ ...batch, problem: { ...batch.problem, q: fresh, k: fresh, v: fresh } });
  scrambled(batch, buffers);
  return buffers;
}

describe('append_quantised', () => {
  test.each<{ why: string; options: BatchOptions; format: Format }>([
    { why: 'i8 whose heads share words', options: { headDim: 5 }, format: { dtype: 'i8' } },
    { why: 'i8 by whole words', options: { headDim: 12 }, format: { dtype: 'i8', scaleDType: 'f16' } },
    { why: 'i8, read 16 bytes at a time', options: { headDim: 16, dtype: 'bf16' }, format: { dtype: 'i8' } },
    { why: 'i8, rotated', options: { headDim: 6, dtype: 'f16', rotary: ROTARY }, format: { dtype: 'i8' } },
    {
      why: 'i8 in pages of three',
      options: { headDim: 7, pageSize: 3 },
      format: { dtype: 'i8', scaleDType: 'f16' },
    },
    { why: 'i8 of a head of more octets than lanes', options: { headDim: 270 }, format: { dtype: 'i8' } },
    { why: 'i8 with gaps', options: { headDim: 8 }, format: { dtype: 'i8', scaleDType: 'f16', gap: 3 } },
    { why: 'i4', options: { headDim: 32, dtype: 'f16' }, format: { dtype: 'i4' } },
    {
      why: 'i4, rotated, in pages',
      options: { headDim: 96, pageSize: 2, rotary: ROTARY },
      format: { dtype: 'i4', scaleDType: 'f16' },
    },
    {
      why: 'i4 whose heads share bytes',
      options: { headDim: 32 },
      format: { dtype: 'i4', scaleDType: 'f16', gap: 3 },
    },
    { why: 'i4 of a head of more octets than lanes', options: { headDim: 288 }, format: { dtype: 'i4' } },
    { why: 'e4m3 whose heads share words', options: { headDim: 5 }, format: { dtype: 'e4m3' } },
    {
      why: 'e4m3, rotated as halves of a head',
      options: { headDim: 16, rotary: { ...ROTARY, interleaved: false } },
      format: { dtype: 'e4m3' },
    },
    {
      why: 'i8, at positions of their own',
      options: { headDim: 6, rotary: ROTARY, newTokens: AS_QUERIES, tokens: { positions: POSITIONS } },
      format: { dtype: 'i8' },
    },
    {
      why: 'i4 in pages, at positions by sections',
      options: {
        headDim: 32,
        pageSize: 2,
        rotary: { ...ROTARY, sections: { pairs: [0, 1, 1], interleaved: false } },
        newTokens: AS_QUERIES,
        tokens: {
          positions: Int32Array.of(...POSITIONS, ...POSITIONS.toReversed(), ...POSITIONS.map((x) => 6 - x)),
        },
      },
      format: { dtype: 'i4', scaleDType: 'f16' },
    },
    {
      why: 'e4m3, at positions of their own, halves of a head',
      options: {
        headDim: 16,
        dtype: 'bf16',
        rotary: { ...ROTARY, interleaved: false },
        newTokens: AS_QUERIES,
        tokens: { positions: POSITIONS },
      },
      format: { dtype: 'e4m3' },
    },
    {
      why: 'i8, turned, of one octet, rotated',
      options: { headDim: 8, rotary: ROTARY },
      format: { dtype: 'i8', turned: true },
    },
    {
      why: 'i8, turned, of two elements',
      options: { headDim: 2, dtype: 'f16' },
      format: { dtype: 'i8', turned: true, scaleDType: 'f16' },
    },
    {
      why: 'i8, turned, of four invocations',
      options: { headDim: 512 },
      format: { dtype: 'i8', turned: true },
    },
    {
      why: 'i4, turned, of two invocations that share groups',
      options: { headDim: 128 },
      format: { dtype: 'i4', turned: true },
    },
    {
      why: 'i4, turned, in pages',
      options: { headDim: 64, dtype: 'bf16', pageSize: 3, rotary: ROTARY },
      format: { dtype: 'i4', turned: true, scaleDType: 'f16' },
    },
    {
      why: 'e4m3, turned',
      options: { headDim: 16, dtype: 'f16', rotary: { ...ROTARY, interleaved: false } },
      format: { dtype: 'e4m3', turned: true },
    },
    { why: 'e4m3 in pages', options: { headDim: 12, dtype: 'bf16', pageSize: 3 }, format: { dtype: 'e4m3' } },
  ])('writes new tokens, and nothing beside them: $why', ({ options, format }) => {
    const batch = quantised(options, format);
    for (const side of ['k', 'v'] as const) {
      const [before, after] = [contentsOf(batch), contentsOf(batch)];
      expect(interpret(dispatchOf(batch, side), after)).toEqual([]);
      checkWritten(batch, side, before, after);
    }
  });

  test.each(['i8', 'e4m3'] as const)('writes nothing where a page is not there: %s', (dtype) => {
    const batch = withoutPages(quantised({ headDim: 6, pageSize: 2 }, { dtype, scaleDType: 'f16' }));
    const [before, after] = [contentsOf(batch), contentsOf(batch)];
    expect(interpret(dispatchOf(batch, 'k'), after)).toEqual([]);
    checkWritten(batch, 'k', before, after);
  });

  const formats: Format[] = [
    { dtype: 'i8' },
    { dtype: 'i8', scaleDType: 'f16' },
    { dtype: 'i4' },
    { dtype: 'i4', scaleDType: 'f16' },
    { dtype: 'e4m3' },
  ];
  test.each(formats)('$dtype of any numbers, scales $scaleDType', (format) => {
    const batch = quantised({ headDim: 32 }, format);
    const newV = batch.problem.append!.newV!;
    const nHeads = HEADS * NEW_TOKENS.reduce((sum, n) => sum + n, 0);
    for (let first = 0; first < HARD_HEADS.length; first += nHeads) {
      const [before, after] = [contentsOf(batch), contentsOf(batch)];
      const numbers = Array.from({ length: nHeads }, (_, i) => [
        ...repeated(HARD_HEADS[(first + i) % HARD_HEADS.length]!.head, 32),
      ]).flat();
      after.write(newV.tensor, numbers);
      interpret(dispatchOf(batch, 'v'), after);
      checkWritten(batch, 'v', before, after);
    }
  });

  test.each([
    { dtype: 'i8', headDim: 128 },
    { dtype: 'i4', headDim: 128 },
  ] as const)('would race if largest elements were read before all were found: $dtype, turned', (of) => {
    const batch = quantised({ headDim: of.headDim }, { dtype: of.dtype, turned: true });
    const careless = (code: string) => code.replace(/workgroupBarrier\(\);/, '');
    expect(interpret(dispatchOf(batch, 'k'), contentsOf(batch), careless).join()).toContain('largest');
  });

  test('would race for the words that heads share, if it wrote whole ones', () => {
    const batch = quantised({ headDim: 6 }, { dtype: 'i8' });
    const dispatch = dispatchOf(batch, 'k');
    const careless = { ...dispatch, spec: { ...dispatch.spec, WORDS: true } };
    expect(interpret(careless, contentsOf(batch))).toContain('codes word 7: write beside write');
  });

  test('would race for the words that scales share, if it wrote whole ones', () => {
    const batch = quantised({ headDim: 8 }, { dtype: 'i8', scaleDType: 'f16' });
    const dispatch = dispatchOf(batch, 'k');
    const careless = (code: string) =>
      code
        .replace(/scales: array<atomic<u32>>/, 'scales: array<u32>')
        .replace(/atomicAnd\(&scales.*;/, '')
        .replace(/atomicOr\(&scales\[at \/ 2u\], bits << shift\);/, 'scales[at / 2u] = bits << shift;');
    expect(interpret(dispatch, contentsOf(batch), careless)).toContain('scales word 2: write beside write');
  });
});
