import { checkAmounts, checkChoice, checkCounts, checkNames, namesOf } from './checkArguments.js';
import type { DeviceTraits } from './deviceTraits.js';
import { FLOATS, KV_DTYPES } from './dtype.js';
import { describe, fail } from './errors.js';
import { isSameMatrix, type MatrixConfiguration } from './matrixConfigurations.js';
import type {
  TileShape,
  TunedChunks,
  TunedDecode,
  TunedDevice,
  TunedMerge,
  TunedPrefill,
  TunedRates,
  Tuning,
} from './tuning.js';

export const TUNING_FORMAT = 2;

const NAMES = namesOf<Tuning>({
  format: true,
  device: true,
  matrices: true,
  rates: true,
  chunks: true,
  merge: true,
  prefill: true,
  decode: true,
});
const DEVICE_NAMES = namesOf<TunedDevice>({
  vendor: true,
  architecture: true,
  description: true,
  deviceClass: true,
  tier: true,
  shaderF16: true,
  subgroupMinSize: true,
  subgroupMaxSize: true,
  maxWorkgroupBytes: true,
  maxWorkgroupInvocations: true,
});
const MATRIX_NAMES = namesOf<MatrixConfiguration>({
  componentType: true,
  resultComponentType: true,
  M: true,
  N: true,
  K: true,
});
const RATE_NAMES = namesOf<TunedRates>({ macsPerSecond: true, bytesPerSecond: true });
const CHUNK_NAMES = namesOf<TunedChunks>({ workgroups: true, minKeys: true });
const MERGE_NAMES = namesOf<TunedMerge>({ stepParts: true, partLanes: true });
const PREFILL_NAMES = namesOf<TunedPrefill>({
  headDim: true,
  headDimV: true,
  dtype: true,
  kvDType: true,
  tile: true,
});
const DECODE_NAMES = namesOf<TunedDecode>({
  headDim: true,
  headDimV: true,
  kvDType: true,
  rows: true,
  tile: true,
});

/** What must be the same for tiles to be the same. Whether they fit is decided by limits, which may be higher. */
const SAME = [
  'vendor',
  'architecture',
  'deviceClass',
  'tier',
  'shaderF16',
  'subgroupMinSize',
  'subgroupMaxSize',
] as const satisfies readonly (keyof TunedDevice)[];
const AT_LEAST = [
  'maxWorkgroupBytes',
  'maxWorkgroupInvocations',
] as const satisfies readonly (keyof TunedDevice)[];

/** The part of a device's traits that a tuning is for. */
export function tunedDevice(traits: DeviceTraits, description: string): TunedDevice {
  const { vendor, architecture, deviceClass, shaderF16, subgroupMinSize, subgroupMaxSize } = traits;
  const { maxWorkgroupBytes, maxWorkgroupInvocations } = traits;
  const tier = traits.tier === 'T2' ? 'T1' : traits.tier;
  return {
    vendor,
    architecture,
    description,
    deviceClass,
    tier,
    shaderF16,
    subgroupMinSize,
    subgroupMaxSize,
    maxWorkgroupBytes,
    maxWorkgroupInvocations,
  };
}

/**
 * Returns a copy of a tuning, so that it cannot change afterwards, if it is for a device with these traits.
 *
 * @throws PageflashError `argument` for what is no tuning, of another version or another device; `limit` if the device was
 * made with lower limits than the tuning
 */
