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

export interface FilledRows {
  /** What errors call the matrix. */
  readonly label: string;
  /** Rows of whole groups, in the order in which they are stored. */
  readonly rows: Float32Array<ArrayBuffer>;
  readonly groupsPerRow: number;
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
  { label, rows, groupsPerRow }: FilledRows,
): QuantizedWeights {
  const nGroups = rows.length / GROUP;
  const scales = new Float32Array(nGroups);
  for (let group = 0; group < nGroups; group++) {
    const largest = largestOf(rows, group * GROUP);
    if (!Number.isFinite(largest))
      refuse(`${label} has a weight that is not finite, so it cannot be quantised.`);
    scales[group] = format === 'i8' ? Math.abs(largest) / 127 : bestScale(rows, group * GROUP, largest);
  }
  const halves = roundScales(label, scales);
  return {
    weights: format === 'i8' ? bytesOf(rows, scales) : nibblesOf(rows, scales),
    scales: groupsPerRow % 2 === 0 ? halves : evenRows(halves, groupsPerRow),
  };
}

/** Returns the weight of a group that is furthest from 0, or what is not finite where one of them is not. */
function largestOf(rows: Float32Array, start: number): number {
  let largest = 0;
  let sum = 0;
  const end = start + GROUP;
  for (let i = start; i < end; i++) {
    const weight = rows[i]!;
    sum += weight;
    if (Math.abs(weight) > Math.abs(largest)) largest = weight;
  }
  return Number.isFinite(sum) ? largest : sum;
}

/** What the largest weight of a group is tried as. */
const ENDS = [-8.4, -7.8, -7.2, -6.4, -5.6];

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
    const stop = start + GROUP;
    for (let i = start; i < stop; i++) {
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
function roundScales(label: string, scales: Float32Array<ArrayBuffer>): Uint16Array<ArrayBuffer> {
  const halves = toHalves(
    'f16',
    scales.map((scale) => scale * SCALE_UNIT),
  );
  const rounded = fromHalves('f16', halves);
  for (let i = 0; i < scales.length; i++) {
    if (Math.abs(rounded[i]!) === Infinity)
      refuse(
        `${label} has weights in steps of ${Math.abs(scales[i]!)}, too large to quantise. Keep them as bf16 or f32.`,
      );
    scales[i] = rounded[i]! / SCALE_UNIT;
  }
  return halves;
}

// In loops over all weights, `| 0` rounds down what is not negative; the clamp takes the rest.

function bytesOf(rows: Float32Array, scales: Float32Array): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(rows.length);
  for (let group = 0; group < scales.length; group++) {
    const perStep = scales[group] === 0 ? 0 : 1 / scales[group]!;
    const end = (group + 1) * GROUP;
    for (let i = group * GROUP; i < end; i++) {
      const shifted = (rows[i]! * perStep + 128.5) | 0;
      bytes[i] = shifted > 255 ? 255 : shifted < 1 ? 1 : shifted;
    }
  }
  return bytes;
}

function nibblesOf(rows: Float32Array, scales: Float32Array): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(rows.length / 2);
  for (let group = 0; group < scales.length; group++) {
    const perStep = scales[group] === 0 ? 0 : 1 / scales[group]!;
    const end = (group + 1) * GROUP;
    for (let i = group * GROUP; i < end; i += 2)
      bytes[i >> 1] = nibbleOf(rows[i]! * perStep) | (nibbleOf(rows[i + 1]! * perStep) << 4);
  }
  return bytes;
}

function nibbleOf(steps: number): number {
  const shifted = (steps + 8.5) | 0;
  return shifted > 15 ? 15 : shifted < 0 ? 0 : shifted;
}

function evenRows(halves: Uint16Array, perRow: number): Uint16Array<ArrayBuffer> {
  const even = new Uint16Array((halves.length / perRow) * (perRow + 1));
  for (let row = 0; row * perRow < halves.length; row++)
    even.set(halves.subarray(row * perRow, (row + 1) * perRow), row * (perRow + 1));
  return even;
}
