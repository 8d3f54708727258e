import type { DeviceClass, DeviceTraits, Tier } from '../core/deviceTraits.js';
import { chooseMatrices, type MatrixChoice } from '../core/matrixConfigurations.js';
import { MATRIX_FEATURE, SUBGROUP_SIZE_FEATURE, type AdapterInfo } from './adapterInfo.js';

/** What decides about the traits of a device besides itself. */
export interface TraitOptions {
  /** The most that kernels may use. */
  readonly tier: Tier | undefined;
  /** Default: as the names of the adapter say. */
  readonly deviceClass: DeviceClass | undefined;
  readonly info: AdapterInfo;
}

// The names of software drivers: Mesa's lavapipe, Chrome's SwiftShader, Windows' WARP.
const SOFTWARE = /llvmpipe|lavapipe|swiftshader|basic render|warp/i;

/** Returns what a device can do without subgroup matrices, as far as `tier` lets kernels use it; no tuning yet. */
export function readTraits(
  { limits, features }: GPUDevice,
  { tier, deviceClass, info }: TraitOptions,
): DeviceTraits {
  const names = [info.vendor, info.architecture, info.device, info.description].join(' ');
  const hasSubgroups = tier !== 'T0' && features.has('subgroups');
  return {
    deviceClass: deviceClass ?? (info.isFallbackAdapter || SOFTWARE.test(names) ? 'software' : 'gpu'),
    vendor: (info.vendor ?? '').toLowerCase(),
    architecture: (info.architecture ?? '').toLowerCase(),
    tier: tier === 'T0' ? 'T0' : 'T1',
    shaderF16: tier !== 'T0' && features.has('shader-f16'),
    subgroupMinSize: hasSubgroups ? (info.subgroupMinSize ?? 4) : 0,
    subgroupMaxSize: hasSubgroups ? (info.subgroupMaxSize ?? 128) : 0,
    subgroupSizeControl: hasSubgroups && features.has(SUBGROUP_SIZE_FEATURE),
    matrices: null,
    matricesNote: '',
    maxWorkgroupBytes: limits.maxComputeWorkgroupStorageSize,
    maxWorkgroupInvocations: Math.min(
      limits.maxComputeInvocationsPerWorkgroup,
      limits.maxComputeWorkgroupSizeX,
    ),
    maxWorkgroupsPerDimension: limits.maxComputeWorkgroupsPerDimension,
    maxBindingBytes: limits.maxStorageBufferBindingSize,
    tuning: null,
    maxStorageBuffers: limits.maxStorageBuffersPerShaderStage,
  };
}

/** Returns the subgroup matrices that kernels could use on a device, or why they cannot. */
export function readMatrices(
  { features }: GPUDevice,
  { tier, info }: Pick<TraitOptions, 'tier' | 'info'>,
  traits: DeviceTraits,
): MatrixChoice {
  if (tier !== undefined && tier !== 'T2') return { refusal: `tier ${tier} was asked for.` };
  if (!features.has(MATRIX_FEATURE)) return { refusal: `the device was made without ${MATRIX_FEATURE}.` };
  const { subgroupMatrixConfigs: listed = [] } = info;
  if (listed.length === 0)
    return {
      refusal:
        'what the device multiplies is known to its adapter only. Use requestDevice(), or pass adapterInfo: adapter.info to createRuntime.',
    };
  if (tier === undefined && traits.deviceClass === 'software')
    return { refusal: "software adapters are faster without. Pass tier: 'T2' to use them." };
  return chooseMatrices(listed, traits);
}
