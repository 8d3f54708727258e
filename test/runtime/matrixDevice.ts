import type { KnownAnswer, SelfTest } from '../../src/core/knownAnswer.js';
import type { Dispatch } from '../../src/core/dispatch.js';
import { createRuntime, type RuntimeOptions } from '../../src/index.js';
import type { Variant } from '../../src/runtime/pipelines.js';
import type { AdapterInfo } from '../../src/runtime/adapterInfo.js';
import { MATRIX_FEATURE } from '../../src/runtime/adapterInfo.js';
import type { Kernel } from '../../src/wgsl/kernel.js';
import { fakeTensor } from './fakeDevice.js';
import { strictDevice } from './strictDevice.js';

/** An adapter that has matrices, and a driver with a name. */
export const INFO: AdapterInfo = {
  vendor: 'nvidia',
  architecture: 'hopper',
  description: 'driver 1',
  subgroupMinSize: 32,
  subgroupMaxSize: 32,
  subgroupMatrixConfigs: [
    { componentType: 'f16', resultComponentType: 'f32', M: 16, N: 8, K: 16 },
    { componentType: 'f16', resultComponentType: 'f32', M: 16, N: 16, K: 16 },
  ],
};

export const FEATURES = ['shader-f16', 'subgroups', MATRIX_FEATURE];

/** How a fake device behaves. All of it may be changed later. */
export interface Driver {
  /** Whether the compiler refuses a kernel, by the label of its module. */
  refuses: (label: string) => boolean;
  /** The byte that is read at a place. Default: all are 0. */
  byteAt: (at: number) => number;
  /** What goes wrong with work that is submitted. */
  error: string | undefined;
  /** What mappings wait for. */
  hold: () => Promise<void>;
  /** Called for each bind group, which it may refuse to make. */
  onBind: () => void;
}

/** A device that claims to have matrices, computes nothing, and compiles and reads as it is told. */
export function matrixDevice({
  features = FEATURES,
  info = INFO,
  limits = {},
}: {
  readonly features?: readonly string[];
  readonly info?: AdapterInfo;
  readonly limits?: Partial<GPUSupportedLimits>;
} = {}) {
  const driver: Driver = {
    refuses: () => false,
    byteAt: () => 0,
    error: undefined,
    hold: () => Promise.resolve(),
    onBind: () => {},
  };
  const { device, live } = strictDevice(limits);
  const modules: string[] = [];
  const scopes: GPUErrorFilter[] = [];
  let lose: (info: GPUDeviceLostInfo) => void;
  const lost = new Promise<GPUDeviceLostInfo>((resolve) => (lose = resolve));
  const { subgroupMatrixConfigs: _, ...ownInfo } = info;
  const faked = Object.assign(Object.create(device) as GPUDevice, {
    features: new Set(features),
    adapterInfo: { ...ownInfo, subgroupMatrixConfigs: [] },
    lost,
    createShaderModule({ label = '', code }: GPUShaderModuleDescriptor) {
      modules.push(label);
      const module = device.createShaderModule({ label, code });
      if (!driver.refuses(label)) return module;
      const messages = [{ type: 'error', lineNum: 1, message: 'no matrices today' }];
      return { ...module, isRefused: true, getCompilationInfo: () => Promise.resolve({ messages }) };
    },
    createComputePipelineAsync: (descriptor: GPUComputePipelineDescriptor) =>
      'isRefused' in descriptor.compute.module
        ? Promise.reject(new Error('refused'))
        : device.createComputePipelineAsync(descriptor),
    createBindGroup(descriptor: GPUBindGroupDescriptor) {
      driver.onBind();
      return device.createBindGroup(descriptor);
    },
    createBuffer(descriptor: GPUBufferDescriptor) {
      const buffer = device.createBuffer(descriptor);
      return Object.assign(buffer, {
        mapAsync: () => driver.hold(),
        getMappedRange: () =>
          Uint8Array.from({ length: buffer.size }, (_byte, at) => driver.byteAt(at)).buffer,
      });
    },
    pushErrorScope: (filter: GPUErrorFilter) => void scopes.push(filter),
    popErrorScope: () => {
      const isRefused = scopes.pop() === 'validation' && driver.error !== undefined;
      return Promise.resolve(isRefused ? ({ message: driver.error } as GPUError) : null);
    },
  });
  return {
    device: faked,
    driver,
    /** Labels of what was compiled, in order. */
    modules,
    live,
    lose: (message: string) => lose({ reason: 'unknown', message } as GPUDeviceLostInfo),
  };
}

/** A runtime on such a device. */
export function started(options: RuntimeOptions = {}) {
  const fake = matrixDevice();
  return { ...fake, runtime: createRuntime(fake.device, { adapterInfo: INFO, ...options }) };
}

function kernelOf(name: string, directive = ''): Kernel {
  return {
    name,
    modules: [`${directive}#;@compute @workgroup_size(1) fn ${name}() {}`],
    bindings: [{ name: 'out', binding: 0, access: 'read_write' }],
    params: { bytes: 16, fields: {} },
  };
}

const OUT = fakeTensor('f32', [8]);
export const MATRIX_KERNEL = kernelOf('with_matrices', 'enable chromium_experimental_subgroup_matrix;\n');

export function dispatchOf(kernel: Kernel, spec: Dispatch['spec'] = {}): Dispatch {
  return { kernel, spec, params: {}, bindings: { out: OUT }, grid: [1, 1, 1] };
}

/** Eight zeros, which may be off by 1. */
export const ZEROS: KnownAnswer = {
  name: 'zeros',
  dispatches: [dispatchOf(MATRIX_KERNEL, { TEST: true })],
  inputs: new Map(),
  outputs: [{ name: 'out', tensor: OUT, expected: new Float64Array(8), tolerance: 1 }],
};

/** Variants of a call that has kernels with matrices and without, and how often their test was begun. */
export function conditionalVariants(answers: readonly KnownAnswer[] = [ZEROS]) {
  let nTests = 0;
  const test: SelfTest = () => {
    nTests++;
    return answers;
  };
  const variants: Variant[] = [
    { kernel: kernelOf('always'), spec: {} },
    { kernel: kernelOf('scalar'), spec: { ONE: true }, when: { matrices: false, test } },
    { kernel: kernelOf('scalar'), spec: { TWO: true }, when: { matrices: false, test } },
    { kernel: MATRIX_KERNEL, spec: {}, when: { matrices: true, test } },
  ];
  return { variants, test, nTests: () => nTests };
}