export function checkedTuning(caller: string, given: Tuning, traits: DeviceTraits): Tuning {
  checkNames(caller, given, undefined, { of: 'tuning' });
  if (given.format !== TUNING_FORMAT)
    fail(
      'argument',
      caller,
      `tuning.format must be ${TUNING_FORMAT}, not ${describe(given.format)}: it was made by another version of pageflash. Tune again.`,
    );
  checkNames(caller, given, NAMES, { of: 'tuning' });
  checkDevice(caller, given.device, traits);
  const { matrices, rates, chunks, prefill, decode } = given;
  if (matrices !== null) checkMatrices(caller, matrices);
  checkNames(caller, rates, RATE_NAMES, { of: 'tuning.rates' });
  const { macsPerSecond, bytesPerSecond } = rates;
  const amounts = {
    'tuning.rates.macsPerSecond': macsPerSecond,
    'tuning.rates.bytesPerSecond': bytesPerSecond,
  };
  checkAmounts(caller, amounts, { above: true });
  checkNames(caller, chunks, CHUNK_NAMES, { of: 'tuning.chunks' });
  const { workgroups, minKeys } = chunks;
  checkCounts(caller, { 'tuning.chunks.workgroups': workgroups, 'tuning.chunks.minKeys': minKeys });
  const { merge } = given;
  checkNames(caller, merge, MERGE_NAMES, { of: 'tuning.merge' });
  const { stepParts, partLanes } = merge;
  checkChoice(caller, 'tuning.merge.stepParts', stepParts, [1, 2, 4, 8]);
  checkChoice(caller, 'tuning.merge.partLanes', partLanes, [1, 16]);
  return {
    format: TUNING_FORMAT,
    device: { ...given.device },
    matrices: matrices && { ...matrices },
    rates: { macsPerSecond, bytesPerSecond },
    chunks: { workgroups, minKeys },
    merge: { stepParts, partLanes },
    prefill: entries(caller, 'tuning.prefill', prefill, PREFILL_NAMES),
    decode: entries(caller, 'tuning.decode', decode, DECODE_NAMES),
  };
}

/**
 * Whether a tuning says that subgroup matrices have passed their self-test on the adapter with this description. One
 * without description may have any driver.
 */
export function isProvenBy(
  { matrices, device }: Tuning,
  configuration: MatrixConfiguration,
  description: string | undefined,
): boolean {
  return (
    matrices !== null &&
    isSameMatrix(matrices, configuration) &&
    !!description &&
    device.description === description
  );
}

function checkMatrices(caller: string, matrices: MatrixConfiguration): void {
  checkNames(caller, matrices, MATRIX_NAMES, { of: 'tuning.matrices' });
  const { componentType, resultComponentType, M, N, K } = matrices;
  checkChoice(caller, 'tuning.matrices.componentType', componentType, ['f16', 'f32']);
  if (resultComponentType !== 'f32')
    fail(
      'argument',
      caller,
      `tuning.matrices.resultComponentType must be 'f32', not ${describe(resultComponentType)}.`,
    );
  checkCounts(caller, { 'tuning.matrices.M': M, 'tuning.matrices.N': N, 'tuning.matrices.K': K });
}

function checkDevice(caller: string, device: TunedDevice, traits: DeviceTraits): void {
  checkNames(caller, device, DEVICE_NAMES, { of: 'tuning.device' });
  for (const name of SAME) {
    if (device[name] === traits[name]) continue;
    fail(
      'argument',
      caller,
      `the tuning is for a device whose ${name} is ${describe(device[name])}; that of this one is ${describe(traits[name])}. Tune this device, or leave tuning out.`,
    );
  }
  for (const name of AT_LEAST) {
    if (device[name] <= traits[name]) continue;
    fail(
      'limit',
      caller,
      `the tuning needs a device whose ${name} is at least ${describe(device[name])}; that of this one is ${traits[name]}. Request the device as it was requested for tune, or tune again.`,
    );
  }
}

/** Copies of entries. Whether a tile is one of those that the planner knows, it says when it looks it up. */
function entries<Entry extends TunedPrefill | TunedDecode>(
  caller: string,
  name: string,
  list: readonly Entry[],
  names: readonly string[],
): Entry[] {
  if (!Array.isArray(list)) fail('argument', caller, `${name} must be an array, not ${describe(list)}.`);
  return Array.from(list as readonly Entry[], (entry, i) => {
    const of = `${name}[${i}]`;
    checkNames(caller, entry, names, { of });
    const { headDim, headDimV, kvDType, tile } = entry;
    checkCounts(caller, { [`${of}.headDim`]: headDim, [`${of}.headDimV`]: headDimV });
    checkChoice(caller, `${of}.kvDType`, kvDType, KV_DTYPES);
    const { rows, dtype } = entry as Partial<TunedDecode & TunedPrefill>;
    if (names.includes('rows')) checkCounts(caller, { [`${of}.rows`]: rows });
    if (names.includes('dtype')) checkChoice(caller, `${of}.dtype`, dtype, FLOATS);
    checkTile(caller, `${of}.tile`, tile);
    return { ...entry, tile: { ...tile } };
  });
}

function checkTile(caller: string, name: string, tile: TileShape): void {
  checkNames(caller, tile, undefined, { of: name });
  for (const [field, value] of Object.entries(tile))
    if (typeof value !== 'boolean') checkCounts(caller, { [`${name}.${field}`]: value }, 0);
}
