import type { StructLayout } from './kernel.js';

/**
 * Writes one of an array of records that have only u32 fields.
 *
 * @throws RangeError if a field is not given
 */
export function writeRecord(
  { bytes, fields }: StructLayout,
  words: Uint32Array,
  index: number,
  values: Readonly<Record<string, number>>,
): void {
  const at = (index * bytes) / 4;
  for (const field in fields) {
    const value = values[field];
    if (value === undefined) throw new RangeError(`${field} of a record is not given.`);
    words[at + fields[field]!.offset / 4] = value;
  }
}
