import { checkChoice, checkFlags, checkNames, namesOf } from '../core/checkArguments.js';
import type { DeviceClass, Tier } from '../core/deviceTraits.js';
import { isDType, type DType } from '../core/dtype.js';
import { describe, fail } from '../core/errors.js';
import type { Tuning } from '../core/tuning.js';
import { checkAdapterInfo, type AdapterInfo } from './adapterInfo.js';
import type { Variant } from './pipelines.js';

/** What `createRuntime` takes besides a device. */
export interface RuntimeOptions {
  /** The most that kernels may use of the device. Default: all that it has, but no subgroup matrices of software adapters. */
  readonly tier?: Tier | undefined;
  /**
   * What the adapter of the device says of itself: `adapter.info`. Only from it are the device's subgroup matrices known.
   * Default: as `requestDevice` has kept it.
   */
  readonly adapterInfo?: AdapterInfo | undefined;
  /** Which tile shapes to use. Default: the class that the adapter's names show. */
  readonly deviceClass?: DeviceClass | undefined;
  /** Whether to time every dispatch that the runtime submits itself: see `takeProfile`. Default false. */
  readonly profile?: boolean | undefined;
  /**
   * What `tune` has measured on this device, now or earlier. It decides about tiles, chunks and the length of dispatches
   * instead of defaults. Default: none.
   */
  readonly tuning?: Tuning | undefined;
}

export interface PrepareOptions {
  /** Called after each kernel, with how many of them are ready. */
  readonly onProgress?: ((progress: PrepareProgress) => void) | undefined;
  /** Stops before the next kernel. Kernels that are being compiled by then are kept. */
  readonly signal?: AbortSignal | undefined;
  /** Whether to run each kernel once, without work: some drivers compile only then. Default false. */
  readonly warmUp?: boolean | undefined;
}

/** How many kernels are ready. */
export interface PrepareProgress {
  readonly done: number;
  readonly total: number;
}

const RUNTIME_OPTIONS = namesOf<RuntimeOptions>({
  tier: true,
  adapterInfo: true,
  deviceClass: true,
  profile: true,
  tuning: true,
});

/** The names of the options of `prepare`, which `prepareModel` has as well. */
export const PREPARE_OPTIONS = namesOf<PrepareOptions>({ onProgress: true, signal: true, warmUp: true });

/** Checks that something can be asked for what a device can do, and is not one step short of a device. */
export function checkDevice(caller: string, device: GPUDevice): void {
  const isObject = typeof device === 'object' && device !== null;
  const remedy = isObject ? remedyFor(device) : undefined;
  const isDevice = typeof device?.limits === 'object' && typeof device.features?.has === 'function';
  if (isDevice && remedy === undefined) return;
  fail('argument', caller, `device must be a GPUDevice, not ${remedy ?? `${describe(device)}.`}`);
}

/** What was passed instead of a device, and how to get a device from it. */
function remedyFor(notYet: object): string | undefined {
  if ('requestDevice' in notYet)
    return 'an adapter. Pass await adapter.requestDevice(), or await requestDevice() of pageflash.';
  if ('requestAdapter' in notYet) return 'a GPU. Pass await requestDevice({ gpu }).';
  if ('then' in notYet) return 'a promise. Await it first.';
  return undefined;
}

/** Checks the options of a runtime and returns them with their defaults, except for the class of the device. */
export function checkRuntimeOptions(
  caller: string,
  device: GPUDevice,
  options: RuntimeOptions,
): {
  readonly tier: Tier | undefined;
  readonly deviceClass: DeviceClass | undefined;
  readonly profile: boolean;
} {
  checkNames(caller, options, RUNTIME_OPTIONS);
  const { tier, adapterInfo, deviceClass, profile = false } = options;
  if (tier !== undefined) checkChoice(caller, 'tier', tier, ['T0', 'T1', 'T2']);
  if (adapterInfo !== undefined) checkAdapterInfo(caller, device, adapterInfo);
  if (deviceClass !== undefined) checkChoice(caller, 'deviceClass', deviceClass, ['software', 'gpu']);
  checkFlags(caller, { profile });
  if (profile && !device.features.has('timestamp-query')) {
    fail(
      'limit',
      caller,
      'profile needs the feature timestamp-query, which this device was made without. Ask for it in requiredFeatures, or use requestDevice().',
    );
  }
  return { tier, deviceClass, profile };
}

/** Checks the values of the options of `prepare`, among whatever other options. */
export function checkPrepareOptions(
  caller: string,
  { onProgress, signal, warmUp = false }: PrepareOptions,
): void {
  if (onProgress !== undefined && typeof onProgress !== 'function')
    fail('argument', caller, `onProgress must be a function, not ${describe(onProgress)}.`);
  if (signal !== undefined && typeof signal?.throwIfAborted !== 'function')
    fail('argument', caller, `signal must be an AbortSignal, not ${describe(signal)}.`);
  checkFlags(caller, { warmUp });
}

export function checkVariants(caller: string, variants: readonly Variant[]): void {
  if (!Array.isArray(variants))
    fail(
      'argument',
      caller,
      `variants must be an array, as attnVariants gives it, not ${describe(variants)}.`,
    );
  for (let i = 0; i < variants.length; i++) {
    const { kernel, spec } = (variants[i] ?? {}) as Partial<Variant>;
    if (typeof kernel?.name === 'string' && Array.isArray(kernel.modules) && typeof spec === 'object' && spec)
      continue;
    fail('argument', caller, `variants[${i}] must be what attnVariants gives, not ${describe(variants[i])}.`);
  }
}

export function checkTensorArguments(
  caller: string,
  shape: readonly number[],
  dtype: DType,
  label: string,
): void {
  const isShape =
    Array.isArray(shape) && shape.findIndex((size) => !Number.isSafeInteger(size) || size < 0) < 0;
  if (!isShape) fail('shape', caller, `shape must be whole numbers ≥ 0, not ${describe(shape)}.`);
  if (!isDType(dtype))
    fail('dtype', caller, `dtype must be f32, f16, bf16, i32, u32, i8, i4 or e4m3, not ${describe(dtype)}.`);
  if (typeof label !== 'string') fail('argument', caller, `label must be a string, not ${describe(label)}.`);
}
