import { describe, expect, test } from 'vitest';
import { roundTo, type FloatDType } from '../../src/core/dtype.js';
import { turnHead } from '../../src/core/kvFormats.js';
import { elementCount } from '../../src/core/tensor.js';
import { planTurns } from '../../src/plan/planTurns.js';
import { hostBatchInfo } from '../../src/kernels/shared/batchInfo.js';
import type { AttentionProblem, PagedRows } from '../../src/problem/attentionProblem.js';
import { turnedProblem } from '../../src/problem/turned.js';
import { rotate } from '../../src/reference/attnWithKvCache.js';
import { StepMemory } from '../../src/core/stepMemory.js';
import { Random } from '../../tools/random.js';
import { batchOf, type Batch, type BatchOptions } from '../plan/batch.js';
import { fakeTensor } from '../runtime/fakeDevice.js';
import { GRID, NO_ITEMS, ROTARY } from './batchesOnHost.js';
import { HostBuffers, interpret } from './interpreter.js';

const SEQUENCES = [
  [1, 4],
  [0, 2],
  [3, 7],
  [2, 2],
] as const;
const NEW_TOKENS = SEQUENCES.map(([sq]) => sq);
const HEADS = 3;

/** A batch whose q and out have gaps, and whose heads are turned. */
function turnedBatch(options: BatchOptions, gap: number): Batch {
  const batch = batchOf(SEQUENCES, { heads: [HEADS, 1], newTokens: NEW_TOKENS, ...options });
  const { headDim, q } = batch.problem;
  const { dtype } = q.tensor;
  const rows = (): PagedRows => {
    const tokenStride = HEADS * headDim + gap;
    const shape = [6, HEADS, headDim];
    const tensor = fakeTensor(dtype, shape, { strides: [tokenStride, headDim, 1], offset: gap && 70 });
    return { tensor, pageStride: 0, sequenceStride: 0, tokenStride, headStride: headDim };
  };
  const problem: AttentionProblem = { ...batch.problem, q: rows(), out: rows() };
  return { ...batch, problem: turnedProblem(problem) };
}

/** Turns queries, then outputs, for which turned queries are taken. */
function turn({ problem, lengths }: Batch, buffers: HostBuffers, rewrite?: (code: string) => string) {
  const info = hostBatchInfo(problem, lengths, NO_ITEMS);
  const shared = { problem, batchInfo: info, memory: new StepMemory(), ...GRID };
  const { dispatches, rotatedQ, turnedOut, after } = planTurns(shared, lengths);
  const races = dispatches.flatMap((dispatch) => interpret(dispatch, buffers, rewrite));
  const queries = new Float32Array(buffers.contentsOf(rotatedQ!)).slice();
  new Float32Array(buffers.contentsOf(turnedOut!)).set(queries);
  races.push(...after.flatMap((dispatch) => interpret(dispatch, buffers, rewrite)));
  return { races, queries };
}

/** Elements in the order of memory. */
function stored(
  { tensor }: { readonly tensor: { readonly dtype: string; readonly buffer: GPUBuffer } },
  buffers: HostBuffers,
): number[] {
  const { dtype, buffer } = tensor;
  const size = buffer.size / (dtype === 'f32' ? 4 : 2);
  return Array.from(buffers.read({ buffer, dtype: dtype as FloatDType, shape: [size] }));
}

describe('turn_heads', () => {
  test.each<{ why: string; options: BatchOptions; gap: number }>([
    { why: 'heads of one element', options: { headDim: 1 }, gap: 0 },
    { why: 'two elements, halves that share words', options: { headDim: 2, dtype: 'f16' }, gap: 1 },
    { why: 'four elements', options: { headDim: 4, dtype: 'bf16' }, gap: 3 },
    { why: 'an octet, rotated', options: { headDim: 8, rotary: ROTARY }, gap: 0 },
    {
      why: 'two octets, rotated as halves of a head',
      options: { headDim: 16, dtype: 'f16', rotary: { ...ROTARY, interleaved: false } },
      gap: 4,
    },
    { why: 'heads of one invocation each', options: { headDim: 64, dtype: 'bf16' }, gap: 0 },
    { why: 'heads of two invocations', options: { headDim: 128, rotary: ROTARY }, gap: 0 },
    { why: 'of four invocations', options: { headDim: 256 }, gap: 0 },
    { why: 'of four invocations with more octets', options: { headDim: 512 }, gap: 0 },
    {
      why: 'positions of their own',
      options: { headDim: 32, rotary: ROTARY, tokens: { positions: Int32Array.of(5, 0, 6, 3, 3, 1) } },
      gap: 0,
    },
  ])('turns queries and outputs, and writes nothing beside them: $why', ({ options, gap }) => {
    const batch = turnedBatch(options, gap);
    const { problem, lengths } = batch;
    const { headDim, append, turned } = problem;
    const dtype = turned!.q.tensor.dtype as FloatDType;
    const { offset = 0 } = turned!.q.tensor;
    const random = new Random(3);
    const buffers = new HostBuffers();
    for (const { tensor } of [turned!.q, turned!.out!]) {
      const size = tensor.buffer.size / (dtype === 'f32' ? 4 : 2);
      buffers.write({ ...tensor, shape: [size] }, random.normals(size));
    }
    const [own, before] = [stored(turned!.q, buffers), stored(turned!.out!, buffers)];
    const { races, queries } = turn(batch, buffers);
    expect(races).toEqual([]);
    const after = stored(turned!.out!, buffers);

    const untouched = new Set(before.keys());
    lengths.qLen.forEach((qLen, b) => {
      for (let i = 0; i < qLen; i++)
        for (let head = 0; head < HEADS; head++) {
          const token = lengths.qStart[b]! + i;
          const from = offset + token * turned!.q.tokenStride + head * headDim;
          const query = Float64Array.from(own.slice(from, from + headDim));
          const positions = lengths.tokens?.positions as Int32Array | undefined;
          if (append?.rotary) {
            const { cos, sin, nPositions, pairs, interleaved } = append.rotary;
            const table = (data: unknown) => ({ data: data as Float32Array, shape: [nPositions, pairs] });
            const position = positions?.[token] ?? lengths.nCached[b]! + i;
            rotate(query, position, { cos: table(cos), sin: table(sin), interleaved });
          }
          const rotated = query.slice();
          turnHead(query);
          // Tensors of the runtime begin where the window does.
          const first = from - offset + (offset % (dtype === 'f32' ? 64 : 128));
          for (let d = 0; d < headDim; d++) {
            untouched.delete(from + d);
            expect(queries[first + d]).toBeCloseTo(query[d]!, 5);
            // Back again.
            expect(Math.abs(after[from + d]! - roundTo(dtype, rotated[d]!))).toBeLessThan(
              dtype === 'f32' ? 1e-5 : Math.abs(rotated[d]!) * 2 ** -7 + 1e-5,
            );
          }
        }
    });
    expect([...untouched].every((i) => before[i] === after[i])).toBe(true);
    expect(elementCount(turned!.out!.tensor.shape)).toBe(before.length - untouched.size);
  });

  test('would race if invocations that share a head made the same octets of it', () => {
    const careless = (code: string) => code.replaceAll(/let dim = \(lane \+/g, 'let dim = (0u +');
    const { races } = turn(turnedBatch({ headDim: 128 }, 0), new HostBuffers(), careless);
    expect(races.join()).toContain('out word');
  });
});
