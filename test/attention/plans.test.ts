import { describe, expect, test } from 'vitest';
import {
  attnVarlen,
  attnWithKvCache,
  createRuntime,
  planAttnVarlen,
  planAttnWithKvCache,
  type AttentionPlan,
  type AttnVarlenArgs,
  type AttnWithKvCacheArgs,
  type Batch,
  type Step,
  type Tensor,
} from '../../src/index.js';
import { fakeBuffer, fakeTensor } from '../runtime/fakeDevice.js';
import { refusal } from '../check/refusal.js';
import { strictDevice } from '../runtime/strictDevice.js';
import { withGetters } from './withGetters.js';

/** A runtime whose device notes what is written to it, and what is bound. */
function notedRuntime() {
  const strict = strictDevice();
  const writes: (readonly number[])[] = [];
  const groups: (readonly GPUBufferBinding[])[] = [];
  const { queue, createBindGroup } = strict.device;
  const { writeBuffer } = queue;
  queue.writeBuffer = (buffer, offset, data) => {
    const { buffer: bytes, byteOffset, byteLength } = data as Uint8Array;
    writes.push([...new Uint8Array(bytes, byteOffset, byteLength)]);
    writeBuffer(buffer, offset, data);
    return undefined;
  };
  strict.device.createBindGroup = (descriptor) => {
    groups.push(Array.from(descriptor.entries, ({ resource }) => resource as GPUBufferBinding));
    return createBindGroup(descriptor);
  };
  return { ...strict, runtime: createRuntime(strict.device), writes, groups };
}

/** The step after: sequences of 5 + 1 and 9 + 2 tokens in pages of 4, as `BlockAllocator.batch` gives it. */
const BATCH = {
  nSequences: 2,
  nNewTokens: 3,
  blockTable: Int32Array.of(0, 1, -1, 4, 5, 3),
  tableWidth: 3,
  cacheSeqlens: Int32Array.of(5, 9),
  sequsedK: Int32Array.of(6, 11),
  cuSeqlensQ: Int32Array.of(0, 1, 3),
  cuSeqlensKNew: Int32Array.of(0, 1, 3),
  cacheBatchIdx: undefined,
  tokenPositions: Int32Array.of(5, 9, 10),
  slotMapping: Int32Array.of(5, 13, 14),
  maxSeqlenQ: 2,
  maxSeqlenK: 11,
};

const STEP = {
  ...BATCH,
  sequences: Int32Array.of(7, 8),
  tokens: Int32Array.of(1, 2, 3),
  sampled: Int32Array.of(7),
  sampledRows: Int32Array.of(0),
  swapsOut: [[1, 0]],
  copies: [[2, 3]],
  swapsIn: [],
};

const pages = () => fakeTensor('f32', [6, 4, 1, 32]);

/** A step of three new tokens, as the batch has it, but for the lengths and the table. */
function cacheArgs(): AttnWithKvCacheArgs {
  return {
    q: fakeTensor('f32', [3, 2, 32]),
    k: fakeTensor('f32', [3, 1, 32]),
    v: fakeTensor('f32', [3, 1, 32]),
    kCache: pages(),
    vCache: pages(),
    cacheSeqlens: [1, 2],
    cuSeqlensQ: [0, 2, 3],
    cuSeqlensKNew: [0, 2, 3],
    blockTable: [0, 1, 2, 3, 4, 5],
    causal: true,
    out: fakeTensor('f32', [3, 2, 32]),
  };
}

function varlenArgs(): AttnVarlenArgs {
  return {
    q: fakeTensor('f32', [3, 2, 32]),
    k: pages(),
    v: pages(),
    cuSeqlensQ: [0, 2, 3],
    sequsedK: [1, 2],
    blockTable: [0, 1, 2, 3, 4, 5],
    causal: true,
    out: fakeTensor('f32', [3, 2, 32]),
  };
}

const FORMS: Readonly<Record<string, () => object>> = {
  'a batch': () => BATCH,
  'a batch that is spread': () => ({ ...BATCH }),
  'a step': () => STEP,
  'a step of a class with getters': () => withGetters(STEP),
  'an object without a prototype': () => Object.assign(Object.create(null) as object, BATCH),
};

