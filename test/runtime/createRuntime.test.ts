import { describe, expect, test } from 'vitest';
import {
  attn,
  createRuntime,
  requestDevice,
  type AttnArgs,
  type Runtime,
  type Tuning,
} from '../../src/index.js';
import { defaultTuning } from '../../src/tuning/variations.js';
import { fakeDevice } from './fakeDevice.js';
import { refusal, rejection } from '../check/refusal.js';

/** A tuning with a tile for each kernel. */
function tuningFor({ traits }: Runtime): Tuning {
  const sizes = { headDim: 64, headDimV: 64, kvDType: 'f16' } as const;
  return {
    ...defaultTuning(traits, undefined),
    prefill: [{ ...sizes, dtype: 'f16', tile: { teams: 8, lanes: 8, rows: 4 } }],
    decode: [{ ...sizes, rows: 4, tile: { invocations: 64, rows: 4, keyLanes: 4 } }],
  };
}

describe('devices', () => {
  test('createRuntime', () => {
    const make = (options: object) => refusal(() => createRuntime(fakeDevice(), options));
    expect([
      make({ tier: 'T9' }),
      make({ deviceClass: 'toaster' }),
      make({ profile: true }),
      make({ profiling: true }),
    ]).toMatchInlineSnapshot(`
      [
        "argument: createRuntime: tier must be 'T0', 'T1' or 'T2', not "T9".",
        "argument: createRuntime: deviceClass must be 'software' or 'gpu', not "toaster".",
        "limit: createRuntime: profile needs the feature timestamp-query, which this device was made without. Ask for it in requiredFeatures, or use requestDevice().",
        "argument: createRuntime: there is no argument profiling. There are tier, adapterInfo, deviceClass, profile, tuning.",
      ]
    `);
  });

  test('createRuntime with a tuning', () => {
    const device = fakeDevice();
    const own = tuningFor(createRuntime(device));
    expect(createRuntime(device, { tuning: own }).traits.tuning).toEqual(own);
    const make = (changes: object) =>
      refusal(() => createRuntime(device, { tuning: { ...own, ...changes } as Tuning }));
    const made = (changes: object) => make({ device: { ...own.device, ...changes } });
    const [prefill] = own.prefill;
    const [decode] = own.decode;
    expect([
      refusal(() => createRuntime(device, { tuning: JSON.stringify(own) as unknown as Tuning })),
      make({ format: 1 }),
      make({ format: undefined }),
      make({ tiles: [] }),
      made({ vendor: 'nvidia' }),
      made({ architecture: 'ampere' }),
      made({ deviceClass: 'software' }),
      made({ subgroupMinSize: 32 }),
      made({ maxWorkgroupBytes: 32768 }),
      make({ rates: { ...own.rates, macsPerSecond: 0 } }),
      make({ chunks: { workgroups: 0, minKeys: 5 } }),
      make({ merge: { stepParts: 3, partLanes: 4 } }),
      make({ merge: { stepParts: 4, partLanes: 32 } }),
      make({ prefill: {} }),
      make({ prefill: [{ ...prefill, headDim: -1 }] }),
      make({ prefill: [{ ...prefill, dtype: 'i32' }] }),
      make({ decode: [decode, { ...decode, rows: undefined }] }),
      make({ decode: [{ ...decode, tile: 4 }] }),
    ]).toMatchInlineSnapshot(`
      [
        "argument: createRuntime: tuning must be an object, not "{"format":2,"device":{"vendor":"","architecture":"","descrip…".",
        "argument: createRuntime: tuning.format must be 2, not 1: it was made by another version of pageflash. Tune again.",
        "argument: createRuntime: tuning.format must be 2, not undefined: it was made by another version of pageflash. Tune again.",
        "argument: createRuntime: there is no argument tuning.tiles. There are format, device, matrices, rates, chunks, merge, prefill, decode.",
        "argument: createRuntime: the tuning is for a device whose vendor is "nvidia"; that of this one is "". Tune this device, or leave tuning out.",
        "argument: createRuntime: the tuning is for a device whose architecture is "ampere"; that of this one is "". Tune this device, or leave tuning out.",
        "argument: createRuntime: the tuning is for a device whose deviceClass is "software"; that of this one is "gpu". Tune this device, or leave tuning out.",
        "argument: createRuntime: the tuning is for a device whose subgroupMinSize is 32; that of this one is 0. Tune this device, or leave tuning out.",
        "limit: createRuntime: the tuning needs a device whose maxWorkgroupBytes is at least 32768; that of this one is 16384. Request the device as it was requested for tune, or tune again.",
        "argument: createRuntime: tuning.rates.macsPerSecond must be a finite number > 0, not 0.",
        "argument: createRuntime: tuning.chunks.workgroups must be a whole number ≥ 1, not 0.",
        "argument: createRuntime: tuning.merge.stepParts must be 1, 2, 4 or 8, not 3.",
        "argument: createRuntime: tuning.merge.partLanes must be 1 or 16, not 32.",
        "argument: createRuntime: tuning.prefill must be an array, not a plain object.",
        "argument: createRuntime: tuning.prefill[0].headDim must be a whole number ≥ 1, not -1.",
        "argument: createRuntime: tuning.prefill[0].dtype must be 'f32', 'f16' or 'bf16', not "i32".",
        "argument: createRuntime: tuning.decode[1].rows must be a whole number ≥ 1, not undefined.",
        "argument: createRuntime: tuning.decode[0].tile must be an object, not 4.",
      ]
    `);
  });

  test('a tuning is copied', () => {
    const device = fakeDevice();
    const own = tuningFor(createRuntime(device));
    const runtime = createRuntime(device, { tuning: own });
    (own.decode[0]!.tile as Record<string, number>)['rows'] = 99;
    (own.chunks as { minKeys: number }).minKeys = 99;
    expect(runtime.traits.tuning).toEqual(tuningFor(runtime));
  });

  test('createRuntime of what only leads to a device', () => {
    const make = (device: unknown) => refusal(() => createRuntime(device as GPUDevice));
    const { limits, features } = fakeDevice();
    const gpu = { requestAdapter: () => {} };
    expect([
      make({ requestDevice() {} }),
      make({ limits, features, requestDevice() {} }),
      make(gpu),
      make(requestDevice({ gpu: { requestAdapter: () => new Promise(() => {}) } as unknown as GPU })),
      make('a device'),
    ]).toMatchInlineSnapshot(`
      [
        "argument: createRuntime: device must be a GPUDevice, not an adapter. Pass await adapter.requestDevice(), or await requestDevice() of pageflash.",
        "argument: createRuntime: device must be a GPUDevice, not an adapter. Pass await adapter.requestDevice(), or await requestDevice() of pageflash.",
        "argument: createRuntime: device must be a GPUDevice, not a GPU. Pass await requestDevice({ gpu }).",
        "argument: createRuntime: device must be a GPUDevice, not a promise. Await it first.",
        "argument: createRuntime: device must be a GPUDevice, not "a device".",
      ]
    `);
  });

  test('a destroyed runtime says so', () => {
    const destroyed = createRuntime(fakeDevice());
    destroyed.destroy();
    expect(refusal(() => attn(destroyed, {} as AttnArgs))).toMatchInlineSnapshot(
      `"device: attn: the runtime cannot be used any more, since it was destroyed."`,
    );
  });

  test('requestDevice without WebGPU or without an adapter', async () => {
    await expect(requestDevice()).rejects.toThrowErrorMatchingInlineSnapshot(
      `[PageflashError: requestDevice: this environment has no WebGPU (navigator.gpu is missing). Use a browser that has it, over https or localhost. In Node, install the package webgpu and pass { gpu: create([]) }.]`,
    );
    const request = (options: unknown) => rejection(requestDevice(options as object));
    expect([
      await request({ powerPreferences: 'low-power' }),
      await request({ gpu: {} }),
      await request({ label: Symbol('device') }),
      await request(null),
      await request({ requestAdapter: () => Promise.resolve(null) }),
    ]).toMatchInlineSnapshot(`
      [
        "argument: requestDevice: there is no argument powerPreferences. There are gpu, label, featureLevel, powerPreference, forceFallbackAdapter, xrCompatible.",
        "argument: requestDevice: gpu must be what navigator.gpu is, not a plain object.",
        "argument: requestDevice: label must be a string, not Symbol(device).",
        "argument: requestDevice: the arguments must be one object, not null.",
        "argument: requestDevice: the arguments must be one object, not a GPU. Pass it as { gpu }.",
      ]
    `);
    const gpu = { requestAdapter: () => Promise.resolve(null) } as unknown as GPU;
    await expect(requestDevice({ gpu })).rejects.toThrowErrorMatchingInlineSnapshot(
      `[PageflashError: requestDevice: no GPU adapter was found. Install a graphics driver (on Linux one for Vulkan, such as mesa-vulkan-drivers), or allow WebGPU in the browser.]`,
    );
  });
});
