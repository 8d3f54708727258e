import { describe, expect, test } from 'vitest';
import { attn, createRuntime, requestDevice, type AttnArgs } from '../../src/index.js';
import { fakeDevice } from './fakeDevice.js';
import { refusal, rejection } from '../check/refusal.js';

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
        "argument: createRuntime: tier must be 'T0' or 'T1', not "T9".",
        "argument: createRuntime: deviceClass must be 'software' or 'gpu', not "toaster".",
        "limit: createRuntime: profile needs the feature timestamp-query, which this device was made without. Ask for it in requiredFeatures, or use requestDevice().",
        "argument: createRuntime: there is no argument profiling. There are tier, deviceClass, profile, tuning.",
      ]
    `);
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
