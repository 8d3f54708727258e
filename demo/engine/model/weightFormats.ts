import { fromHalves, toHalves } from 'pageflash';
import { refuse } from '../engineError.js';
import { quantize, type QuantizedFormat } from './quantize.js';

/** The number formats of checkpoints. */
export type StoredFormat = 'f32' | 'f16' | 'bf16';

/** How the weights of a matrix are stored on the GPU. */
export type WeightFormat = StoredFormat | QuantizedFormat;

/** Inputs that share a scale in i8 and i4, in the order of `inputOrder`. Rows of every format are filled up to whole groups. */
export const GROUP = 32;

const GROUP_BYTES: Readonly<Record<WeightFormat, number>> = { f32: 128, f16: 64, bf16: 64, i8: 32, i4: 16 };

/** Weights as they are on the GPU. */
export interface EncodedWeights {
  readonly weights: ArrayBufferView<ArrayBuffer>;
  /** Of i8 and i4: f16 times 1024, an even number a row. */
  readonly scales?: Uint16Array<ArrayBuffer>;
}

/** Whole rows of a file. */
export interface StoredRows {
  /** What errors call the matrix. */
  readonly label: string;
  readonly dtype: StoredFormat;
  readonly nIn: number;
  readonly bytes: Uint8Array<ArrayBuffer>;
}

export function hasScales(format: WeightFormat): format is QuantizedFormat {
  return format === 'i8' || format === 'i4';
}

/** Returns how many groups of inputs a row has. */
export function groupsOf(nIn: number): number {
  return Math.ceil(nIn / GROUP);
}

/** Returns the bytes of a row of weights. */
export function weightRowBytes(format: WeightFormat, nIn: number): number {
  return groupsOf(nIn) * GROUP_BYTES[format];
}

/**
 * Returns which input each weight of a row is for, in the order in which they are stored.
 *
 * A word of 16 bytes of i8 or i4 is what an invocation reads. Eight words in a row are dealt the quads of their inputs one
 * at a time, so that eight invocations read quads of activations that are beside each other. The words left at the end of
 * a row, and those of other formats, have inputs one after another.
 */
export function inputOrder(format: WeightFormat, nIn: number): Uint32Array<ArrayBuffer> {
  const order = Uint32Array.from({ length: groupsOf(nIn) * GROUP }, (_, i) => i);
  if (!hasScales(format)) return order;
  const wordQuads = format === 'i8' ? 4 : 8;
  const dealt = DEALT_WORDS * wordQuads * 4;
  const end = Math.floor(order.length / dealt) * dealt;
  for (let i = 0; i < end; i++) {
    const start = Math.floor(i / dealt) * dealt;
    const quad = Math.floor((i - start) / 4);
    const word = Math.floor(quad / wordQuads);
    order[i] = start + ((quad % wordQuads) * DEALT_WORDS + word) * 4 + (i % 4);
  }
  return order;
}

const DEALT_WORDS = 8;

/** Returns the bytes of a row of scales: an even number of halves, so that rows are whole words. */
export function scaleRowBytes(format: WeightFormat, nIn: number): number {
  return hasScales(format) ? Math.ceil(groupsOf(nIn) / 2) * 4 : 0;
}

/**
 * Converts whole rows of a file.
 *
 * @throws EngineError for weights that the format cannot hold
 */
export function encodeRows(format: WeightFormat, { label, dtype, nIn, bytes }: StoredRows): EncodedWeights {
  if (dtype === format && nIn % GROUP === 0) return { weights: bytes };
  const rows = fillUp(readFloats(dtype, bytes), nIn);
  if (hasScales(format)) {
    const ordered = reorder(rows, inputOrder(format, nIn));
    return quantize(format, { label, rows: ordered, groupsPerRow: groupsOf(nIn) });
  }
  if (format === 'f32') return { weights: rows };
  const halves = toHalves(format, rows);
  if (format === 'f16' && dtype !== 'f16') expectFinite(label, halves, rows);
  return { weights: halves };
}

/** Returns the numbers of a file's bytes, which may begin anywhere. */
function readFloats(dtype: StoredFormat, bytes: Uint8Array<ArrayBuffer>): Float32Array<ArrayBuffer> {
  const { buffer } = bytes.slice();
  return dtype === 'f32' ? new Float32Array(buffer) : fromHalves(dtype, new Uint16Array(buffer));
}

/** Fills each row up with zeros to whole groups. */
function fillUp(rows: Float32Array<ArrayBuffer>, nIn: number): Float32Array<ArrayBuffer> {
  const size = groupsOf(nIn) * GROUP;
  if (size === nIn) return rows;
  const filled = new Float32Array((rows.length / nIn) * size);
  for (let from = 0, to = 0; from < rows.length; from += nIn, to += size)
    filled.set(rows.subarray(from, from + nIn), to);
  return filled;
}

function reorder(rows: Float32Array, order: Uint32Array): Float32Array<ArrayBuffer> {
  const ordered = new Float32Array(rows.length);
  for (let start = 0; start < rows.length; start += order.length)
    for (let i = 0; i < order.length; i++) ordered[start + i] = rows[start + order[i]!]!;
  return ordered;
}

function expectFinite(label: string, halves: Uint16Array, numbers: Float32Array): void {
  const at = halves.findIndex((bits, i) => (bits & 0x7fff) === 0x7c00 && Number.isFinite(numbers[i]));
  if (at >= 0)
    refuse(
      `${label} has a weight of ${numbers[at]}, but f16 goes up to 65504. Keep its weights as bf16 or f32.`,
    );
}
