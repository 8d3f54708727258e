import type { Placement } from '../../tools/deviceTensor.js';

/** A placement that leaves `gap` elements before the first one, and after each index of every dimension but the last. */
export function withGaps(shape: readonly number[], gap: number): Placement {
  const strides = shape.map(() => 1);
  for (let axis = shape.length - 2; axis >= 0; axis--) {
    strides[axis] = strides[axis + 1]! * shape[axis + 1]! + gap;
  }
  return { strides, offset: gap };
}
