import { describe, expect, test } from 'vitest';
import { Call } from '../../src/check/call.js';
import type { KnownAnswer } from '../../src/core/knownAnswer.js';
import {
  createRuntime,
  planAttnVarlen,
  type AttentionPlan,
  type AttnVarlenArgs,
  type PrepareProgress,
} from '../../src/index.js';
import { rejection } from '../check/refusal.js';
import {
  conditionalVariants,
  dispatchOf,
  INFO,
  MATRIX_KERNEL,
  matrixDevice,
  type Driver,
  started,
  ZEROS,
} from './matrixDevice.js';

const TESTED = 'with_matrices{TEST}';
const PLAIN = ['always{}', 'scalar{ONE}', 'scalar{TWO}'];
const MATRICES = ['always{}', 'with_matrices{}'];

describe('prepare', () => {
  test('tests matrices, then compiles the kernels that use them', async () => {
    const { runtime, modules, live } = started();
    const before = runtime.traits;
    const { variants, nTests } = conditionalVariants();
    const seen: PrepareProgress[] = [];
    await runtime.prepare([...variants, ...variants], { onProgress: (progress) => seen.push(progress) });
    expect(modules).toEqual([TESTED, ...MATRICES]);
    expect(seen).toEqual([1, 2].map((done) => ({ done, total: 2 })));
    expect(before).toMatchObject({ tier: 'T1', matrices: null });
    expect(runtime.traits).not.toBe(before);
    expect(Object.isFrozen(runtime.traits)).toBe(true);
    expect(runtime.traits).toEqual({
      ...before,
      tier: 'T2',
      matrices: { componentType: 'f16', resultComponentType: 'f32', M: 16, N: 16, K: 16 },
      matricesNote:
        'Attention uses subgroup matrices (f16 → f32 in 16×16×16), which have passed their self-test.',
    });
    expect(runtime.traits).toBe(runtime.candidate);
    expect(live.size).toBe(0);
    await runtime.prepare(variants);
    expect(nTests()).toBe(1);
    expect(modules).toEqual([TESTED, ...MATRICES]);
  });

  test('tests them for several calls once', async () => {
    const { runtime, modules } = started();
    const { variants, nTests } = conditionalVariants();
    await Promise.all([runtime.prepare(variants), runtime.prepare(variants.toReversed())]);
    expect(nTests()).toBe(1);
    expect(modules.toSorted()).toEqual([TESTED, ...MATRICES].toSorted());
    expect(runtime.traits.tier).toBe('T2');
  });

  test('does not test them for kernels that none of them are', async () => {
    const { runtime } = started();
    const { variants, nTests } = conditionalVariants();
    await runtime.prepare(variants.slice(0, 1));
    expect(nTests()).toBe(0);
    expect(runtime.traits.tier).toBe('T1');
  });

  test('compiles the others on a device that has none', async () => {
    const { device, modules } = matrixDevice({ features: [] });
    const runtime = createRuntime(device, { adapterInfo: INFO });
    const { variants, nTests } = conditionalVariants();
    await runtime.prepare(variants);
    expect(nTests()).toBe(0);
    expect(modules).toEqual(PLAIN);
  });

  test('works on a lost device as it does without matrices', async () => {
    const { runtime, lose } = started();
    const { variants } = conditionalVariants();
    const prepared = runtime.prepare(variants);
    lose('a test');
    expect(await rejection(prepared)).toMatchInlineSnapshot(
      `"device: prepare: the runtime cannot be used any more, since the device was lost (unknown): a test."`,
    );
    expect(runtime.traits.tier).toBe('T1');
  });

  test('rejects when the runtime is destroyed while they are tested, and compiles no more', async () => {
    const { runtime, driver, modules, live } = started();
    let release = (): void => {};
    const held = new Promise<void>((resolve) => (release = resolve));
    driver.hold = () => held;
    const prepared = runtime.prepare(conditionalVariants().variants);
    await someTurns();
    runtime.destroy();
    expect(await rejection(prepared)).toMatchInlineSnapshot(
      `"device: prepare: the runtime cannot be used any more, since it was destroyed."`,
    );
    release();
    await someTurns();
    expect(modules).toEqual([TESTED]);
    expect(live.size).toBe(0);
  });

  test('stops waiting for a test at a signal; another call goes on', async () => {
    const { runtime, driver } = started();
    let release = (): void => {};
    const held = new Promise<void>((resolve) => (release = resolve));
    driver.hold = () => held;
    const { variants, nTests } = conditionalVariants();
    const stop = new AbortController();
    const first = runtime.prepare(variants, { signal: stop.signal });
    const second = runtime.prepare(variants);
    await someTurns();
    stop.abort();
    expect(await first.catch((reason: unknown) => reason)).toBe(stop.signal.reason);
    release();
    await second;
    expect(nTests()).toBe(1);
    expect(runtime.traits.tier).toBe('T2');
  });

  test('stops the test at a signal if no other call waits, and the next call tests again', async () => {
    const { runtime, driver, modules } = started();
    const many = Array.from({ length: 50 }, (_, i) => ({
      ...ZEROS,
      dispatches: [dispatchOf(MATRIX_KERNEL, { TEST: i })],
    }));
    const { variants, nTests } = conditionalVariants(many);
    const stop = new AbortController();
    driver.refuses = () => {
      if (modules.length === 3) stop.abort();
      return false;
    };
    const first = runtime.prepare(variants, { signal: stop.signal });
    expect(await first.catch((reason: unknown) => reason)).toBe(stop.signal.reason);
    await someTurns(100);
    expect(modules.length).toBeLessThan(10);
    expect(runtime.traits.tier).toBe('T1');
    await runtime.prepare(variants);
    expect(nTests()).toBe(2);
    expect(runtime.traits.tier).toBe('T2');
  });
});

