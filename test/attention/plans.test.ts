import { describe, expect, test } from 'vitest';
import {
  attnWithKvCache,
  createRuntime,
  planAttnVarlen,
  planAttnWithKvCache,
  type Tensor,
} from '../../src/index.js';
import { fakeBuffer, fakeTensor } from '../runtime/fakeDevice.js';
import { strictDevice } from '../runtime/strictDevice.js';
import { refusal } from '../check/refusal.js';
import { BATCH, cacheArgs, notedRuntime, pages, varlenArgs } from './planInputs.js';

describe('a plan keeps what it is given by value', () => {
  /** A tensor that begins so many bytes into a buffer of 4096. */
  const placed = (bytes: number, buffer = fakeBuffer(4096)): Tensor => ({
    buffer,
    dtype: 'f32',
    shape: [3, 2, 32],
    offset: bytes / 4,
  });

  test('a tensor that was changed in place is bound as it is', () => {
    const { runtime, groups } = notedRuntime();
    const plan = planAttnVarlen(runtime, varlenArgs());
    const q = { ...placed(0) };
    const out = { ...placed(0) };
    plan.record({ q, out });
    const bound = ({ buffer }: Tensor) =>
      groups.flatMap((group) => group.filter((entry) => entry.buffer === buffer).map(({ offset }) => offset));
    expect(new Set(bound(q))).toEqual(new Set([0]));
    Object.assign(q, { offset: 256 });
    plan.record({ q, out });
    expect(new Set(bound(q))).toEqual(new Set([0, 1024]));
    Object.assign(out, { buffer: fakeBuffer(4096) });
    expect(bound(out)).toEqual([]);
    expect(plan.record({ q, out }).out).toBe(out);
    expect(new Set(bound(out))).toEqual(new Set([0]));
    // The same views in objects of their own.
    const nGroups = groups.length;
    plan.record({ q: { ...q, shape: [...q.shape], strides: [64, 32, 1] }, out: { ...out } });
    expect(groups.length).toBe(nGroups);
  });

  test('what does not fit is refused, however often it fitted before', () => {
    const { runtime, touched } = notedRuntime();
    const plan = planAttnVarlen(runtime, varlenArgs());
    const q = { ...placed(0) };
    const out = placed(0);
    plan.record({ q, out });
    const record = (changes: object) => {
      const before = touched.submits;
      const sentence = refusal(() => plan.record({ q: { ...q, ...changes }, out }));
      expect(touched.submits).toBe(before);
      return sentence;
    };
    expect([
      record({ offset: 1 }),
      record({ offset: -64 }),
      record({ offset: 1024 }),
      record({ offset: '64' }),
      record({ offset: null }),
      record({ offset: 2 ** 60 }),
      record({ shape: [3, 2, 16] }),
      record({ shape: Int32Array.of(3, 2, 32) }),
      record({ strides: [0, 32, 1] }),
      record({ strides: [64, 32] }),
      record({ dtype: 'u32' }),
      record({ buffer: undefined }),
      record({ buffer: 5 }),
      record({ buffer: fakeBuffer(4096, 8) }),
      record({ buffer: out.buffer }),
    ]).toMatchInlineSnapshot(`
      [
        "shape: planAttnVarlen.record: q begins 1 elements after a multiple of 256 bytes, but the plan was made for 0. Place all layers alike.",
        "shape: planAttnVarlen.record: the offset of q must be a whole number ≥ 0, not -64.",
        "buffer: planAttnVarlen.record: q ends at byte 4864 of a buffer of 4096 bytes. Check its shape, strides and offset.",
        "shape: planAttnVarlen.record: the offset of q must be a whole number ≥ 0, not "64".",
        "shape: planAttnVarlen.record: the offset of q must be a whole number ≥ 0, not null.",
        "shape: planAttnVarlen.record: the offset of q must be a whole number ≥ 0, not 1152921504606847000.",
        "shape: planAttnVarlen.record: the shape of q is [3, 2, 16], but the plan was made for [3, 2, 32]. Pass the tensors of a new step to update; within a step, give all layers the same, or make a plan for each kind.",
        "shape: planAttnVarlen.record: q must have the shape [3, 2, 32], not a Int32Array.",
        "shape: planAttnVarlen.record: the strides of q are [0, 32, 1], but the plan was made for [64, 32, 1]. Pass the tensors of a new step to update; within a step, give all layers the same, or make a plan for each kind.",
        "shape: planAttnVarlen.record: the strides of q must be 3 whole numbers ≥ 0, not [64, 32].",
        "dtype: planAttnVarlen.record: q is u32, but the plan was made for f32.",
        "buffer: planAttnVarlen.record: q.buffer must be a GPUBuffer, not undefined.",
        "buffer: planAttnVarlen.record: q.buffer must be a GPUBuffer, not 5.",
        "buffer: planAttnVarlen.record: the buffer of q must be made with GPUBufferUsage.STORAGE.",
        "buffer: planAttnVarlen.record: out is in the same buffer as q. WebGPU cannot read and write a buffer in one dispatch: give out a buffer of its own.",
      ]
    `);
  });

  test('arrays that another step has overwritten change nothing, for new layers and later updates', () => {
    const { runtime, writes } = notedRuntime();
    const batch = structuredClone(BATCH);
    const alibiSlopes = Float32Array.of(1, 2);
    const windowSize: [number, number] = [100, 0];
    const plan = planAttnWithKvCache(runtime, { ...cacheArgs(), ...batch, alibiSlopes, windowSize });
    const before = writes.slice();
    for (const list of [batch.blockTable, batch.cacheSeqlens, batch.cuSeqlensQ, batch.cuSeqlensKNew])
      list.fill(77);
    alibiSlopes.fill(NaN);
    windowSize[0] = -5;
    plan.record({ kCache: pages(), vCache: pages(), out: fakeTensor('f32', [3, 2, 32]) });
    plan.update({ causal: true });
    expect(writes).toEqual(before);
  });

  test('tensors of the plan that are changed afterwards change nothing', () => {
    const { runtime, groups } = notedRuntime();
    const args = { ...varlenArgs(), q: { ...placed(0) }, out: { ...placed(0) } };
    const [q, out] = [{ ...args.q }, { ...args.out }];
    const plan = planAttnVarlen(runtime, args);
    Object.assign(args.q, { offset: 256, shape: [] });
    Object.assign(args.out, { buffer: fakeBuffer(4) });
    const result = plan.record();
    expect(result).toEqual({ out });
    const offsets = groups.flat().flatMap(({ buffer, offset }) => (buffer === q.buffer ? offset : []));
    expect(new Set(offsets)).toEqual(new Set([0]));
    // Nor do changes of the tensors that record returns.
    Object.assign(result.out, { buffer: fakeBuffer(4) });
    expect(plan.record()).toEqual({ out });
    plan.update({ causal: false });
    expect(plan.record()).toEqual({ out });
  });

  test('a refused update leaves the plan as it was', () => {
    const { runtime, writes, groups } = notedRuntime();
    const plan = planAttnVarlen(runtime, varlenArgs());
    plan.record();
    const [nWrites, nGroups] = [writes.length, groups.length];
    expect(refusal(() => plan.update({ ...BATCH, blockTable: [0, 1, 2, 3, 4, 9] }))).toMatchInlineSnapshot(
      `"length: planAttnVarlen.update: blockTable gives sequence 1 the page 9 for keys 8 to 10, but there are pages 0 to 5. Reserve pages first."`,
    );
    plan.record();
    expect([writes.length, groups.length]).toEqual([nWrites, nGroups]);
  });

  test('overlaps are found within a layer and with tensors that the plan keeps', () => {
    const { runtime } = notedRuntime();
    const blockTable = fakeTensor('i32', [2, 3]);
    const plan = planAttnWithKvCache(runtime, { ...cacheArgs(), blockTable });
    const { buffer } = pages();
    const record = (tensors: Parameters<typeof plan.record>[0]) => refusal(() => plan.record(tensors));
    expect([
      record({ kCache: { ...pages(), buffer }, vCache: { ...pages(), buffer } }),
      record({ kCache: { ...pages(), buffer }, k: { ...fakeTensor('f32', [3, 1, 32]), buffer } }),
      record({ kCache: { ...pages(), buffer }, out: { ...fakeTensor('f32', [3, 2, 32]), buffer } }),
      record({ out: { ...fakeTensor('f32', [3, 2, 32]), buffer: { ...buffer, size: 100 } as GPUBuffer } }),
    ]).toMatchInlineSnapshot(`
      [
        "buffer: planAttnWithKvCache.record: kCache and vCache overlap, so new keys and values would overwrite each other.",
        "buffer: planAttnWithKvCache.record: kCache is in the same buffer as k. WebGPU cannot read and write a buffer in one dispatch: give k a buffer of its own.",
        "buffer: planAttnWithKvCache.record: out is in the same buffer as kCache. WebGPU cannot read and write a buffer in one dispatch: give out a buffer of its own.",
        "buffer: planAttnWithKvCache.record: out ends at byte 768 of a buffer of 100 bytes. Check its shape, strides and offset.",
      ]
    `);
    const roomy = fakeBuffer(4096);
    const tableInOut = { ...blockTable, buffer: roomy };
    plan.update({ blockTable: tableInOut });
    expect(record({ out: { ...fakeTensor('f32', [3, 2, 32]), buffer: roomy } })).toMatchInlineSnapshot(
      `"buffer: planAttnWithKvCache.record: out is in the same buffer as blockTable. WebGPU cannot read and write a buffer in one dispatch: give out a buffer of its own."`,
    );
  });
});

