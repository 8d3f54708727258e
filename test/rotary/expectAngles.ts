import { expect } from 'vitest';
import { rotaryTables, type RotaryConfigOptions, type RotaryOptions } from '../../src/index.js';

export interface Angles {
  readonly perPosition: readonly number[];
  readonly factor?: number;
}

/** Expects the tables of these angles per position of each pair, multiplied by a factor. */
export function expectAngles(
  options: RotaryOptions | RotaryConfigOptions,
  { perPosition, factor = 1 }: Angles,
): void {
  const { rotaryCos, rotarySin, rotaryDim } = rotaryTables(options as RotaryOptions);
  expect(rotaryDim).toBe(2 * perPosition.length);
  expect([rotaryCos.length, rotarySin.length]).toEqual(
    [0, 0].fill(options.maxPositions * perPosition.length),
  );
  for (const position of [0, 1, 7, options.maxPositions - 1]) {
    perPosition.forEach((frequency, t) => {
      const at = position * perPosition.length + t;
      expect(rotaryCos[at]).toBeCloseTo(factor * Math.cos(position * frequency), 6);
      expect(rotarySin[at]).toBeCloseTo(factor * Math.sin(position * frequency), 6);
    });
  }
}

// What modeling_rope_utils.py of transformers 5.18 gives, run in f64 for the older and the newer words of a config.json.
