import { describe } from '../core/describe.js';
import type { DeviceClass, Tier } from '../core/deviceTraits.js';
import { isDType, type DType } from '../core/dtype.js';
import { fail } from '../core/errors.js';
import type { Variant } from './pipelines.js';
import type { RuntimeOptions } from './runtime.js';

/** Checks that something can be asked for what a device can. */
export function checkDevice(device: GPUDevice): void {
  if (typeof device?.limits === 'object' && typeof device.features?.has === 'function') return;
  fail('argument', 'createRuntime', `device must be a GPUDevice, not ${describe(device)}.`);
}

/** The options of a runtime with their defaults, but for the class of the device. */
export function checkOptions(
  device: GPUDevice,
  options: RuntimeOptions,
): { readonly tier: Tier; readonly deviceClass: DeviceClass | undefined; readonly profile: boolean } {
  const caller = 'createRuntime';
  if (typeof options !== 'object' || options === null)
    fail('argument', caller, `options must be an object, not ${describe(options)}.`);
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

export function checkTensorArguments(caller: string, shape: readonly number[], dtype: DType): void {
  const isShape =
    Array.isArray(shape) && shape.findIndex((size) => !Number.isSafeInteger(size) || size < 0) < 0;
  if (!isShape) fail('shape', caller, `shape must be whole numbers ≥ 0, not ${describe(shape)}.`);
  if (!isDType(dtype))
    fail('dtype', caller, `dtype must be f32, f16, bf16, i32 or u32, not ${describe(dtype)}.`);
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
    if (
      typeof kernel?.name === 'string' &&
      typeof kernel.modules === 'object' &&
      typeof spec === 'object' &&
      spec
    )
      continue;
    fail('argument', caller, `variants[${i}] must be what attnVariants gives, not ${describe(variants[i])}.`);
  }
}
