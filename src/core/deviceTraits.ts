/** What planning needs to know about a device; read once when a runtime is made. */
export interface DeviceTraits {
  /** `software` runs shaders on the CPU, where few threads with much work each are best. */
  readonly deviceClass: DeviceClass;
  readonly tier: Tier;
  readonly shaderF16: boolean;
  /** Fewest and most invocations that a subgroup may have; 0 where subgroups are not to be used. */
  readonly subgroupMinSize: number;
  readonly subgroupMaxSize: number;
  readonly maxWorkgroupBytes: number;
  readonly maxWorkgroupInvocations: number;
  readonly maxWorkgroupsPerDimension: number;
  readonly maxBindingBytes: number;
}

export type DeviceClass = 'software' | 'gpu';

/**
 * What kernels may use.
 *
 * | tier | uses |
 * | --- | --- |
 * | `T0` | no optional feature |
 * | `T1` | `shader-f16` and `subgroups`, whichever of them the device has |
 */
export type Tier = 'T0' | 'T1';
