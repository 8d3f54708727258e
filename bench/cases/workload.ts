import { decode, encode, type FloatDType } from '../../src/core/dtype.js';
import type { Tier } from '../../src/core/deviceTraits.js';
import { elementCount, type Tensor } from '../../src/core/tensor.js';
import type { Runtime } from '../../src/index.js';
import type { HostTensor } from '../../src/reference/attention.js';
import { upload } from '../../tools/deviceTensor.js';
import { formatBytes } from '../../tools/format.js';
import type { Random } from '../../tools/random.js';
import type { Check, PeerName } from '../results.js';
import type { DecodeTraffic } from './traffic.js';

/** A case with its inputs on a device: implementations that compute it, and the check of their output. */
export interface Workload {
  /** Shape of the output, which has the case's dtype. */
  readonly outShape: readonly number[];
  /** Floating-point operations, unmasked pairs only. Those of an implementation may be others. */
  readonly flops: number;
  readonly pageflash: Implementation;
  /** What pageflash is compared with, naive attention first. */
  readonly peers: readonly PeerImplementation[];
  /** @throws Error that says where an output differs from the reference by more than is allowed */
  check(out: Reals): Check;
  /** The bytes that pageflash moves, where they are counted. */
  traffic?(runtime: Runtime): DecodeTraffic;
  destroy(): void;
}

/** A way to compute a workload. */
export interface Implementation {
  readonly name: string;
  /** The bytes that it must move. */
  readonly bytes: number;
  /** Its floating-point operations. Default: those of the workload. */
  readonly flops?: number;
  /** Why it cannot run on this device, as the end of a sentence; undefined if it can. */
  readonly unsupported?: string | undefined;
  /** The most that its kernels may use. Default: as createRuntime decides. */
  readonly tier?: Tier | undefined;
  /** Does what can be done ahead of all calls, and returns a function that submits one whole computation. */
  prepare(runtime: Runtime, out: Tensor): () => void;
}

export interface PeerImplementation extends Implementation {
  readonly name: PeerName;
  /** Checks its output, where that must not be pageflash's. */
  readonly check?: Workload['check'];
}

/** A sentence's end that says why a device cannot bind so many bytes at once; undefined if it can. */
export function bindingLimit({ limits }: GPUDevice, what: string, bytes: number): string | undefined {
  const allowed = Math.min(limits.maxStorageBufferBindingSize, limits.maxBufferSize);
  if (bytes <= allowed) return undefined;
  return `${what} ${formatBytes(bytes)}; this device allows ${formatBytes(allowed)} in a binding`;
}

/** A tensor on the GPU, and the same values on the host for the reference. */
export interface Input {
  readonly tensor: Tensor;
  readonly host: HostTensor;
}

/** A tensor of normally distributed values, rounded to its dtype. */
export function createInput(
  device: GPUDevice,
  random: Random,
  shape: readonly number[],
  dtype: FloatDType,
): Input {
  const data = decode(dtype, encode(dtype, random.normals(elementCount(shape))));
  return { tensor: upload(device, dtype, shape, data), host: { data, shape } };
}

export function destroyInputs(inputs: readonly Input[]): void {
  for (const { tensor } of inputs) tensor.buffer.destroy();
}

export type Reals = Float32Array | Float64Array;

/**
 * The largest difference that is allowed, relative to the largest output (at least 1): rounding to the dtype, no more.
 */
const TOLERANCE: Readonly<Record<FloatDType, number>> = { f32: 2e-5, f16: 3e-3, bf16: 1e-2 };

/** @throws Error that says where the outputs differ by more than is allowed */
export function checkAgainstPeer(peer: PeerName, out: Reals, expected: Reals, dtype: FloatDType): Check {
  return compare({ against: peer, out, expected, dtype, firstIndex: 0 });
}

/** Some rows of an output, as the reference computes them. */
export interface ExpectedRows {
  readonly expected: Reals;
  /** Index in the whole output of the first of these elements. */
  readonly firstIndex: number;
}

/**
 * Compares a few rows of an output with the reference, which would take too long to compute all of them.
 *
 * @throws Error that says where the two differ by more than is allowed
 */
export function checkAgainstReference(out: Reals, rows: readonly ExpectedRows[], dtype: FloatDType): Check {
  const checks = rows.map(({ expected, firstIndex }) =>
    compare({
      against: 'reference',
      out: out.subarray(firstIndex, firstIndex + expected.length),
      expected,
      dtype,
      firstIndex,
    }),
  );
  return checks.reduce((worst, check) => (check.maxDifference > worst.maxDifference ? check : worst));
}

/** The first, middle and last index of n, without duplicates. */
export function firstMiddleLast(n: number): number[] {
  return [...new Set([0, Math.floor(n / 2), n - 1])];
}

interface CompareArgs extends ExpectedRows {
  readonly against: Check['against'];
  readonly out: Reals;
  readonly dtype: FloatDType;
}

function compare({ against, out, expected, dtype, firstIndex }: CompareArgs): Check {
  let maxDifference = 0;
  let worst = 0;
  let largest = 1;
  for (let i = 0; i < expected.length; i++) {
    const difference = Math.abs(out[i]! - expected[i]!);
    largest = Math.max(largest, Math.abs(expected[i]!));
    // This way round, a NaN counts as the largest difference.
    if (difference <= maxDifference) continue;
    maxDifference = difference;
    worst = i;
    if (Number.isNaN(difference)) break;
  }
  const allowed = TOLERANCE[dtype] * largest;
  if (!(maxDifference <= allowed)) {
    throw new Error(
      `pageflash and ${against} disagree: at element ${firstIndex + worst} they have ${out[worst]} and ${expected[worst]}; in ${dtype} they may differ by ${allowed.toPrecision(2)}.`,
    );
  }
  return { against, maxDifference, allowed };
}
