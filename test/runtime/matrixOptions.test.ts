import { describe, expect, test } from 'vitest';
import { createRuntime, type RuntimeOptions, type Tuning } from '../../src/index.js';
import { MATRIX_FEATURE, type AdapterInfo } from '../../src/runtime/adapterInfo.js';
import { defaultTuning } from '../../src/tuning/variations.js';
import { refusal } from '../check/refusal.js';
import { conditionalVariants, FEATURES, INFO, matrixDevice, started } from './matrixDevice.js';

const F16 = { componentType: 'f16', resultComponentType: 'f32', M: 16, N: 16, K: 16 } as const;

describe('a device whose matrices', () => {
  const noteOf = (device: Parameters<typeof matrixDevice>[0], options: RuntimeOptions = {}): string => {
    const { traits, candidate } = createRuntime(matrixDevice(device).device, {
      adapterInfo: INFO,
      ...options,
    });
    expect([traits.matrices, candidate]).toEqual([null, null]);
    expect(traits.tier).toBe(options.tier === 'T0' ? 'T0' : 'T1');
    return traits.matricesNote;
  };

  test('are not to be used says why', () => {
    const without = (feature: string) => ({ features: FEATURES.filter((each) => each !== feature) });
    expect([
      noteOf({}, { tier: 'T1' }),
      noteOf({}, { tier: 'T0' }),
      noteOf(without(MATRIX_FEATURE)),
      noteOf({}, { adapterInfo: undefined }),
      noteOf({}, { adapterInfo: { ...INFO, subgroupMatrixConfigs: [] } }),
      noteOf(
        {},
        { adapterInfo: { ...INFO, subgroupMatrixConfigs: [{ ...F16, resultComponentType: 'f16' }] } },
      ),
      noteOf(without('shader-f16')),
      noteOf(without('subgroups')),
      noteOf({ limits: { maxComputeInvocationsPerWorkgroup: 16 } }),
    ]).toMatchInlineSnapshot(`
      [
        "Subgroup matrices are not used: tier T1 was asked for.",
        "Subgroup matrices are not used: tier T0 was asked for.",
        "Subgroup matrices are not used: the device was made without chromium-experimental-subgroup-matrix.",
        "Subgroup matrices are not used: what the device multiplies is known to its adapter only. Use requestDevice(), or pass adapterInfo: adapter.info to createRuntime.",
        "Subgroup matrices are not used: what the device multiplies is known to its adapter only. Use requestDevice(), or pass adapterInfo: adapter.info to createRuntime.",
        "Subgroup matrices are not used: no configuration of the adapter multiplies f16 or f32 into sums of f32 in multiples of 8; there are f16 → f16 in 16×16×16.",
        "Subgroup matrices are not used: the configurations of the adapter multiply f16, and the device was made without shader-f16.",
        "Subgroup matrices are not used: the device was made without subgroups.",
        "Subgroup matrices are not used: a subgroup may have 32 invocations, but the device allows 16 in a workgroup.",
      ]
    `);
  });

  test('may be used says what is to be done', () => {
    const { runtime } = started();
    expect(runtime.traits).toMatchObject({ tier: 'T1', matrices: null });
    expect(runtime.candidate).toMatchObject({ tier: 'T2', matrices: F16 });
    expect(runtime.traits.matricesNote).toMatchInlineSnapshot(
      `"Subgroup matrices (f16 → f32 in 16×16×16) are not used before prepare, prepareModel or tune has tested them."`,
    );
  });
});

