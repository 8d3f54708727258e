import { describe, expect, test, vi } from 'vitest';
import type { Dispatch } from '../../src/core/dispatch.js';
import { checkedTuning } from '../../src/core/checkTuning.js';
import { tune, type Runtime, type TuneOptions, type TuneProgress, type Tuning } from '../../src/index.js';
import { defaultTuning } from '../../src/tuning/variations.js';
import { rejection } from '../check/refusal.js';
import { traitsOf } from '../plan/traits.js';
import { fakeRuntime, type Behaviour, type FakeTime } from './fakeRuntime.js';

// Times are those that the fake device is told to take.
vi.mock('../../src/runtime/stopwatch.js', () => ({
  timeRuns: (runtime: { time: FakeTime }, _: string, runs: Parameters<FakeTime>[0]) => runtime.time(runs),
}));

const LARGE = traitsOf({
  vendor: 'nvidia',
  shaderF16: true,
  subgroupMinSize: 32,
  subgroupMaxSize: 32,
  maxWorkgroupBytes: 49152,
  maxWorkgroupInvocations: 1024,
});
const MODEL = { nHeads: 32, nKvHeads: 8, headDim: 128, dtype: 'f16' } as const;

const isPrefill = ({ kernel }: Pick<Dispatch, 'kernel'>) => kernel.name === 'attn_prefill';
const isMatrix = ({ kernel }: Pick<Dispatch, 'kernel'>) => kernel.name === 'attn_matrix';
const isDecode = ({ kernel }: Pick<Dispatch, 'kernel'>) => kernel.name === 'attn_decode';

/** Attention takes a millisecond. */
const alike: Behaviour = { msOf: ({ kernel }) => (kernel.name.startsWith('attn_') ? 1 : 0) };

/** A device on which small workgroups decode faster, and many teams prefill faster. */
const isFavoured = (dispatch: Pick<Dispatch, 'kernel' | 'spec'>) =>
  (isDecode(dispatch) && dispatch.spec['WG_SIZE'] === 64) ||
  (isPrefill(dispatch) && dispatch.spec['TEAMS'] === 32);
const favoured: Behaviour = { msOf: (dispatch) => alike.msOf(dispatch) * (isFavoured(dispatch) ? 0.6 : 1) };

async function tuned(behaviour: Behaviour, options: Partial<TuneOptions> = {}, traits = LARGE) {
  const fake = fakeRuntime(traits, behaviour);
  const tuning = await tune(fake.runtime, { ...MODEL, ...options });
  expect(fake.live.size).toBe(0);
  return { ...fake, tuning };
}