describe('a batch or a step is passed whole', () => {
  const { cacheSeqlens, sequsedK, cuSeqlensQ, cuSeqlensKNew, blockTable, maxSeqlenQ, maxSeqlenK } = BATCH;
  const most = { maxSeqlenQ, maxSeqlenK };
  const ofCache = { cacheSeqlens, cuSeqlensQ, cuSeqlensKNew, blockTable, ...most };
  const ofVarlen = { sequsedK, cuSeqlensQ, blockTable, ...most };

  test.each(Object.keys(FORMS))('update with %s is update with its fields', (form) => {
    const writesOf = <Args extends AttnVarlenArgs | AttnWithKvCacheArgs>(
      plan: (runtime: ReturnType<typeof createRuntime>) => AttentionPlan<Args>,
      changes: object,
    ) => {
      const { runtime, writes } = notedRuntime();
      const planned = plan(runtime);
      writes.length = 0;
      planned.update(changes as never);
      return writes;
    };
    const cache = (changes: object) =>
      writesOf((runtime) => planAttnWithKvCache(runtime, cacheArgs()), changes);
    const varlen = (changes: object) => writesOf((runtime) => planAttnVarlen(runtime, varlenArgs()), changes);
    expect(cache(ofCache).length).toBeGreaterThan(0);
    expect(cache(FORMS[form]!())).toEqual(cache(ofCache));
    expect(varlen(FORMS[form]!())).toEqual(varlen(ofVarlen));
  });

  test.each(Object.keys(FORMS))('calls and new plans with %s', (form) => {
    const writesOf = (run: (runtime: ReturnType<typeof createRuntime>) => void) => {
      const { runtime, writes } = notedRuntime();
      run(runtime);
      return writes;
    };
    const whole = FORMS[form]!();
    // Of arguments in a class with getters, all is in the class.
    const joined = (args: object) =>
      Object.keys(whole).length === 0 ? withGetters({ ...args, ...STEP }) : { ...args, ...whole };
    for (const call of [attnWithKvCache, planAttnWithKvCache] as const)
      expect(writesOf((runtime) => call(runtime, joined(cacheArgs()) as never))).toEqual(
        writesOf((runtime) => call(runtime, { ...cacheArgs(), ...ofCache })),
      );
    for (const call of [attnVarlen, planAttnVarlen] as const)
      expect(writesOf((runtime) => call(runtime, joined(varlenArgs()) as never))).toEqual(
        writesOf((runtime) => call(runtime, { ...varlenArgs(), ...ofVarlen })),
      );
  });

  test('what reads are overlapped by is seen in classes with getters too', () => {
    const { runtime } = notedRuntime();
    const args = varlenArgs();
    expect(
      refusal(() =>
        attnVarlen(runtime, withGetters({ ...args, out: { ...args.out!, buffer: args.q.buffer } })),
      ),
    ).toMatchInlineSnapshot(
      `"buffer: attnVarlen: out is in the same buffer as q. WebGPU cannot read and write a buffer in one dispatch: give out a buffer of its own."`,
    );
  });

  test('cacheBatchIdx: undefined clears one that the plan had', () => {
    const { runtime, writes } = notedRuntime();
    const plan = planAttnWithKvCache(runtime, { ...cacheArgs(), cacheBatchIdx: [1, 0] });
    const swapped = writes.slice();
    writes.length = 0;
    plan.update({ cacheBatchIdx: undefined });
    expect(writes.length).toBeGreaterThan(0);
    plan.update({ cacheBatchIdx: [1, 0] });
    expect(swapped).toContainEqual(writes.at(-1));
  });

  test('other names, and objects without any, are refused', () => {
    const { runtime } = notedRuntime();
    const plan = planAttnWithKvCache(runtime, cacheArgs());
    const varlen = planAttnVarlen(runtime, varlenArgs());
    const { nSequences, slotMapping } = BATCH;
    expect([
      // @ts-expect-error An update names an argument.
      refusal(() => plan.update({})),
      // @ts-expect-error What a batch has besides is no argument.
      refusal(() => plan.update({ nSequences, slotMapping })),
      refusal(() => varlen.update(withGetters({ slotMapping }) as never)),
      refusal(() => plan.update({ ...BATCH, positions: [5, 9, 10] } as never)),
      refusal(() => varlen.update({ cuSeqlensQ, seqUsedK: sequsedK } as never)),
      refusal(() => varlen.update({ ...BATCH, cacheBatchIdx: [1, 0] } as never)),
      refusal(() => plan.record(BATCH as never)),
    ]).toMatchInlineSnapshot(`
      [
        "argument: planAttnWithKvCache.update: the object names no argument, so nothing would change. Pass what is new, such as the lengths of the next step, or a whole batch.",
        "argument: planAttnWithKvCache.update: the object names no argument, so nothing would change. Pass what is new, such as the lengths of the next step, or a whole batch.",
        "argument: planAttnVarlen.update: the object names no argument, so nothing would change. Pass what is new, such as the lengths of the next step, or a whole batch.",
        "argument: planAttnWithKvCache.update: there is no argument positions. There are q, kCache, vCache, k, v, cacheSeqlens, cuSeqlensQ, cuSeqlensKNew, maxSeqlenQ, maxSeqlenK, blockTable, cacheBatchIdx, cacheLeftpad, rotaryCos, rotarySin, rotaryDim, rotaryInterleaved, softmaxScale, causal, windowSize, softcap, alibiSlopes, sinks, attentionChunk, numSplits, returnLse, out, lse, pass.",
        "argument: planAttnVarlen.update: there is no argument seqUsedK. There are q, k, v, cuSeqlensQ, cuSeqlensK, sequsedK, maxSeqlenQ, maxSeqlenK, blockTable, softmaxScale, causal, windowSize, softcap, alibiSlopes, sinks, attentionChunk, numSplits, returnLse, out, lse, pass.",
        "argument: planAttnVarlen.update: rows of blockTable are in the order of the sequences: leave cacheBatchIdx out.",
        "argument: planAttnWithKvCache.record: there is no argument nSequences. There are q, k, v, kCache, vCache, out, lse, pass. Lengths, tables and options are given to update.",
      ]
    `);
  });

  test('TypeScript takes batches and steps', () => {
    const takes = (plan: AttentionPlan<AttnWithKvCacheArgs>, batch: Batch, step: Step): void => {
      plan.update(batch);
      plan.update(step);
      plan.update({ ...batch, causal: true });
      plan.update({ cacheBatchIdx: undefined });
      const { runtime } = notedRuntime();
      attnWithKvCache(runtime, { ...cacheArgs(), ...step });
      planAttnVarlen(runtime, { ...varlenArgs(), ...batch });
      // @ts-expect-error A misspelt name.
      plan.update({ cacheSeqLens: [1] });
    };
    expect(takes).toBeTypeOf('function');
  });

  test('cuSeqlensKNew without k and v is what cuSeqlensQ is, or refused', () => {
    const { runtime, violations } = notedRuntime();
    const { k: _k, v: _v, ...args } = cacheArgs();
    const sums = fakeTensor('i32', [3]);
    const call = (change: object) => attnWithKvCache(runtime, { ...args, ...change });
    call({ cuSeqlensKNew: Float64Array.of(0, 2, 3) });
    call({ cuSeqlensQ: sums, cuSeqlensKNew: { ...sums, offset: 0, strides: [1] }, maxSeqlenQ: 2 });
    expect(violations).toEqual([]);
    const refused = [
      refusal(() => call({ cuSeqlensKNew: [0, 1, 3] })),
      refusal(() => call({ cuSeqlensKNew: [0, 3] })),
      refusal(() => call({ cuSeqlensKNew: sums })),
      refusal(() => call({ cuSeqlensQ: sums, cuSeqlensKNew: fakeTensor('i32', [3]), maxSeqlenQ: 2 })),
      refusal(() => call({ cuSeqlensQ: sums, cuSeqlensKNew: { ...sums, dtype: 'u32' }, maxSeqlenQ: 2 })),
    ];
    expect(new Set(refused).size).toBe(1);
    expect(refused[0]).toMatchInlineSnapshot(
      `"argument: attnWithKvCache: cuSeqlensKNew is given, but no new tokens k and v. Pass these, or leave it out: without them it may only be what cuSeqlensQ is."`,
    );
    expect(
      refusal(() => call({ cuSeqlensQ: sums, cuSeqlensKNew: { ...sums, shape: null }, maxSeqlenQ: 2 })),
    ).toMatchInlineSnapshot(`"shape: attnWithKvCache: cuSeqlensKNew must have the shape [B + 1], not null."`);
  });
});

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
    // Nor does what is handed out.
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

  test('layers are held against each other and against what the plan keeps', () => {
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