describe('a tuning', () => {
  const tuned = (changes: Partial<Tuning> = {}, options: RuntimeOptions = {}) => {
    const { runtime, device } = started();
    const own = defaultTuning(runtime.traits, INFO as GPUAdapterInfo);
    const tuning: Tuning = { ...own, matrices: F16, ...changes };
    return createRuntime(device, { adapterInfo: INFO, ...options, tuning });
  };
  const onDriver = (description: string): Partial<Tuning> => {
    const { runtime } = started();
    const { device } = defaultTuning(runtime.traits, INFO as GPUAdapterInfo);
    return { device: { ...device, description } };
  };

  test('that was made on this driver is believed', async () => {
    const runtime = tuned();
    expect(runtime.traits).toMatchObject({ tier: 'T2', matrices: F16 });
    expect(runtime.traits.tuning!.matrices).toEqual(F16);
    expect(runtime.traits.matricesNote).toMatchInlineSnapshot(
      `"Attention uses subgroup matrices (f16 → f32 in 16×16×16), which have passed their self-test when the device was tuned."`,
    );
    const { variants, nTests } = conditionalVariants();
    await runtime.prepare(variants);
    expect(nTests()).toBe(0);
  });

  test.each([
    ['another driver', () => tuned(onDriver('driver 2'))],
    ['no driver', () => tuned(onDriver(''))],
    ['another configuration', () => tuned({ matrices: { ...F16, N: 8 } })],
    ['no matrices', () => tuned({ matrices: null })],
  ])('of %s is used, and matrices are tested', async (_, make) => {
    const runtime = make();
    expect(runtime.traits.tier).toBe('T1');
    expect(runtime.traits.tuning).not.toBe(null);
    await runtime.prepare(conditionalVariants().variants);
    expect(runtime.traits).toMatchObject({ tier: 'T2', matrices: F16 });
    expect(runtime.traits.tuning).not.toBe(null);
  });

  test('is not believed where the driver tells no name', () => {
    const info = { ...INFO, description: '' };
    const { device } = matrixDevice({ info });
    const tuning = { ...defaultTuning(createRuntime(device).traits, info as GPUAdapterInfo), matrices: F16 };
    expect(createRuntime(device, { adapterInfo: info, tuning }).traits.tier).toBe('T1');
  });

  test('does not give what was not asked for', () => {
    expect(tuned({}, { tier: 'T1' }).traits).toMatchObject({ tier: 'T1', matrices: null });
    expect(refusal(() => tuned({}, { tier: 'T0' }))).toMatch(
      /a device whose tier is "T1"; that of this one is "T0"/,
    );
  });

  test('of a runtime that uses matrices is one for their configuration', async () => {
    const { runtime } = started();
    expect(defaultTuning(runtime.traits, INFO as GPUAdapterInfo)).toMatchObject({
      matrices: null,
      device: { tier: 'T1' },
    });
    await runtime.prepare(conditionalVariants().variants);
    expect(defaultTuning(runtime.traits, INFO as GPUAdapterInfo)).toMatchObject({
      matrices: F16,
      device: { tier: 'T1', description: 'driver 1' },
    });
  });

  test('with matrices that are none is refused', () => {
    expect([
      refusal(() => tuned({ matrices: 'f16' as never })),
      refusal(() => tuned({ matrices: { ...F16, L: 8 } as never })),
      refusal(() => tuned({ matrices: { ...F16, componentType: 'i8' } as never })),
      refusal(() => tuned({ matrices: { ...F16, resultComponentType: 'f16' } as never })),
      refusal(() => tuned({ matrices: { ...F16, M: 0 } })),
      refusal(() => tuned({ matrices: undefined as never })),
    ]).toMatchInlineSnapshot(`
      [
        "argument: createRuntime: tuning.matrices must be an object, not "f16".",
        "argument: createRuntime: there is no argument tuning.matrices.L. There are componentType, resultComponentType, M, N, K.",
        "argument: createRuntime: tuning.matrices.componentType must be 'f16' or 'f32', not "i8".",
        "argument: createRuntime: tuning.matrices.resultComponentType must be 'f32', not "f16".",
        "argument: createRuntime: tuning.matrices.M must be a whole number ≥ 1, not 0.",
        "argument: createRuntime: tuning.matrices must be an object, not undefined.",
      ]
    `);
  });
});

describe('adapterInfo', () => {
  test('must be that of the adapter that made the device', () => {
    const { device } = matrixDevice();
    const make = (adapterInfo: unknown): string =>
      refusal(() => createRuntime(device, { adapterInfo } as RuntimeOptions));
    expect([
      make(null),
      make('nvidia'),
      make([INFO]),
      make({ requestDevice() {}, info: INFO }),
      make(device),
      make(Promise.resolve(INFO)),
      make({ ...INFO, vendor: 'amd' }),
      make({ ...INFO, description: 'driver 2' }),
      make({}),
      make({ ...INFO, device: 5 }),
      make({ ...INFO, subgroupMinSize: '32' }),
      make({ ...INFO, subgroupMatrixConfigs: 16 }),
      make({ ...INFO, subgroupMatrixConfigs: ['f16'] }),
      make({ ...INFO, subgroupMatrixConfigs: [{ ...INFO.subgroupMatrixConfigs![0]!, M: '16' }] }),
    ]).toMatchInlineSnapshot(`
      [
        "argument: createRuntime: adapterInfo must be an object, not null.",
        "argument: createRuntime: adapterInfo must be an object, not "nvidia".",
        "argument: createRuntime: adapterInfo must be an object, not [a plain object].",
        "argument: createRuntime: adapterInfo must be the info of a GPUAdapter, not the adapter itself. Pass adapter.info.",
        "argument: createRuntime: adapterInfo must be the info of a GPUAdapter, not a device. Pass the info of its adapter.",
        "argument: createRuntime: adapterInfo must be the info of a GPUAdapter, not a promise. Await it first.",
        "argument: createRuntime: adapterInfo is of another adapter than the device: its vendor is "amd", and that of the device is "nvidia". Pass the info of the adapter that made the device.",
        "argument: createRuntime: adapterInfo is of another adapter than the device: its description is "driver 2", and that of the device is "driver 1". Pass the info of the adapter that made the device.",
        "argument: createRuntime: adapterInfo is of another adapter than the device: its vendor is undefined, and that of the device is "nvidia". Pass the info of the adapter that made the device.",
        "argument: createRuntime: adapterInfo.device must be a string, not 5.",
        "argument: createRuntime: adapterInfo.subgroupMinSize must be a whole number ≥ 0, not "32".",
        "argument: createRuntime: adapterInfo.subgroupMatrixConfigs must be an array, as the adapter has it, not 16.",
        "argument: createRuntime: adapterInfo.subgroupMatrixConfigs[0] must have the types componentType and resultComponentType and the sizes M, N and K, not be "f16".",
        "argument: createRuntime: adapterInfo.subgroupMatrixConfigs[0] must have the types componentType and resultComponentType and the sizes M, N and K, not be a plain object.",
      ]
    `);
  });

  test('may be a copy', () => {
    const { device } = matrixDevice();
    const adapterInfo = JSON.parse(JSON.stringify(INFO)) as AdapterInfo;
    expect(createRuntime(device, { adapterInfo }).candidate?.matrices).toMatchObject(F16);
  });
});
