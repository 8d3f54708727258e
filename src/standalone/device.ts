import { checkChoice, checkCounts, checkFlags, checkNames, namesOf } from '../core/checkArguments.js';
import type { DeviceClass, DeviceTraits, Tier } from '../core/deviceTraits.js';
import { fail } from '../core/errors.js';

/** What the text of a kernel depends on in a device. Defaults are what every WebGPU device has. */
export interface StandaloneDevice {
  /** `software` for a device that runs shaders on the CPU, where other tile shapes are faster. Default `gpu`. */
  readonly deviceClass?: DeviceClass | undefined;
  /** `T0` uses no optional feature. Default: `T1` if the device has any of the features below. */
  readonly tier?: Exclude<Tier, 'T2'> | undefined;
  /** Whether the device has `shader-f16`. Default false. */
  readonly shaderF16?: boolean | undefined;
  /** The fewest invocations of a subgroup; 0 without the feature `subgroups`. Default 0. */
  readonly subgroupMinSize?: number | undefined;
  /** The most invocations of a subgroup. Default 128 with the feature `subgroups`. */
  readonly subgroupMaxSize?: number | undefined;
  /** `maxComputeWorkgroupStorageSize`. Default 16384. */
  readonly maxWorkgroupBytes?: number | undefined;
  /** The lesser of `maxComputeInvocationsPerWorkgroup` and `maxComputeWorkgroupSizeX`. Default 256. */
  readonly maxWorkgroupInvocations?: number | undefined;
  /** `maxComputeWorkgroupsPerDimension`. Default 65535. */
  readonly maxWorkgroupsPerDimension?: number | undefined;
  /** `maxStorageBuffersPerShaderStage`. Default 8. */
  readonly maxStorageBuffers?: number | undefined;
}

export const DEVICE_NAMES = namesOf<StandaloneDevice>({
  deviceClass: true,
  tier: true,
  shaderF16: true,
  subgroupMinSize: true,
  subgroupMaxSize: true,
  maxWorkgroupBytes: true,
  maxWorkgroupInvocations: true,
  maxWorkgroupsPerDimension: true,
  maxStorageBuffers: true,
});

const SUBGROUP_SIZES = [0, 4, 8, 16, 32, 64, 128] as const;

/** Checks a device and returns its traits for the planner. */
export function traitsOf(caller: string, device: StandaloneDevice): DeviceTraits {
  checkNames(caller, device, DEVICE_NAMES, { of: 'device' });
  const { deviceClass = 'gpu', shaderF16 = false, subgroupMinSize = 0 } = device;
  const { subgroupMaxSize = subgroupMinSize > 0 ? 128 : 0 } = device;
  const { tier = shaderF16 || subgroupMinSize > 0 ? 'T1' : 'T0' } = device;
  const {
    maxWorkgroupBytes = 16384,
    maxWorkgroupInvocations = 256,
    maxWorkgroupsPerDimension = 65535,
    maxStorageBuffers = 8,
  } = device;
  checkChoice(caller, 'deviceClass', deviceClass, ['software', 'gpu']);
  checkChoice(caller, 'tier', tier, ['T0', 'T1']);
  checkFlags(caller, { shaderF16 });
  checkChoice(caller, 'subgroupMinSize', subgroupMinSize, SUBGROUP_SIZES);
  checkChoice(caller, 'subgroupMaxSize', subgroupMaxSize, SUBGROUP_SIZES);
  checkCounts(caller, {
    maxWorkgroupBytes,
    maxWorkgroupInvocations,
    maxWorkgroupsPerDimension,
    maxStorageBuffers,
  });
  if (subgroupMaxSize < subgroupMinSize || (subgroupMinSize === 0 && subgroupMaxSize > 0))
    fail(
      'argument',
      caller,
      `subgroups have ${subgroupMinSize} to ${subgroupMaxSize} invocations. Pass the device's subgroupMinSize and subgroupMaxSize, or neither.`,
    );
  if (tier === 'T0' && (shaderF16 || subgroupMinSize > 0))
    fail('argument', caller, 'tier T0 uses no optional feature. Leave out shaderF16 and subgroups, or tier.');
  return {
    deviceClass,
    vendor: '',
    architecture: '',
    tier,
    shaderF16,
    subgroupMinSize,
    subgroupMaxSize,
    subgroupSizeControl: false,
    matrices: null,
    matricesNote: 'The texts of kernels for other engines use no subgroup matrices.',
    maxWorkgroupBytes,
    maxWorkgroupInvocations,
    maxWorkgroupsPerDimension,
    // It decides how work is split into dispatches, not the text of kernels.
    maxBindingBytes: Infinity,
    tuning: null,
    maxStorageBuffers,
  };
}
