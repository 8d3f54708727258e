import type { Gpu } from '../gpu/gpu.js';
import {
  encodeRows,
  scaleRowBytes,
  weightRowBytes,
  type StoredFormat,
  type WeightFormat,
} from './weightFormats.js';

/** Weights as checkpoints store them: [nOut, nIn]. */
export interface Matrix {
  readonly nOut: number;
  readonly nIn: number;
  readonly format: WeightFormat;
  /** Ranges of rows, where one binding cannot be as large as the matrix. */
  readonly parts: readonly MatrixPart[];
  /** Bytes of GPU memory. */
  readonly bytes: number;
}

export interface MatrixPart {
  readonly firstRow: number;
  readonly nRows: number;
  /** [nRows, nIn], each row filled up with zeros to whole groups of 32 inputs. */
  readonly weights: GPUBuffer;
  /** Of i8 and i4: [nRows, groups] f16 times 1024, each row filled up to an even number. */
  readonly scales?: GPUBuffer;
}

export interface MatrixShape {
  /** What buffers and errors call it. */
  readonly label: string;
  readonly nOut: number;
  readonly nIn: number;
  readonly format: WeightFormat;
}

/** Parts begin at whole tiles of the kernels. */
const ROWS_MULTIPLE = 64;

/** Fills a matrix on the GPU, range of rows by range as its file is read. */
export class MatrixWriter {
  readonly matrix: Matrix;
  readonly #gpu: Gpu;
  readonly #label: string;

  /** @throws RangeError for sizes that are not positive, or rows longer than this GPU binds */
  constructor(gpu: Gpu, { label, nOut, nIn, format }: MatrixShape) {
    this.#gpu = gpu;
    this.#label = label;
    if (!(isCount(nOut) && isCount(nIn)))
      throw new RangeError(`${label}: a matrix has at least one row and one column, not ${nOut} and ${nIn}.`);
    const rowBytes = weightRowBytes(format, nIn);
    const scaleBytes = scaleRowBytes(format, nIn);
    const { maxStorageBufferBindingSize, maxBufferSize } = gpu.device.limits;
    const maxRows = Math.floor(Math.min(maxStorageBufferBindingSize, maxBufferSize) / rowBytes);
    const partRows = maxRows < nOut ? Math.floor(maxRows / ROWS_MULTIPLE) * ROWS_MULTIPLE : nOut;
    if (partRows === 0)
      throw new RangeError(`${label}: ${ROWS_MULTIPLE} rows of ${nIn} weights are more than this GPU binds.`);
    const parts: MatrixPart[] = [];
    for (let firstRow = 0; firstRow < nOut; firstRow += partRows) {
      const nRows = Math.min(partRows, nOut - firstRow);
      const weights = gpu.buffer(label, nRows * rowBytes);
      const scales = scaleBytes > 0 && { scales: gpu.buffer(`${label} scales`, nRows * scaleBytes) };
      parts.push({ firstRow, nRows, weights, ...scales });
    }
    this.matrix = { nOut, nIn, format, parts, bytes: nOut * (rowBytes + scaleBytes) };
  }

  /**
   * Converts whole rows of a file to the matrix's format, and writes them from `firstRow` on.
   *
   * @throws RangeError for rows that are not the matrix's · EngineError for weights that its format cannot hold
   */
  write(firstRow: number, dtype: StoredFormat, bytes: Uint8Array<ArrayBuffer>): void {
    const { nOut, nIn, format, parts } = this.matrix;
    const storedRowBytes = nIn * (dtype === 'f32' ? 4 : 2);
    const nRows = bytes.length / storedRowBytes;
    if (!Number.isInteger(nRows))
      throw new RangeError(
        `${this.#label}: ${bytes.length} bytes are not whole rows of ${nIn} ${dtype} weights, ${storedRowBytes} bytes each.`,
      );
    if (!(Number.isInteger(firstRow) && firstRow >= 0 && firstRow + nRows <= nOut))
      throw new RangeError(
        `${this.#label}: ${nRows} rows from row ${firstRow} on are not within its ${nOut} rows.`,
      );
    const encoded = encodeRows(format, { label: this.#label, dtype, nIn, bytes });
    const weights = { data: encoded.weights, rowBytes: weightRowBytes(format, nIn) };
    const scales = encoded.scales && { data: encoded.scales, rowBytes: scaleRowBytes(format, nIn) };
    for (const part of parts) {
      const first = Math.max(firstRow, part.firstRow);
      const end = Math.min(firstRow + nRows, part.firstRow + part.nRows);
      if (first >= end) continue;
      const range = { from: first - firstRow, to: first - part.firstRow, nRows: end - first };
      this.#upload(part.weights, weights, range);
      if (part.scales && scales) this.#upload(part.scales, scales, range);
    }
  }

  /** Copies rows of the data, from row `from` on, to rows of the buffer. */
  #upload(buffer: GPUBuffer, { data, rowBytes }: RowData, { from, to, nRows }: RowRange): void {
    const start = data.byteOffset + from * rowBytes;
    this.#gpu.device.queue.writeBuffer(buffer, to * rowBytes, data.buffer, start, nRows * rowBytes);
  }
}

interface RowData {
  readonly data: ArrayBufferView<ArrayBuffer>;
  readonly rowBytes: number;
}

interface RowRange {
  readonly from: number;
  readonly to: number;
  readonly nRows: number;
}

function isCount(n: number): boolean {
  return Number.isInteger(n) && n >= 1;
}
