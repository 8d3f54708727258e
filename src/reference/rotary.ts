import { PageflashError } from '../core/errors.js';
import type { HostTensor } from './hostTensor.js';

/** A table of angles and how the elements of a head are paired. */
export interface Rotary {
  /** [L, rotaryDim/2] */
  readonly cos: HostTensor;
  /** [L, rotaryDim/2] */
  readonly sin: HostTensor;
  /** Pair t is elements (2t, 2t + 1); otherwise (t, t + rotaryDim/2). */
  readonly interleaved: boolean;
}

/**
 * Rotates the first rotaryDim elements of one head in place, pair t by the angle of (position, t):
 *
 *     x' = x cos − y sin      y' = x sin + y cos
 *
 * @throws PageflashError `length` where the table has no such position
 */
export function rotate(head: Float32Array | Float64Array, position: number, rotary: Rotary): void {
  const { cos, sin, interleaved } = rotary;
  const [nPositions, nPairs] = cos.shape as [number, number];
  if (position >= nPositions)
    throw new PageflashError(
      'length',
      `rotaryCos has the positions 0 to ${nPositions - 1}, not position ${position}.`,
    );
  for (let t = 0; t < nPairs; t++) {
    const c = cos.data[position * nPairs + t]!;
    const s = sin.data[position * nPairs + t]!;
    const xIndex = interleaved ? 2 * t : t;
    const yIndex = interleaved ? 2 * t + 1 : t + nPairs;
    const x = head[xIndex]!;
    const y = head[yIndex]!;
    head[xIndex] = x * c - y * s;
    head[yIndex] = x * s + y * c;
  }
}
