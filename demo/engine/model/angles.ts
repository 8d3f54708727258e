import { fromHalves, rotaryTables, toHalves } from 'pageflash';
import type { FloatDType, RotaryTables } from 'pageflash';
import type { RotaryConfig } from './config.js';

export interface AnglesOptions {
  readonly rotary: RotaryConfig;
  readonly maxPositions: number;
  /** What frequencies are rounded to; f32: not at all. */
  readonly rotaryType: FloatDType;
}

/**
 * Returns cosines and sines of a layer's positions: as config.json has them, or of frequencies that are rounded to halves,
 * which a model has that PyTorch has converted as a whole, buffers and all, by `model.half()` or `model.bfloat16()`.
 */
export function anglesOf({ rotary, maxPositions, rotaryType }: AnglesOptions): RotaryTables {
  if (rotaryType === 'f32') return rotaryTables({ ...rotary, maxPositions });
  // Position 1 has the frequencies as its angles.
  const tables = rotaryTables({ ...rotary, maxPositions: Math.max(2, maxPositions) });
  const nPairs = tables.rotaryDim / 2;
  const rotaryCos = new Float32Array(maxPositions * nPairs);
  const rotarySin = new Float32Array(maxPositions * nPairs);
  for (let pair = 0; pair < nPairs; pair++) {
    const cos = tables.rotaryCos[nPairs + pair]!;
    const sin = tables.rotarySin[nPairs + pair]!;
    const [frequency = 0] = fromHalves(
      rotaryType,
      toHalves(rotaryType, Float32Array.of(Math.atan2(sin, cos))),
    );
    // Some scalings multiply both.
    const factor = tables.rotaryCos[pair]!;
    for (let at = pair, position = 0; at < rotaryCos.length; at += nPairs, position++) {
      rotaryCos[at] = factor * Math.cos(position * frequency);
      rotarySin[at] = factor * Math.sin(position * frequency);
    }
  }
  return { ...tables, rotaryCos, rotarySin };
}
