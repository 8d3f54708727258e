import { MATRIX_FEATURE } from '../../src/runtime/adapterInfo.js';
import { withEmulatedMatrices, type EmulatedDevice } from './emulatedDevice.js';
import { matrixRuntime, type MatrixRuntime } from './matrixRuntime.js';

/** Matrices as adapters list them, and how many lanes multiply. */
const MATRICES = {
  /** Lavapipe. Where the device has matrices itself, these are them. */
  '8×8×8 of f16 by 8': { M: 8, N: 8, K: 8, componentType: 'f16', subgroupSize: 8 },
  /** Metal. */
  '8×8×8 of f32 by 32': { M: 8, N: 8, K: 8, componentType: 'f32', subgroupSize: 32 },
  /** Intel Xe2. */
  '8×16×16 of f16 by 16': { M: 8, N: 16, K: 16, componentType: 'f16', subgroupSize: 16 },
  '8×16×16 of f16 by 32': { M: 8, N: 16, K: 16, componentType: 'f16', subgroupSize: 32 },
  /** NVIDIA and AMD RDNA3. */
  '16×16×16 of f16 by 32': { M: 16, N: 16, K: 16, componentType: 'f16', subgroupSize: 32 },
  '16×16×16 of f16 by 64': { M: 16, N: 16, K: 16, componentType: 'f16', subgroupSize: 64 },
  '16×8×16 of f16 by 32': { M: 16, N: 8, K: 16, componentType: 'f16', subgroupSize: 32 },
  '16×8×8 of f16 by 32': { M: 16, N: 8, K: 8, componentType: 'f16', subgroupSize: 32 },
} as const satisfies Readonly<Record<string, EmulatedDevice>>;

export type MatrixName = keyof typeof MATRICES;
export const MATRIX_NAMES = Object.keys(MATRICES) as readonly MatrixName[];

export interface MatricesInUse extends MatrixRuntime {
  readonly componentType: 'f16' | 'f32';
}

const shared = new WeakMap<GPUDevice, Map<MatrixName, Promise<MatricesInUse>>>();

/** The runtime on such matrices which cases on a device share, so that each kernel is compiled once for all of them. */
export function matricesOf(device: GPUDevice, name: MatrixName): Promise<MatricesInUse> {
  const ofDevice = shared.get(device) ?? new Map<MatrixName, Promise<MatricesInUse>>();
  shared.set(device, ofDevice);
  const made = ofDevice.get(name) ?? start(device, name);
  ofDevice.set(name, made);
  return made;
}

async function start(device: GPUDevice, name: MatrixName): Promise<MatricesInUse> {
  const isReal = device.features.has(MATRIX_FEATURE) && name === '8×8×8 of f16 by 8';
  const made = isReal
    ? await matrixRuntime(device)
    : await matrixRuntime(withEmulatedMatrices(device, emulated(device, name)), { deviceClass: 'gpu' });
  return { ...made, componentType: made.runtime.traits.matrices!.componentType };
}

/**
 * Subgroups of 64 may be smaller, so that kernels know no size; all others are demanded by kernels. That of one lane
 * which no device has leaves kernels without matrices without subgroups.
 */
function emulated(device: GPUDevice, name: MatrixName): EmulatedDevice {
  const matrices: EmulatedDevice = {
    ...MATRICES[name],
    ...(!device.features.has('shader-f16') && { componentType: 'f32' }),
  };
  if (matrices.subgroupSize === 64 && device.features.has('subgroups'))
    return { ...matrices, subgroupMinSize: 4 };
  return { ...matrices, subgroupMinSize: 1, subgroupSizeControl: true };
}
