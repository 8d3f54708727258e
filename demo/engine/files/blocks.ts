/** Large files are kept in blocks, so that what came before an interruption is not loaded again. */
export const BLOCK_BYTES = 8 * 2 ** 20;

/** A part of a file that is kept by itself. */
export interface Block {
  /** Its number, of six digits. */
  readonly name: string;
  /** The bytes `first` up to, but not including, `last` of the file. */
  readonly first: number;
  readonly last: number;
}

export interface BlockRange {
  /** The bytes to read: `start` up to, but not including, `end`. */
  readonly start: number;
  readonly end: number;
  /** Of the file. */
  readonly size: number;
  readonly blockBytes: number;
}

/**
 * Reads a range of a file block by block.
 *
 * @param read gives the bytes `from` up to, but not including, `until` of a block, counted from its first
 */
export async function readBlocks(
  { start, end, size, blockBytes }: BlockRange,
  read: (block: Block, from: number, until: number) => Promise<Uint8Array>,
): Promise<Uint8Array<ArrayBuffer>> {
  const bytes = new Uint8Array(end - start);
  for (let at = start; at < end;) {
    const first = at - (at % blockBytes);
    const last = Math.min(first + blockBytes, size);
    const until = Math.min(last, end);
    const name = String(first / blockBytes).padStart(6, '0');
    bytes.set(await read({ name, first, last }, at - first, until - first), at - start);
    at = until;
  }
  return bytes;
}
