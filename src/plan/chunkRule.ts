import type { DeviceTraits } from '../core/deviceTraits.js';
import type { TunedChunks } from '../core/tuning.js';
import { deviceDefaults } from './deviceDefaults.js';

/** How keys are split on a device: as it was tuned, or else as its defaults say. */
export function chunkRule(traits: DeviceTraits): TunedChunks {
  if (traits.tuning) return traits.tuning.chunks;
  const { workgroups, minChunkKeys } = deviceDefaults(traits);
  return { workgroups, minKeys: minChunkKeys };
}
