import type { Tuning } from './tuning.js';

/** What planning needs to know about a device; read once when a runtime is made. Results have the same bits where it is equal. */
export interface DeviceTraits {
  /** `software` runs shaders on the CPU, where few threads with much work each are best. */
  readonly deviceClass: DeviceClass;
  /** Whose device it is, as its adapter says: `nvidia`, `amd`, `apple`, …; empty where it does not say. */
  readonly vendor: string;
  /** The family that it belongs to, as its adapter says: `ampere`, `rdna-3`, `xe-lpg`, …; empty where it does not say. */
  readonly architecture: string;
  readonly tier: Tier;
  readonly shaderF16: boolean;
  /** Fewest and most invocations that a subgroup may have; 0 where subgroups are not to be used. */
  readonly subgroupMinSize: number;
  readonly subgroupMaxSize: number;
  readonly maxWorkgroupBytes: number;
  readonly maxWorkgroupInvocations: number;
  readonly maxWorkgroupsPerDimension: number;
  readonly maxBindingBytes: number;
  /** What was measured on the device; null where defaults decide. */
  readonly tuning: Tuning | null;
  /** That a dispatch may bind. */
  readonly maxStorageBuffers: number;
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
