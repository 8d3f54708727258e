/**
 * How fast a device has proven to be, at least. It decides into how many dispatches long work is cut, never what is
 * computed: results have the same bits at any pace.
 */
export interface Pace {
  /** Multiply-adds of attention per second; 0 where nothing is known. */
  readonly macsPerSecond: number;
  /** Bytes of keys and values per second; 0 where nothing is known. */
  readonly bytesPerSecond: number;
}

export const UNKNOWN_PACE: Pace = { macsPerSecond: 0, bytesPerSecond: 0 };

/** What a dispatch of attention has to do at most. */
export interface Load {
  /** Multiply-adds. */
  readonly macs: number;
  /** Of keys and values. */
  readonly bytes: number;
}
