import type { Recorder } from '../gpu/recorder.js';

/** A step of the model whose kernels are compiled and bound to their buffers. */
export interface Layer {
  /** What its buffers hold. */
  readonly maxRows: number;
  /** Records it for a step of `nRows` rows, which is also what the buffer `rowCount` holds when the step runs. */
  record(recorder: Recorder, nRows: number): void;
}

/** Types of activations. Two f16 share a word. */
export type ActivationType = 'f32' | 'f16';

type RowType = ActivationType | 'i32' | 'u32';

const BYTES: Readonly<Record<RowType, number>> = { f32: 4, f16: 2, i32: 4, u32: 4 };

/** Throws a sentence that begins with the name of the operation. */
export function expect(condition: boolean, op: string, sentence: string): asserts condition {
  if (!condition) throw new RangeError(`${op}: ${sentence}`);
}

/** What an operation reads or writes a row of at a time. */
export interface Rows {
  readonly buffer: GPUBuffer;
  /** The name of the argument. */
  readonly name: string;
  readonly size: number;
  readonly type: RowType;
}

/** Rows are a dimension of grids. */
const MAX_ROWS = 65535;

/** Returns the most rows that all of these hold. */
export function maxRowsOf(op: string, all: readonly Rows[]): number {
  const counts = all.map(({ buffer, name, size, type }) => {
    const nRows = Math.floor(buffer.size / (size * BYTES[type]));
    expect(nRows > 0, op, `${name} has ${buffer.size} bytes, too few for one row of ${size} ${type}.`);
    return nRows;
  });
  return Math.min(MAX_ROWS, ...counts);
}

/** A layer that records nothing for no rows, and refuses more than its buffers hold. */
export function layerOf(
  op: string,
  maxRows: number,
  dispatch: (recorder: Recorder, nRows: number) => void,
): Layer {
  return {
    maxRows,
    record(recorder, nRows) {
      const isCount = Number.isInteger(nRows) && nRows >= 0;
      expect(isCount && nRows <= maxRows, op, `it takes up to ${maxRows} rows, not ${nRows}.`);
      if (nRows > 0) dispatch(recorder, nRows);
    },
  };
}

export function expectBytes(
  op: string,
  name: string,
  { buffer, bytes }: { buffer: GPUBuffer; bytes: number },
): void {
  expect(buffer.size >= bytes, op, `${name} has ${buffer.size} bytes, but ${bytes} are needed.`);
}

/** Refuses rows that are not whole quads, in which the kernel reads them. */
export function expectQuads(op: string, name: string, size: number): void {
  const isWhole = Number.isInteger(size) && size > 0 && size % 4 === 0;
  expect(isWhole, op, `${name} must be a multiple of 4, which ${size} is not.`);
}