describe('where matrices fail', () => {
  const [zeros] = ZEROS.outputs;
  const five = { ...ZEROS, outputs: [{ ...zeros!, expected: Float64Array.of(0, 0, 5, 0, 0, 0, 0, 0) }] };
  const fails: readonly {
    readonly at: string;
    readonly answers?: readonly KnownAnswer[];
    readonly driver?: Partial<Driver>;
    readonly says: string;
  }[] = [
    { at: 'a wrong number', answers: [ZEROS, five], says: 'zeros: out[2] was 0.000, not 5.000' },
    { at: 'a number that is none', driver: { byteAt: () => 255 }, says: 'zeros: out[0] was NaN, not 0.000' },
    {
      at: 'other bits of the second run',
      driver: { byteAt: (at) => (at === 36 ? 1 : 0) },
      says: 'zeros: out had other bits when it ran again',
    },
    {
      at: 'a refusal of the compiler',
      driver: { refuses: (label) => label === TESTED },
      says: 'The compiler refused with_matrices{TEST}. line 1: no matrices today',
    },
    {
      at: 'work that the device refuses',
      driver: { error: 'a barrier is missing' },
      says: 'prepare: the device refused to read: a barrier is missing',
    },
    {
      at: 'a mapping that fails',
      driver: { hold: () => Promise.reject(new Error('no pages')) },
      says: 'prepare: what was read could not be mapped: no pages',
    },
    {
      at: 'an error of the browser',
      driver: {
        onBind: () => {
          throw new TypeError('not a GPUBuffer');
        },
      },
      says: 'not a GPUBuffer',
    },
    { at: 'nothing to test', answers: [], says: 'no kernel would use them' },
  ];

  test.each(fails)(
    'at $at, kernels without them are used, in silence',
    async ({ answers, says, ...fail }) => {
      const { runtime, driver, modules, live } = started();
      const { variants, nTests } = conditionalVariants(answers);
      Object.assign(driver, fail.driver);
      const seen: PrepareProgress[] = [];
      await runtime.testMatrices('prepare', variants[1]!.when!.test, undefined);
      driver.error = undefined;
      await runtime.prepare(variants, { onProgress: (progress) => seen.push(progress) });
      expect(modules.filter((label) => label !== TESTED)).toEqual(PLAIN);
      expect(seen).toEqual([1, 2, 3].map((done) => ({ done, total: 3 })));
      expect(runtime.traits).toMatchObject({ tier: 'T1', matrices: null });
      expect(Object.isFrozen(runtime.traits)).toBe(true);
      expect(runtime.candidate).toBe(null);
      expect(runtime.traits.matricesNote).toBe(
        `Subgroup matrices (f16 → f32 in 16×16×16) are not used: their self-test failed (${says}).`,
      );
      await runtime.done();
      expect(nTests()).toBe(1);
      expect(live.size).toBe(0);
    },
  );

  test('at a kernel that was prepared after the test, those without are compiled', async () => {
    const { runtime, driver, modules } = started();
    driver.refuses = (label) => label === 'with_matrices{}';
    const { variants } = conditionalVariants();
    const seen: PrepareProgress[] = [];
    await runtime.prepare(variants, { onProgress: (progress) => seen.push(progress) });
    expect(modules).toEqual([TESTED, ...MATRICES, ...PLAIN.slice(1)]);
    expect(seen.slice(-3)).toEqual([1, 2, 3].map((done) => ({ done, total: 3 })));
    expect(runtime.traits.tier).toBe('T1');
    expect(runtime.traits.matricesNote).toMatchInlineSnapshot(
      `"Subgroup matrices (f16 → f32 in 16×16×16) are not used: The compiler refused with_matrices{}. line 1: no matrices today."`,
    );
  });

  test('for one of two calls, both compile those without', async () => {
    const { runtime, driver, modules } = started();
    driver.refuses = (label) => label === 'with_matrices{}';
    const { variants } = conditionalVariants();
    await Promise.all([runtime.prepare(variants.slice(0, 3)), runtime.prepare(variants.slice(0, 4))]);
    expect(runtime.traits.tier).toBe('T1');
    expect(new Set(modules)).toEqual(new Set([TESTED, ...MATRICES, ...PLAIN]));
  });

  test('a refusal of another kernel is thrown', async () => {
    const { runtime, driver } = started();
    driver.refuses = (label) => label === 'always{}';
    const { variants } = conditionalVariants();
    expect(await rejection(runtime.prepare(variants))).toMatch(/^compile: The compiler refused always\{\}/);
    expect(runtime.traits.tier).toBe('T2');
  });

  test('at a kernel that was not prepared, the call reports it, and later ones use none', async () => {
    const { runtime, driver } = started();
    await runtime.prepare(conditionalVariants().variants);
    driver.refuses = (label) => label === 'with_matrices{LATE}';
    const call = new Call('a call', runtime);
    expect(call.traits.tier).toBe('T2');
    runtime.submit([dispatchOf(MATRIX_KERNEL, { LATE: true })]);
    expect(await rejection(runtime.done())).toMatch(/^compile: The compiler refused with_matrices\{LATE\}/);
    expect(runtime.traits.tier).toBe('T1');
    expect(call.traits).toBe(runtime.traits);
    expect(runtime.traits.matricesNote).toMatch(/not used: The compiler refused with_matrices/);
    await runtime.done();
  });
});