describe('one dispatch appends and rotates where WebGPU lets it', () => {
  const SHAPE = [1, 8, 1, 32];

  /** A cache of one sequence, and its new token. */
  function argsWith(tensors: Partial<Record<'q' | 'k' | 'v' | 'kCache' | 'vCache', Tensor>> = {}) {
    return {
      q: fakeTensor('f32', [1, 1, 2, 32]),
      k: fakeTensor('f32', [1, 1, 1, 32]),
      v: fakeTensor('f32', [1, 1, 1, 32]),
      kCache: fakeTensor('f32', SHAPE),
      vCache: fakeTensor('f32', SHAPE),
      ...tensors,
      cacheSeqlens: [3],
      rotaryCos: fakeTensor('f32', [8, 16]),
      rotarySin: fakeTensor('f32', [8, 16]),
      out: fakeTensor('f32', [1, 1, 2, 32]),
    };
  }

  const at = (buffer: GPUBuffer, shape: readonly number[], offset: number): Tensor => ({
    buffer,
    dtype: 'f32',
    shape,
    offset,
  });

  const shared = fakeBuffer(8192);
  const pools = { kCache: at(shared, SHAPE, 0), vCache: at(shared, SHAPE, 512) };
  const beside = (shape: readonly number[]) => at(shared, shape, 1024);
  const interleaved = {
    kCache: { ...at(shared, SHAPE, 0), strides: [512, 64, 64, 1] },
    vCache: { ...at(shared, SHAPE, 32), strides: [512, 64, 64, 1] },
  };

  test.each([
    { why: 'buffers of their own', tensors: {}, nDispatches: [2, 3] },
    { why: 'both caches in one buffer', tensors: pools, nDispatches: [2, 3] },
    {
      why: 'values from the buffer of the keys',
      tensors: { kCache: pools.kCache, v: beside([1, 1, 1, 32]) },
      nDispatches: [4, 4],
    },
    {
      why: 'queries from the buffer of a cache',
      tensors: { vCache: pools.vCache, q: beside([1, 1, 2, 32]) },
      nDispatches: [4, 4],
    },
    { why: 'caches that interleave', tensors: interleaved, nDispatches: [4, 4] },
  ])('$why', ({ tensors, nDispatches }) => {
    const counts = [10, 8].map((maxStorageBuffersPerShaderStage) => {
      const { device, touched, violations } = strictDevice({ maxStorageBuffersPerShaderStage });
      attnWithKvCache(createRuntime(device), argsWith(tensors));
      expect(violations).toEqual([]);
      return touched.dispatches;
    });
    expect(counts).toEqual(nDispatches);
  });

  test('a layer that needs more dispatches than its plan has is refused', () => {
    const { device, violations } = strictDevice();
    const runtime = createRuntime(device);
    const plan = planAttnWithKvCache(runtime, argsWith());
    const layer = argsWith({ kCache: pools.kCache, v: beside([1, 1, 1, 32]) });
    const { q, k, v, kCache, vCache } = layer;
    plan.record({ q, k, kCache, vCache });
    expect(refusal(() => plan.record({ q, k, v, kCache, vCache }))).toMatchInlineSnapshot(
      `"buffer: planAttnWithKvCache.record: k, v or q shares its buffer with a cache, or the caches interleave, unlike the tensors that the plan was made with. Make another plan for such layers."`,
    );
    plan.update({ v, kCache });
    plan.record({ q, k, v, kCache, vCache });
    plan.record({ q, k, v: argsWith().v, kCache, vCache });
    expect(violations).toEqual([]);
  });
});
