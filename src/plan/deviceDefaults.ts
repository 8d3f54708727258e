import type { DeviceTraits } from '../core/deviceTraits.js';

/** What the planner assumes of a device on which nothing was measured. */
export interface DeviceDefaults {
  /** Workgroups that fill the device: several for each of its cores, so that none waits long for the others. */
  readonly workgroups: number;
  /** Keys below which a chunk costs more to start and to merge than it saves. */
  readonly minChunkKeys: number;
  /** Sums and scores that an invocation of attn_prefill may keep in registers: beyond, they are spilled to memory. */
  readonly registers: number;
  /** Multiply-adds per second of attn_prefill on the slowest of these devices. */
  readonly macsPerSecond: number;
  /** Bytes of keys and values per second of attn_decode, likewise. */
  readonly bytesPerSecond: number;
}

interface Family {
  readonly vendor: string;
  /** What the name of the architecture begins with; empty: any. */
  readonly architecture: string;
  readonly defaults: DeviceDefaults;
}

/** What WebGPU runs on that does not say what it is: chunks and tiles of a large GPU, dispatches of a slow one. */
const UNKNOWN: DeviceDefaults = {
  workgroups: 512,
  minChunkKeys: 256,
  registers: Infinity,
  macsPerSecond: 4e11,
  bytesPerSecond: 2e10,
};

/**
 * lavapipe, SwiftShader and WARP run workgroups on the cores of a CPU: a few for each. Chunks of 256 keys made a step 1.4
 * to 1.8 times as long. Rates are those of some eight cores; a decode step is bound by arithmetic, too.
 */
const SOFTWARE: DeviceDefaults = {
  workgroups: 16,
  minChunkKeys: 1024,
  registers: Infinity,
  macsPerSecond: 4e9,
  bytesPerSecond: 5e8,
};

/** Phones share a memory of 15 to 50 GB/s with the CPU, and have 4 to 16 cores. */
const PHONE: DeviceDefaults = {
  workgroups: 64,
  minChunkKeys: 256,
  registers: 64,
  macsPerSecond: 4e10,
  bytesPerSecond: 5e9,
};

/** The first that fits. Names are those that Dawn gives adapters; others leave most of them empty. */
const FAMILIES: readonly Family[] = [
  {
    // 14 to 170 cores of up to 2048 invocations and 255 registers. Chunks may be short: on an H100 the
    // attention of 2048 keys in chunks of 128 took two thirds of the time of chunks of 256, by calls with either from
    // which the time of merging was taken off.
    vendor: 'nvidia',
    architecture: '',
    defaults: { ...UNKNOWN, minChunkKeys: 128, bytesPerSecond: 4e10 },
  },
  {
    // Compute units of 64 lanes without the second SIMD of RDNA: integrated ones have 3 to 11 of them.
    vendor: 'amd',
    architecture: 'gcn',
    defaults: { ...UNKNOWN, workgroups: 256, macsPerSecond: 1e11 },
  },
  // RDNA and CDNA: 2 to 96 units, 256 registers; compiled without spills, as the bench notes say.
  { vendor: 'amd', architecture: '', defaults: UNKNOWN },
  {
    // The Arc cards have 128 to 512 vector engines, each with eight threads of 8 to 32 lanes.
    vendor: 'intel',
    architecture: 'gen-12hp',
    defaults: { ...UNKNOWN, workgroups: 256, registers: 96 },
  },
  { vendor: 'intel', architecture: 'xe-2hpg', defaults: { ...UNKNOWN, workgroups: 256, registers: 96 } },
  {
    // Integrated: 64 to 96 engines of seven or eight threads, so 84 workgroups of eight threads are at work at a time. A
    // thread has 4 KiB of registers: 64 numbers a lane where it runs 16 lanes, 128 where the compiler falls back to 8.
    vendor: 'intel',
    architecture: 'xe',
    defaults: { ...UNKNOWN, workgroups: 128, registers: 96, macsPerSecond: 1e11, bytesPerSecond: 1e10 },
  },
  {
    // As above, with 24 to 96 engines.
    vendor: 'intel',
    architecture: '',
    defaults: { ...UNKNOWN, workgroups: 128, registers: 96, macsPerSecond: 3e10, bytesPerSecond: 1e10 },
  },
  {
    // 4 cores in a phone, 8 to 80 in a Mac; an invocation has 128 registers, some of them for what is multiplied.
    vendor: 'apple',
    architecture: '',
    defaults: { ...UNKNOWN, workgroups: 256, registers: 96, macsPerSecond: 2e11 },
  },
  // Adreno: tiles in registers spill to memory, which made a peer's attention four times as slow on the X1.
  { vendor: 'qualcomm', architecture: '', defaults: PHONE },
  // Mali: 64 registers an invocation, or half of the invocations of a core.
  { vendor: 'arm', architecture: '', defaults: { ...PHONE, macsPerSecond: 1e10 } },
  // RDNA in phones: its registers, a phone's cores and memory.
  { vendor: 'samsung', architecture: '', defaults: { ...PHONE, registers: Infinity } },
  { vendor: 'img-tec', architecture: '', defaults: { ...PHONE, macsPerSecond: 1e10 } },
  { vendor: 'huawei', architecture: '', defaults: { ...PHONE, macsPerSecond: 1e10 } },
  // VideoCore of a Raspberry Pi.
  {
    vendor: 'broadcom',
    architecture: '',
    defaults: { ...PHONE, workgroups: 16, macsPerSecond: 2e9, bytesPerSecond: 1e9 },
  },
];

/** What to assume of a device. */
export function deviceDefaults({ deviceClass, vendor, architecture }: DeviceTraits): DeviceDefaults {
  if (deviceClass === 'software') return SOFTWARE;
  const family = FAMILIES.find(
    (candidate) => vendor === candidate.vendor && architecture.startsWith(candidate.architecture),
  );
  return family?.defaults ?? UNKNOWN;
}
