import type { Random } from '../../tools/random.js';

export const WINDOWS = ['none', 'left', 'right', 'both', 'own position'] as const;

/** Edges of a window anywhere among so many keys. */
export function drawWindow(
  window: (typeof WINDOWS)[number],
  sk: number,
  random: Random,
): readonly [left: number, right: number] {
  const left = random.int(0, sk);
  const right = random.int(0, sk);
  switch (window) {
    case 'none':
      return [-1, -1];
    case 'left':
      return [left, -1];
    case 'right':
      return [-1, right];
    case 'both':
      return [left, right];
    case 'own position':
      return [0, 0];
  }
}