test('a plan that was made before uses matrices from its next step on, and none once they are refused', async () => {
  const { runtime, modules, driver } = started();
  const q = runtime.createTensor([80, 4, 64], 'f16');
  const k = runtime.createTensor([80, 2, 64], 'f16');
  const kernelsOf = (step: () => unknown): string[] => {
    const before = modules.length;
    step();
    return modules.slice(before).map((label) => label.replace(/\{.*/, ''));
  };
  let plan: AttentionPlan<AttnVarlenArgs>;
  const lengths = (n: number) => ({ cuSeqlensQ: [0, n], cuSeqlensK: [0, n] });
  const args = { q, k, v: k, causal: true, ...lengths(60) };
  expect(kernelsOf(() => (plan = planAttnVarlen(runtime, args)))).toEqual(['attn_prefill']);
  await runtime.prepare(conditionalVariants().variants);
  driver.refuses = (label) => label.startsWith('attn_matrix');
  expect(kernelsOf(() => plan.update(lengths(70)))).toEqual(['attn_matrix']);
  expect(await rejection(runtime.done())).toMatch(/^compile: The compiler refused attn_matrix/);
  expect(runtime.traits.tier).toBe('T1');
  // It was compiled for the first step.
  expect(kernelsOf(() => plan.update(lengths(80)))).toEqual([]);
  plan!.record({ out: runtime.createTensor([80, 4, 64], 'f16') });
  await runtime.done();
});

/** As many turns of the event loop as a few steps of `prepare` take. */
async function someTurns(n = 20): Promise<void> {
  for (let i = 0; i < n; i++) await new Promise((resolve) => setTimeout(resolve, 0));
}
