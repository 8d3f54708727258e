import type { DeviceTraits } from '../core/deviceTraits.js';

/** What all checks of a call need to know. */
export interface Call {
  /** The function that the user has called, for errors. */
  readonly name: string;
  readonly traits: DeviceTraits;
}