describe('tune', () => {
  test('keeps the fastest tiles of both kernels, by the fields that tell them apart', async () => {
    const { tuning } = await tuned(favoured);
    expect(tuning.prefill).toEqual([
      {
        headDim: 128,
        headDimV: 128,
        dtype: 'f16',
        kvDType: 'f16',
        tile: expect.objectContaining({ teams: 32 }),
      },
    ]);
    expect(tuning.decode).toEqual([
      {
        headDim: 128,
        headDimV: 128,
        kvDType: 'f16',
        rows: 4,
        tile: expect.objectContaining({ invocations: 64 }),
      },
    ]);
  });

  test.each(['i8', 'i4', 'e4m3'] as const)('tunes for a cache of %s', async (kvDType) => {
    const { tuning } = await tuned(favoured, { kvDType });
    expect(tuning.prefill).toMatchObject([{ dtype: 'f16', kvDType, tile: { teams: 32 } }]);
    expect(tuning.decode).toMatchObject([{ kvDType, rows: 4, tile: { invocations: 64 } }]);
    expect(checkedTuning('createRuntime', tuning, LARGE)).toEqual(tuning);
  });

  test('returns plain data that createRuntime takes after a turn as JSON', async () => {
    const { tuning } = await tuned(favoured);
    const parsed = JSON.parse(JSON.stringify(tuning)) as Tuning;
    expect(parsed).toEqual(tuning);
    expect(checkedTuning('createRuntime', parsed, LARGE)).toEqual(tuning);
    expect(tuning.device).toMatchObject({
      vendor: 'nvidia',
      description: 'a fake',
      maxWorkgroupBytes: 49152,
    });
  });

  test('says which matrices have passed their test, and on which driver', async () => {
    const matrices = { componentType: 'f16', resultComponentType: 'f32', M: 16, N: 16, K: 16 } as const;
    const tested = { ...LARGE, tier: 'T2', matrices } as const;
    const { tuning } = await tuned({ ...alike, tested });
    expect(tuning).toMatchObject({ matrices, device: { tier: 'T1', description: 'a fake' } });
    expect(checkedTuning('createRuntime', tuning, LARGE)).toEqual(tuning);
    // What another driver has passed counts no more.
    const device = { ...tuning.device, description: 'another driver' };
    const again = await tuned(alike, {}, { ...LARGE, tuning: { ...tuning, device } });
    expect(again.tuning).toMatchObject({ matrices: null, device: { description: 'a fake' } });
    // Without time, nothing is tested.
    const late = await tuned({ ...alike, tested }, { budgetMs: 0 });
    expect(late.tuning.matrices).toBe(null);
  });

  describe('on a device with subgroup matrices', () => {
    const matrices = { componentType: 'f16', resultComponentType: 'f32', M: 16, N: 16, K: 16 } as const;
    const tested = { ...LARGE, tier: 'T2', matrices } as const;
    const tileOf = ({ prefill, decode }: Tuning) => [prefill[0]?.tile, decode[0]?.tile];
    /** A device on which what `isFast` says takes half the time. */
    const halved = (isFast: (dispatch: Pick<Dispatch, 'kernel' | 'spec'>) => boolean): Behaviour => ({
      msOf: (dispatch) => alike.msOf(dispatch) * (isFast(dispatch) ? 0.5 : 1),
      tested,
    });

    test('keeps the fastest tiles of attn_matrix', async () => {
      const { tuning } = await tuned(
        halved(
          ({ kernel, spec }) =>
            kernel.name === 'attn_matrix' && spec['ROW_BLOCKS'] === 1 && spec['PARTS'] === 1,
        ),
      );
      expect(tileOf(tuning)).toEqual([
        expect.objectContaining({ parts: 1, rowBlocks: 1 }),
        expect.objectContaining({ parts: 1, rowBlocks: 1 }),
      ]);
    });

    test('goes back to the other kernels where they are faster', async () => {
      const { tuning } = await tuned(halved(isMatrix));
      expect(tileOf(tuning)).toEqual([
        undefined,
        expect.objectContaining({ parts: expect.any(Number) as number }),
      ]);
      const behaviour = { ...halved((dispatch) => !isMatrix(dispatch)), tested: { ...tested, tuning } };
      const again = await tuned(behaviour, {}, { ...LARGE, tuning });
      expect(tileOf(again.tuning)).toEqual([
        expect.objectContaining({ teams: expect.any(Number) as number }),
        expect.objectContaining({ keyLanes: expect.any(Number) as number }),
      ]);
    });

    test('a tile of attn_matrix with wrong results never wins', async () => {
      const { tuning } = await tuned({
        ...halved((dispatch) => isMatrix(dispatch) && dispatch.spec['PARTS'] === 1),
        isRight: (dispatch) => !isMatrix(dispatch) || dispatch.spec['PARTS'] !== 1,
      });
      expect(tileOf(tuning)).toEqual([undefined, undefined]);
    });

    test('tiles that were tuned for other matrices are forgotten', async () => {
      const tile = { parts: 4, rowBlocks: 1, keys: 32 };
      const entry = { headDim: 64, headDimV: 64, kvDType: 'f16', rows: 4, tile } as const;
      const stale = { ...defaultTuning(LARGE, undefined), matrices: { ...matrices, M: 8 }, decode: [entry] };
      const { tuning } = await tuned({ ...alike, tested }, {}, { ...LARGE, tuning: stale });
      expect(tuning).toMatchObject({ matrices, decode: [] });
    });
  });

  test('changes nothing where nothing is faster by more than measurements differ', async () => {
    const almost: Behaviour = {
      msOf: (dispatch) => alike.msOf(dispatch) * (isFavoured(dispatch) ? 0.98 : 1),
    };
    for (const behaviour of [alike, almost]) {
      const { tuning } = await tuned(behaviour);
      const { rates: _, ...unchanged } = defaultTuning(LARGE, { description: 'a fake' });
      expect(tuning).toMatchObject(unchanged);
    }
  });

  test('finds the rates of both kernels', async () => {
    const { tuning } = await tuned(alike);
    const { macsPerSecond, bytesPerSecond } = defaultTuning(LARGE, undefined).rates;
    expect(tuning.rates.macsPerSecond).toBeGreaterThan(0);
    expect(tuning.rates.macsPerSecond).not.toBe(macsPerSecond);
    // 64 MiB of keys and as many of values, in a millisecond.
    expect(tuning.rates.bytesPerSecond).toBeCloseTo(2 ** 27 / 0.001, -9);
    expect(bytesPerSecond).not.toBe(tuning.rates.bytesPerSecond);
  });

  test('finds that fewer chunks are better where every workgroup costs', async () => {
    const slowChunks: Behaviour = { msOf: (dispatch) => alike.msOf(dispatch) * (dispatch.grid[0] / 100) };
    const { tuning } = await tuned(slowChunks);
    expect(tuning.chunks.workgroups).toBe(256);
  });

  test('finds the way to merge that is fastest', async () => {
    const eightAtOnce: Behaviour = {
      msOf: ({ kernel, spec }) => (kernel.name === 'merge_states' && spec['STEP_PARTS'] !== 8 ? 2 : 1),
    };
    const { tuning } = await tuned(eightAtOnce);
    expect(tuning.merge.stepParts).toBe(8);
  });

  test('a tile that is far off in one exercise does not win by another', async () => {
    const uneven: Behaviour = {
      msOf(dispatch) {
        if (!isDecode(dispatch) || dispatch.spec['WG_SIZE'] !== 64) return alike.msOf(dispatch);
        // Items are behind the sequences.
        const isBatch = dispatch.params['items_at']! > 15;
        return isBatch ? 0.1 : 2;
      },
    };
    const { tuning } = await tuned(uneven);
    expect(tuning.decode).toEqual([]);
  });

  test('a tile with wrong results never wins, however fast it is', async () => {
    const { tuning } = await tuned({ ...favoured, isRight: (dispatch) => !isFavoured(dispatch) });
    expect([...tuning.prefill, ...tuning.decode]).toEqual([]);
  });

  test('a tile that the compiler refuses is left out', async () => {
    const { tuning } = await tuned({
      ...favoured,
      compiles: (variant) => isPrefill(variant) || !isFavoured(variant),
    });
    expect(tuning.decode).toEqual([]);
    expect(tuning.prefill).toHaveLength(1);
  });

  test('every measurement begins with 60 ms of work, and measuring takes less than two seconds', async () => {
    const { streams } = await tuned(favoured);
    const measured = streams.filter((runs) => runs.length > 1);
    expect(measured.length).toBeGreaterThan(9);
    for (const [warmUp] of measured) expect(warmUp).toBeGreaterThanOrEqual(60);
    const total = streams.flat().reduce((sum, ms) => sum + ms, 0);
    expect(total).toBeLessThan(2000);
  });

  test('what is tuned for other sizes stays, and what was tuned before is replaced', async () => {
    const other = { headDim: 64, headDimV: 64, kvDType: 'f16', rows: 4, tile: { invocations: 128 } } as const;
    const old = { ...other, headDim: 128, headDimV: 128, tile: { invocations: 256, rows: 4, keyLanes: 4 } };
    const before = { ...defaultTuning(LARGE, undefined), decode: [other, old] };
    const { tuning } = await tuned(favoured, {}, { ...LARGE, tuning: before });
    expect(tuning.decode.map(({ headDim }) => headDim)).toEqual([64, 128]);
    expect(tuning.decode[0]).toEqual(other);
    expect(tuning.decode[1]!.tile).toMatchObject({ invocations: 64 });
  });

  test('when its time is up, what was not measured keeps its defaults', async () => {
    const { tuning } = await tuned({ ...favoured, compileMs: 1000 }, { budgetMs: 50 });
    expect(tuning).toEqual(defaultTuning(LARGE, { description: 'a fake' }));
  });

  test('tells how far it is, without going back', async () => {
    const seen: TuneProgress[] = [];
    await tuned(favoured, { onProgress: (progress) => seen.push(progress) });
    const done = seen.map((progress) => progress.done);
    expect(done).toEqual(done.toSorted((a, b) => a - b));
    expect([...new Set(seen.map(({ step }) => step))]).toEqual([
      'making tensors',
      'compiling attn_prefill',
      'measuring attn_prefill',
      'measured attn_prefill',
      'compiling attn_decode',
      'measuring attn_decode',
      'measured attn_decode',
      'compiling merge_states',
      'measuring merge_states',
      'measured merge_states',
      'compiling chunks',
      'measuring chunks',
      'measured chunks',
      'done',
    ]);
    expect(done.at(-1)).toBe(1);
  });

  test('stops with the reason of its signal, and frees its tensors', async () => {
    const fake = fakeRuntime(LARGE, { ...favoured, compileMs: 20 });
    const controller = new AbortController();
    const running = tune(fake.runtime, { ...MODEL, signal: controller.signal });
    setTimeout(() => controller.abort(new Error('enough')), 5);
    await expect(running).rejects.toThrow('enough');
    expect(fake.live.size).toBe(0);
  });

  test('refuses options that it cannot use', async () => {
    const { runtime } = fakeRuntime(LARGE, alike);
    const refused = (options: object) => rejection(tune(runtime, { ...MODEL, ...options }));
    expect([
      await rejection(tune(undefined as unknown as Runtime, MODEL)),
      await rejection(tune(runtime, undefined as unknown as TuneOptions)),
      await refused({ nHeads: 31 }),
      await refused({ headDim: 577 }),
      await refused({ dtype: 'i8' }),
      await refused({ kvDType: 'i2' }),
      await refused({ kvDType: 'i4', headDim: 80 }),
      await refused({ kvDType: 'i8', paged: false }),
      await refused({ paged: 1 }),
      await refused({ budgetMs: -1 }),
      await refused({ onProgress: 5 }),
      await refused({ signal: {} }),
      await refused({ headSize: 64 }),
    ]).toMatchInlineSnapshot(`
      [
        "argument: tune: runtime must be what createRuntime gives, not undefined.",
        "argument: tune: the arguments must be one object, not undefined.",
        "argument: tune: nHeads must be a multiple of nKvHeads, but there are 31 and 8.",
        "shape: tune: headDim is 577; it must be 1 to 576.",
        "argument: tune: dtype must be 'f32', 'f16' or 'bf16', not "i8".",
        "argument: tune: kvDType must be 'f32', 'f16', 'bf16', 'i8', 'i4' or 'e4m3', not "i2".",
        "shape: tune: headDim is 80; i4 needs a multiple of 32. Use i8.",
        "argument: tune: paged is false, but a cache of i8 is tuned in pages, and its tiles are those of rows, too. Leave paged out.",
        "argument: tune: paged must be true or false, not 1.",
        "argument: tune: budgetMs must be a whole number ≥ 0, not -1.",
        "argument: tune: onProgress must be a function, not 5.",
        "argument: tune: signal must be an AbortSignal, not a plain object.",
        "argument: tune: there is no argument headSize. There are nHeads, nKvHeads, headDim, headDimV, valuesInKeys, dtype, kvDType, paged, budgetMs, onProgress, signal.",
      ]
    `);
  });
});
