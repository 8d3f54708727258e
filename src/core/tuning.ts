import type { FloatDType, KvDType } from './dtype.js';
import type { MatrixConfiguration } from './matrixConfigurations.js';

/**
 * What `tune` has measured on a device: plain data, which can be kept as JSON and given to `createRuntime`. On other
 * devices it would be misleading, so it is refused there. Results have the same bits for the same traits and tuning.
 */
export interface Tuning {
  /** Version of this format, raised when a field changes its meaning, or tiles other fields. */
  readonly format: 2;
  /** Where it was measured. */
  readonly device: TunedDevice;
  /**
   * The subgroup matrices that have passed their self-test; null if none have. Where the driver is another one, as
   * `device.description` tells, they are tested again.
   */
  readonly matrices: MatrixConfiguration | null;
  readonly rates: TunedRates;
  readonly chunks: TunedChunks;
  readonly merge: TunedMerge;
  /** At most one for each pair of head sizes and of types. */
  readonly prefill: readonly TunedPrefill[];
  /** At most one for each pair of head sizes, type and number of rows. */
  readonly decode: readonly TunedDecode[];
}

/** What the tiles of a device depend on, as its traits say, and its name. */
export interface TunedDevice {
  readonly vendor: string;
  readonly architecture: string;
  /** The adapter's description, for people: most name the driver. Only a self-test of matrices depends on it. */
  readonly description: string;
  readonly deviceClass: string;
  /** `T0` or `T1`: that of kernels without subgroup matrices. */
  readonly tier: string;
  readonly shaderF16: boolean;
  readonly subgroupMinSize: number;
  readonly subgroupMaxSize: number;
  readonly maxWorkgroupBytes: number;
  readonly maxWorkgroupInvocations: number;
}

/** How fast the kernels were. They decide how long a dispatch takes, not what is computed. */
export interface TunedRates {
  /** Multiply-adds per second of attn_prefill. */
  readonly macsPerSecond: number;
  /** Bytes of keys and values per second of attn_decode. */
  readonly bytesPerSecond: number;
}

/** How the keys of a sequence are split where few sequences must fill the device. */
export interface TunedChunks {
  /** Workgroups that fill the device. */
  readonly workgroups: number;
  /** The fewest keys of a chunk. */
  readonly minKeys: number;
}

/** How merge_states reads the parts of chunks. */
export interface TunedMerge {
  /** Parts whose loads an invocation has in flight: 1, 2, 4 or 8. */
  readonly stepParts: number;
  /** The most lanes for the parts of a row: 16 or 1. */
  readonly partLanes: number;
}

/** Numbers that tell a tile from all others for the same problem. */
export type TileShape = Readonly<Record<string, number | boolean>>;

export interface TunedPrefill {
  readonly headDim: number;
  readonly headDimV: number;
  readonly dtype: FloatDType;
  readonly kvDType: KvDType;
  readonly tile: TileShape;
}

export interface TunedDecode {
  readonly headDim: number;
  readonly headDimV: number;
  readonly kvDType: KvDType;
  /** Query heads of a kv head times query tokens, rounded up to a power of two. */
  readonly rows: number;
  readonly tile: TileShape;
}
