import { roundTo, type FloatDType } from '../../src/core/dtype.js';
import type { Random } from '../../tools/random.js';

export interface SinksCase {
  /** Of every head, or −∞ for every second one, which has none. */
  readonly sinks?: boolean | 'some heads' | undefined;
  readonly dtype: FloatDType;
}

/** A sink for each head, in the type of q. */
export function drawSinks(random: Random, nHeads: number, { sinks, dtype }: SinksCase): Float32Array {
  return random
    .normals(nHeads)
    .map((sink, head) => (sinks === 'some heads' && head % 2 === 0 ? -Infinity : roundTo(dtype, sink)));
}
