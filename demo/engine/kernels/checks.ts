/** Types of activations. Two f16 share a word. */
export type ActivationType = 'f32' | 'f16';

export const ACTIVATION_BYTES: Readonly<Record<ActivationType, number>> = { f32: 4, f16: 2 };

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
  readonly type: ActivationType;
}

/** Returns the most rows that all of these hold. */
export function maxRowsOf(op: string, all: readonly Rows[]): number {
  const counts = all.map(({ buffer, name, size, type }) => {
    const nRows = Math.floor(buffer.size / (size * ACTIVATION_BYTES[type]));
    expect(nRows > 0, op, `${name} has ${buffer.size} bytes, too few for one row of ${size} ${type}.`);
    return nRows;
  });
  return Math.min(...counts);
}

/** Refuses a number of rows that is none, or more than the buffers hold. */
export function expectRows(op: string, nRows: number, maxRows: number): void {
  const isCount = Number.isInteger(nRows) && nRows >= 0;
  expect(isCount && nRows <= maxRows, op, `the buffers hold up to ${maxRows} rows, which ${nRows} is not.`);
}

export function expectBytes(
  op: string,
  name: string,
  { buffer, bytes }: { buffer: GPUBuffer; bytes: number },
): void {
  expect(buffer.size >= bytes, op, `${name} has ${buffer.size} bytes, but ${bytes} are needed.`);
}
