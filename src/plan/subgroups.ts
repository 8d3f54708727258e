import type { DeviceTraits } from '../core/deviceTraits.js';

/** The size that all subgroups have; 0 if they differ or are not to be used. */
export function fixedSubgroupSize({ subgroupMinSize, subgroupMaxSize }: DeviceTraits): number {
  return subgroupMinSize === subgroupMaxSize ? subgroupMinSize : 0;
}
