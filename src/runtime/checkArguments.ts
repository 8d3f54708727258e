import { checkNames, namesOf } from '../core/checkNames.js';
import { describe } from '../core/describe.js';
import type { DeviceClass, Tier } from '../core/deviceTraits.js';
import { isDType, type DType } from '../core/dtype.js';
import { fail } from '../core/errors.js';
import type { Variant } from './pipelines.js';
import type { RequestDeviceOptions } from './requestDevice.js';
import type { PrepareOptions, RuntimeOptions } from './runtime.js';

/** Checks that something can be asked for what a device can, and is not what only leads to a device. */
export function checkDevice(device: GPUDevice): void {
  const isObject = typeof device === 'object' && device !== null;
  const remedy = isObject ? remedyFor(device) : undefined;
  const isDevice = typeof device?.limits === 'object' && typeof device.features?.has === 'function';
  if (isDevice && remedy === undefined) return;
  const got = remedy ?? `${describe(device)}.`;
  fail('argument', 'createRuntime', `device must be a GPUDevice, not ${got}`);
}

/** What was passed instead of a device, and how it gives one. */
function remedyFor(notYet: object): string | undefined {
  if ('requestDevice' in notYet)
    return 'an adapter. Pass await adapter.requestDevice(), or await requestDevice() of pageflash.';
  if ('requestAdapter' in notYet) return 'a GPU. Pass await requestDevice({ gpu }).';
  if ('then' in notYet) return 'a promise. Await it first.';
  return undefined;
}

const RUNTIME_OPTIONS = namesOf<RuntimeOptions>({ tier: true, deviceClass: true, profile: true });

const DEVICE_OPTIONS = namesOf<RequestDeviceOptions>({
  gpu: true,
  label: true,
  featureLevel: true,
  powerPreference: true,
  forceFallbackAdapter: true,
  xrCompatible: true,
});

/** Checks what only pageflash knows of its options; the adapter's own are checked by WebGPU. */
export function checkDeviceOptions(options: RequestDeviceOptions): void {
  const caller = 'requestDevice';
  if (typeof options === 'object' && options !== null && 'requestAdapter' in options)
    fail('argument', caller, 'the arguments must be one object, not a GPU. Pass it as { gpu }.');
  checkNames(caller, options, DEVICE_OPTIONS);
  const { gpu, label } = options;
  if (gpu !== undefined && typeof gpu?.requestAdapter !== 'function')
    fail('argument', caller, `gpu must be what navigator.gpu is, not ${describe(gpu)}.`);
  if (label !== undefined && typeof label !== 'string')
    fail('argument', caller, `label must be a string, not ${describe(label)}.`);
}

/** The options of a runtime with their defaults, but for the class of the device. */
export function checkOptions(
  device: GPUDevice,
  options: RuntimeOptions,
): { readonly tier: Tier; readonly deviceClass: DeviceClass | undefined; readonly profile: boolean } {
  const caller = 'createRuntime';
  if (typeof options !== 'object' || options === null)
    fail('argument', caller, `options must be an object, not ${describe(options)}.`);
  checkNames(caller, options, RUNTIME_OPTIONS);
  const { tier = 'T1', deviceClass, profile = false } = options;
  if (tier !== 'T0' && tier !== 'T1')
    fail('argument', caller, `tier must be 'T0' or 'T1', not ${describe(tier)}.`);
  if (deviceClass !== undefined && deviceClass !== 'software' && deviceClass !== 'gpu')
    fail('argument', caller, `deviceClass must be 'software' or 'gpu', not ${describe(deviceClass)}.`);
  if (typeof profile !== 'boolean')
    fail('argument', caller, `profile must be true or false, not ${describe(profile)}.`);
  if (profile && !device.features.has('timestamp-query')) {
    fail(
      'limit',
      caller,
      'profile needs the feature timestamp-query, which this device was made without. Ask for it in requiredFeatures, or use requestDevice().',
    );
  }
  return { tier, deviceClass, profile };
}

export function checkTensorArguments(
  caller: string,
  shape: readonly number[],
  { dtype, label }: { readonly dtype: DType; readonly label: string },
): void {
  const isShape =
    Array.isArray(shape) && shape.findIndex((size) => !Number.isSafeInteger(size) || size < 0) < 0;
  if (!isShape) fail('shape', caller, `shape must be whole numbers ≥ 0, not ${describe(shape)}.`);
  if (!isDType(dtype))
    fail('dtype', caller, `dtype must be f32, f16, bf16, i32 or u32, not ${describe(dtype)}.`);
  if (typeof label !== 'string') fail('argument', caller, `label must be a string, not ${describe(label)}.`);
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

/** The options of `prepare`, which `prepareModel` has as well. */
export const PREPARE_OPTIONS = namesOf<PrepareOptions>({ onProgress: true, signal: true, warmUp: true });

/** Checks the values of these, whatever others there are. */
export function checkPrepareOptions(
  caller: string,
  { onProgress, signal, warmUp = false }: PrepareOptions,
): void {
  if (onProgress !== undefined && typeof onProgress !== 'function')
    fail('argument', caller, `onProgress must be a function, not ${describe(onProgress)}.`);
  if (signal !== undefined && typeof signal?.throwIfAborted !== 'function')
    fail('argument', caller, `signal must be an AbortSignal, not ${describe(signal)}.`);
  if (typeof warmUp !== 'boolean')
    fail('argument', caller, `warmUp must be true or false, not ${describe(warmUp)}.`);
}
