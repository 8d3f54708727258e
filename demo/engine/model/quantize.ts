import { fromHalves, toHalves } from 'pageflash';
import { refuse } from '../engineError.js';

/** Formats of whole numbers, each group of 32 inputs with a scale of its own. */
export type QuantizedFormat = 'i8' | 'i4';

export interface QuantizedWeights {
  /** i8: a byte each, plus 128. i4: four bits each, plus 8, the first of two in the lower half of their byte. */
  readonly weights: Uint8Array<ArrayBuffer>;
  /** f16, times `SCALE_UNIT`, an even number a row. */
  readonly scales: Uint16Array<ArrayBuffer>;
}

/** What scales are stored times: halves below 2^-14, which those of small weights would be, have fewer bits. */
export const SCALE_UNIT = 1024;

const GROUP = 32;

/**
 * Rounds rows of whole groups, each weight to scale · n.
 *
 * - i8: n from −127 to 127, with the scale max |w| / 127.
 * - i4: n from −8 to 7, with the scale, of several, whose squared error is least. The largest weight of a group becomes
 *   about −8, so that no number is unused: the scale is negative where this weight is not.
 *
 * @throws EngineError for weights that are not finite, or too large for a scale of f16
 */
export function quantize(
  format: QuantizedFormat,
  rows: Float32Array<ArrayBuffer>,
  groupsPerRow: number,
): QuantizedWeights {
  const nGroups = rows.length / GROUP;
  const scales = new Float32Array(nGroups);
  for (let group = 0; group < nGroups; group++) {
    const largest = largestOf(rows, group * GROUP);
    scales[group] = format === 'i8' ? Math.abs(largest) / 127 : bestScale(rows, group * GROUP, largest);
  }
  const halves = roundScales(scales);
  return {
    weights: format === 'i8' ? bytesOf(rows, scales) : nibblesOf(rows, scales),
    scales: groupsPerRow % 2 === 0 ? halves : evenRows(halves, groupsPerRow),
  };
}

/** Returns the weight of a group that is furthest from 0. */
function largestOf(rows: Float32Array, start: number): number {
  let largest = 0;
  let sum = 0;
  for (let i = start; i < start + GROUP; i++) {
    const weight = rows[i]!;
    sum += weight;
    if (Math.abs(weight) > Math.abs(largest)) largest = weight;
  }
  if (!Number.isFinite(sum)) refuse('A weight is not finite. Such a model cannot be quantised.');
  return largest;
}

/** What the largest weight of a group is tried as. */
const ENDS = [-8.6, -8.2, -7.8, -7.4, -7, -6.5, -6, -5.5];

/**
 * Returns the scale of four bits with the least squared error. For given n, the best scale is Σ w n / Σ n², and what it
 * leaves of Σ w² is smaller the larger (Σ w n)² / Σ n² is.
 */
function bestScale(rows: Float32Array, start: number, largest: number): number {
  if (largest === 0) return 0;
  let best = 0;
  let bestGain = -1;
  for (const end of ENDS) {
    const perStep = end / largest;
    let products = 0;
    let squares = 0;
    for (let i = start; i < start + GROUP; i++) {
      const weight = rows[i]!;
      const shifted = (weight * perStep + 8.5) | 0; // from −0.1, which becomes 0
      const n = (shifted > 15 ? 15 : shifted) - 8;
      products += weight * n;
      squares += n * n;
    }
    const gain = (products * products) / squares;
    if (gain > bestGain) {
      bestGain = gain;
      best = products / squares;
    }
  }
  return best;
}

/** Rounds scales to what the halves hold, in place, and returns the halves. */
function roundScales(scales: Float32Array<ArrayBuffer>): Uint16Array<ArrayBuffer> {
  const halves = toHalves(
    'f16',
    scales.map((scale) => scale * SCALE_UNIT),
  );
  const rounded = fromHalves('f16', halves);
  for (let i = 0; i < scales.length; i++) {
    if (Math.abs(rounded[i]!) === Infinity)
      refuse(`Weights with a scale of ${scales[i]} are too large to quantise. Keep them as bf16 or f32.`);
    scales[i] = rounded[i]! / SCALE_UNIT;
  }
  return halves;
}

function bytesOf(rows: Float32Array, scales: Float32Array): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8ClampedArray(rows.length);
  for (let group = 0; group < scales.length; group++) {
    const perStep = scales[group] === 0 ? 0 : 1 / scales[group]!;
    for (let i = group * GROUP; i < (group + 1) * GROUP; i++) bytes[i] = rows[i]! * perStep + 128;
  }
  return new Uint8Array(bytes.buffer);
}

function nibblesOf(rows: Float32Array, scales: Float32Array): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(rows.length / 2);
  for (let group = 0; group < scales.length; group++) {
    const perStep = scales[group] === 0 ? 0 : 1 / scales[group]!;
    for (let i = group * GROUP; i < (group + 1) * GROUP; i += 2)
      bytes[i / 2] = nibbleOf(rows[i]! * perStep) | (nibbleOf(rows[i + 1]! * perStep) << 4);
  }
  return bytes;
}

function nibbleOf(steps: number): number {
  const shifted = Math.floor(steps + 8.5);
  return shifted > 15 ? 15 : shifted < 0 ? 0 : shifted;
}

function evenRows(halves: Uint16Array, perRow: number): Uint16Array<ArrayBuffer> {
  const even = new Uint16Array((halves.length / perRow) * (perRow + 1));
  for (let row = 0; row * perRow < halves.length; row++)
    even.set(halves.subarray(row * perRow, (row + 1) * perRow), row * (perRow + 1));
  return even;
}
