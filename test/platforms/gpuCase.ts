/** One check on a GPU, run as it stands on every platform. */
export interface GpuCase {
  readonly name: string;
  /** What the case guards against, where the name alone does not say it. */
  readonly why?: string;
  /** How many different calls it checks, where they are many. */
  readonly cells?: number;
  run(t: GpuTest): Promise<void> | void;
}

export interface GpuTest {
  readonly platform: Platform;
  /** What the `full` device was made with. */
  readonly features: FeatureSet;
  /** The device that the cases of a platform share. An error that no error scope caught on it fails the case. */
  device(kind?: DeviceKind): Promise<GPUDevice>;
  /** A device of the case's own, which it may lose, and destroys otherwise. */
  ownDevice(kind?: DeviceKind): Promise<GPUDevice>;
}

/** The case's name in reports. */
export function title({ name, why }: GpuCase): string {
  return why ? `${name}: ${why}` : name;
}

/**
 * An implementation of WebGPU, and where it runs. Where the machine has an old lavapipe, those with naga run on a newer one:
 * compiling what naga writes takes the old one minutes for a kernel.
 *
 * | platform | WebGPU | shader compiler |
 * | --- | --- | --- |
 * | `node` | Dawn in Node, on the machine's Vulkan driver | Tint |
 * | `mesa-sid` | Dawn in Node, on the newest lavapipe, which has subgroup matrices | Tint |
 * | `chrome` | Dawn in headless Chrome | Tint |
 * | `deno` | wgpu in Deno | naga |
 * | `firefox` | wgpu in headless Firefox | naga |
 */
export const PLATFORMS = ['node', 'mesa-sid', 'chrome', 'deno', 'firefox'] as const;
export type Platform = (typeof PLATFORMS)[number];

/**
 * The optional features of a `full` device: `all` that the adapter has, `none`, or one of the two that decide how
 * kernels are written.
 */
export const FEATURE_SETS = ['all', 'none', 'f16', 'subgroups'] as const;
export type FeatureSet = (typeof FEATURE_SETS)[number];

/** `full`: the features of the set, and the highest limits of the adapter. `plain`: no feature, default limits. */
export type DeviceKind = 'full' | 'plain';

export function assert(condition: unknown, message: string): asserts condition {
  if (!condition) throw new Error(message);
}

/** Compares by value: typed arrays and arrays element by element, everything else with `Object.is`. */
export function assertEqual<T>(actual: T, expected: T, what = 'value'): void {
  if (isArray(actual) && isArray(expected)) {
    assertEqual(actual.length, expected.length, `${what}.length`);
    for (let i = 0; i < expected.length; i++) assertEqual(actual[i], expected[i], `${what}[${i}]`);
    return;
  }
  assert(Object.is(actual, expected), `${what} is ${String(actual)}, expected ${String(expected)}`);
}

function isArray(value: unknown): value is ArrayLike<unknown> {
  return Array.isArray(value) || (ArrayBuffer.isView(value) && !(value instanceof DataView));
}
