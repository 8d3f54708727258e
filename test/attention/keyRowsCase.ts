import { roundTo, type FloatDType } from '../../src/core/dtype.js';
import { contiguousStrides, elementCount, stridesOf, type Tensor } from '../../src/core/tensor.js';
import type { HostTensor, HostWords } from '../../src/reference/attention.js';
import { upload, type Placement } from '../../tools/deviceTensor.js';
import type { Random } from '../../tools/random.js';

// Masks of bits and additive biases for the cases of attention, with garbage wherever no key is.

/** What shares a row: nothing, the heads of a sequence, or all heads of all sequences of a dense batch. */
export type Sharing = 'nothing' | 'heads' | 'all';

export interface KeyRowsCase {
  readonly bits?: Sharing | undefined;
  readonly bias?: FloatDType | undefined;
  /** Default nothing. */
  readonly biasSharing?: Sharing | undefined;
  /** Whether rows of the bias begin at any element; else at multiples of four. */
  readonly biasAnywhere?: boolean | undefined;
}

export interface KeyRows {
  readonly mask?: HostWords;
  readonly bias?: HostTensor;
}

/** The rows of a batch. */
export interface RowsOfBatch {
  readonly nHeads: number;
  /** Keys that a row has a place for. */
  readonly nKeys: number;
  /** Query tokens: of each sequence if it is a dense batch, else of all. */
  readonly nTokens: number;
  /** Sequences of a dense batch; null where they lie end to end. */
  readonly batch: number | null;
  /** By sequence, its first query token, and the keys that are there: those before `first` or from `end` on are not. */
  readonly sequences: readonly {
    readonly firstQuery: number;
    readonly nQueries: number;
    readonly first: number;
    readonly end: number;
  }[];
}

export function drawKeyRows(random: Random, kind: KeyRowsCase, rows: RowsOfBatch): KeyRows {
  return {
    ...(kind.bits && { mask: drawMask(random, kind.bits, rows) }),
    ...(kind.bias && { bias: drawBias(random, kind.bias, kind, rows) }),
  };
}

/** The most elements that take no time to draw and to upload. */
const MOST_ELEMENTS = 2 ** 22;

function shapeOf(sharing: Sharing, { nHeads, nTokens, batch }: RowsOfBatch, width: number): number[] {
  const batches = batch === null ? [] : [sharing === 'all' ? 1 : batch];
  const own = [...batches, nHeads, nTokens, width];
  return sharing === 'nothing' && elementCount(own) <= MOST_ELEMENTS ? own : [...batches, 1, nTokens, width];
}

/** Of every second key about, with stretches of hidden and of seen ones, longer than tiles; some keys no row sees. */
function drawMask(random: Random, sharing: Sharing, rows: RowsOfBatch): HostWords {
  const shape = shapeOf(sharing, rows, Math.ceil(rows.nKeys / 32) + random.int(0, 2));
  const width = shape.at(-1)!;
  const word = () => (random.int(0, 2 ** 16) * 2 ** 16 + random.int(0, 2 ** 16)) >>> 0;
  const data = new Uint32Array(elementCount(shape));
  const seenByAny = Uint32Array.from({ length: width }, () =>
    random.int(0, 2) ? 0xffffffff : (word() | word()) >>> 0,
  );
  // Neighbouring rows agree about stretches, so that some of them are hidden from whole tiles.
  for (let at = 0; at < data.length;) {
    const nRows = random.int(1, 300);
    const stretch = random.int(1, 12);
    const kinds = Array.from({ length: Math.ceil(width / stretch) }, () => random.int(0, 4));
    for (let i = 0; i < nRows * width && at < data.length; i++, at++) {
      const kindOfWord = kinds[Math.floor((i % width) / stretch)]!;
      data[at] = (kindOfWord === 0 ? 0 : kindOfWord === 1 ? 0xffffffff : word()) & seenByAny[i % width]!;
    }
  }
  return { shape, data };
}

/** A few units up and down, with some keys hidden, a few of them from all rows, and some rows without any key. NaN where no key is. */
function drawBias(
  random: Random,
  dtype: FloatDType,
  { biasSharing = 'nothing', biasAnywhere = false }: KeyRowsCase,
  rows: RowsOfBatch,
): HostTensor {
  const quads = Math.ceil(rows.nKeys / 4) * 4;
  const shape = shapeOf(biasSharing, rows, biasAnywhere ? rows.nKeys : quads);
  const width = shape.at(-1)!;
  const data = random.normals(elementCount(shape)).map((x) => roundTo(dtype, 2 * x));
  const hidden = dtype === 'f16' ? [-Infinity] : [-Infinity, roundTo(dtype, -3e38), roundTo(dtype, -1.1e30)];
  const hiddenFromAll = Array.from({ length: width / 12 }, () => random.int(0, width));
  for (let row = 0; row < data.length / width; row++) {
    const of = data.subarray(row * width, (row + 1) * width);
    for (const key of hiddenFromAll) of[key] = random.pick(hidden);
    if (random.int(0, 20) === 0) of.fill(random.pick(hidden));
    else for (let n = width / 10; n > 0; n--) of[random.int(0, width)] = random.pick(hidden);
  }
  const bias = { shape, data };
  hideWhatIsNotThere(bias, rows);
  return bias;
}

/** NaN for the keys that a sequence does not have, where a row belongs to one sequence only. */
function hideWhatIsNotThere({ shape, data }: HostTensor, { batch, sequences }: RowsOfBatch): void {
  const [nBatch, nHeads, nTokens, width] = (batch === null ? [1, ...shape] : shape) as [
    number,
    number,
    number,
    number,
  ];
  sequences.forEach(({ firstQuery, nQueries, first, end }, b) => {
    if (batch !== null && nBatch !== batch) return;
    for (let head = 0; head < nHeads; head++)
      for (let i = 0; i < nQueries; i++) {
        const row = batch === null ? head * nTokens + firstQuery + i : (b * nHeads + head) * nTokens + i;
        (data as Float32Array).fill(NaN, row * width, row * width + Math.min(first, width));
        (data as Float32Array).fill(NaN, row * width + Math.min(end, width), (row + 1) * width);
      }
  });
}

/** Uploads them, the bias with an odd number of elements before it if its rows are to begin anywhere. */
export function placeKeyRows(
  device: GPUDevice,
  { bias: biasDType, biasAnywhere }: KeyRowsCase,
  { mask, bias }: KeyRows,
): { readonly mask?: Tensor; readonly bias?: Tensor } {
  const anywhere = ({ shape }: HostTensor): Placement => ({
    offset: 3,
    strides: contiguousStrides([...shape.slice(0, -1), shape.at(-1)! + 1]),
  });
  return {
    ...(mask && { mask: upload(device, 'u32', mask.shape, mask.data, { offset: 5 }) }),
    ...(bias && {
      bias: upload(device, biasDType!, bias.shape, bias.data, biasAnywhere ? anywhere(bias) : {}),
    }),
  };
}

/** [Hq or 1, B · Sq, keys] → [B, Hq or 1, Sq, keys] */
export function denseKeyRows(tensor: Tensor, batch: number): Tensor {
  const [heads, tokens, width] = tensor.shape as [number, number, number];
  const [head, token] = stridesOf(tensor) as [number, number, number];
  const perSequence = tokens / batch;
  return {
    ...tensor,
    shape: [batch, heads, perSequence, width],
    strides: [perSequence * token, head, token, 1],
  };
}
