import { checkCounts, checkFlags, checkNames } from '../core/checkArguments.js';
import { describe, fail } from '../core/errors.js';
import type { AdapterMatrix } from '../core/matrixConfigurations.js';

// Chrome and Dawn have what the types of WebGPU lack.

/** The feature that WGSL's subgroup matrices need. */
export const MATRIX_FEATURE = 'chromium-experimental-subgroup-matrix' as GPUFeatureName;

/** The feature by which a kernel chooses the size of its subgroups. */
export const SUBGROUP_SIZE_FEATURE = 'subgroup-size-control' as GPUFeatureName;

/** What the WGSL of kernels that use them enables, and of no others. */
export const MATRIX_EXTENSION = 'chromium_experimental_subgroup_matrix';

/** What an adapter says of itself: its `info`. */
export interface AdapterInfo extends Partial<Omit<GPUAdapterInfo, '__brand'>> {
  /** The shapes and types of subgroup matrices that it multiplies. */
  readonly subgroupMatrixConfigs?: readonly AdapterMatrix[] | undefined;
}

// Deno 2.9 panics when a device is asked for its adapterInfo after the adapter was collected.
const adapters = new WeakMap<GPUDevice, GPUAdapter>();

/** Remembers the adapter of a device, whose info says more than that of the device. */
export function noteAdapter(device: GPUDevice, adapter: GPUAdapter): void {
  adapters.set(device, adapter);
}

/**
 * The info of a device's adapter: as it was given, or that of the adapter if it is known. That of the device comes last,
 * since its list of matrices is empty.
 */
export function adapterInfoOf(device: GPUDevice, given: AdapterInfo | undefined): AdapterInfo {
  // Older browsers have neither.
  return given ?? adapters.get(device)?.info ?? device.adapterInfo ?? {};
}

/**
 * Checks that something is the info of the adapter of a device, as far as one can tell.
 *
 * @throws PageflashError `argument`
 */
export function checkAdapterInfo(caller: string, device: GPUDevice, info: AdapterInfo): void {
  const isObject = typeof info === 'object' && info !== null;
  const remedy = isObject ? remedyFor(info) : undefined;
  if (remedy) fail('argument', caller, `adapterInfo must be the info of a GPUAdapter, not ${remedy}`);
  checkNames(caller, info, undefined, { of: 'adapterInfo' });
  checkMatrices(caller, info.subgroupMatrixConfigs);
  const { subgroupMinSize = 0, subgroupMaxSize = 0 } = info;
  checkCounts(
    caller,
    { 'adapterInfo.subgroupMinSize': subgroupMinSize, 'adapterInfo.subgroupMaxSize': subgroupMaxSize },
    0,
  );
  const { isFallbackAdapter = false } = info;
  checkFlags(caller, { 'adapterInfo.isFallbackAdapter': isFallbackAdapter });
  const own: AdapterInfo = device.adapterInfo ?? {};
  for (const name of ['vendor', 'architecture', 'device', 'description'] as const) {
    if (info[name] !== undefined && typeof info[name] !== 'string')
      fail('argument', caller, `adapterInfo.${name} must be a string, not ${describe(info[name])}.`);
    if (!own[name] || own[name] === info[name]) continue;
    fail(
      'argument',
      caller,
      `adapterInfo is of another adapter than the device: its ${name} is ${describe(info[name])}, and that of the device is ${describe(own[name])}. Pass the info of the adapter that made the device.`,
    );
  }
}

/** What was passed instead of an info, and how to get one from it. */
function remedyFor(other: object): string | undefined {
  if ('requestDevice' in other) return 'the adapter itself. Pass adapter.info.';
  if ('createBuffer' in other) return 'a device. Pass the info of its adapter.';
  if ('then' in other) return 'a promise. Await it first.';
  return undefined;
}

function checkMatrices(caller: string, listed: AdapterInfo['subgroupMatrixConfigs']): void {
  const name = 'adapterInfo.subgroupMatrixConfigs';
  if (listed === undefined) return;
  if (!Array.isArray(listed) || listed.length > MOST_MATRICES)
    fail('argument', caller, `${name} must be an array, as the adapter has it, not ${describe(listed)}.`);
  Array.from(listed, (each: unknown, i) => {
    const { componentType, resultComponentType, M, N, K } = (each ?? {}) as Partial<AdapterMatrix>;
    const areTypes = [componentType, resultComponentType].every((type) => typeof type === 'string');
    if (areTypes && [M, N, K].every(Number.isSafeInteger)) return;
    fail(
      'argument',
      caller,
      `${name}[${i}] must have the types componentType and resultComponentType and the sizes M, N and K, not be ${describe(each)}.`,
    );
  });
}

/** Far more than any adapter lists. */
const MOST_MATRICES = 1000;
