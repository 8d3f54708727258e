import type { MatrixConfiguration } from './matrixConfigurations.js';
import type { Tuning } from './tuning.js';

export type { MatrixConfiguration };

/** What planning needs to know about a device; results have the same bits where it is equal. */
export interface DeviceTraits {
  /** `software` runs shaders on the CPU, where few threads with much work each are best. */
  readonly deviceClass: DeviceClass;
  /** Whose device it is, as its adapter says: `nvidia`, `amd`, `apple`, …; empty where it does not say. */
  readonly vendor: string;
  /** The family that it belongs to, as its adapter says: `ampere`, `rdna-3`, `xe-lpg`, …; empty where it does not say. */
  readonly architecture: string;
  /** `T2` exactly where `matrices` is not null. */
  readonly tier: Tier;
  readonly shaderF16: boolean;
  /** Fewest and most invocations that a subgroup may have; 0 where subgroups are not to be used. */
  readonly subgroupMinSize: number;
  readonly subgroupMaxSize: number;
  /** Whether entry points may demand a size within these. */
  readonly subgroupSizeControl: boolean;
  /** The subgroup matrices that kernels multiply by; null where they use none. */
  readonly matrices: MatrixConfiguration | null;
  /** One sentence for people: which matrices are used, or why none are. */
  readonly matricesNote: string;
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
 * | `T2` | what `T1` uses, and subgroup matrices |
 */
export type Tier = 'T0' | 'T1' | 'T2';
