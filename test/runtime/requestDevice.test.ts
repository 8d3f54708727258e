import { expect, test } from 'vitest';
import { createRuntime, requestDevice } from '../../src/index.js';
import { fakeDevice } from './fakeDevice.js';
import { FEATURES, INFO, matrixDevice } from './matrixDevice.js';

/** A GPU with one adapter, which makes one device, and what it was asked for. */
function gpuOf(device: GPUDevice, features: readonly string[]) {
  const asked: GPUDeviceDescriptor[] = [];
  const adapter = {
    info: INFO,
    features: new Set(features),
    limits: device.limits,
    requestDevice(descriptor: GPUDeviceDescriptor) {
      asked.push(descriptor);
      return Promise.resolve(device);
    },
  };
  const gpu = { requestAdapter: () => Promise.resolve(adapter) } as unknown as GPU;
  return { gpu, askedFeatures: () => asked.map(({ requiredFeatures }) => [...requiredFeatures!]) };
}

test('requestDevice asks for what the adapter has of the features that help', async () => {
  const all = ['depth-clip-control', 'timestamp-query', 'subgroup-size-control', ...FEATURES];
  const { gpu, askedFeatures } = gpuOf(fakeDevice(), all);
  await requestDevice({ gpu });
  const without = gpuOf(fakeDevice(), ['subgroups', 'texture-compression-bc']);
  await requestDevice({ gpu: without.gpu });
  expect([...askedFeatures(), ...without.askedFeatures()]).toEqual([
    [
      'shader-f16',
      'subgroups',
      'subgroup-size-control',
      'chromium-experimental-subgroup-matrix',
      'timestamp-query',
    ],
    ['subgroups'],
  ]);
});

test('it keeps the matrices that only the adapter lists', async () => {
  const { device } = matrixDevice();
  expect(createRuntime(device).candidate).toBe(null);
  const { gpu } = gpuOf(device, FEATURES);
  const runtime = createRuntime(await requestDevice({ gpu }));
  expect(runtime.candidate?.matrices).toMatchObject({ M: 16, N: 16, K: 16 });
  // What is given goes first.
  const adapterInfo = { ...INFO, subgroupMatrixConfigs: INFO.subgroupMatrixConfigs!.slice(0, 1) };
  expect(createRuntime(device, { adapterInfo }).candidate?.matrices).toMatchObject({ M: 16, N: 8, K: 16 });
});
