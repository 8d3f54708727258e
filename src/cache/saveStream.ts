import type { Call } from '../check/call.js';
import type { PageManager } from '../paging/pageManager.js';
import { heldColumn } from '../paging/pool/pageTable.js';
import { gapOf, SAVE_NAMES, type SaveArgs, type SavedPages } from '../paging/saving.js';
import type { CacheLayout } from './cacheLayout.js';
import { crc32 } from './crc32.js';
import {
  clearUnusedSlots,
  CRC_BYTES,
  encodeDescription,
  geometryOf,
  piecesOf,
  type SaveDescription,
} from './saveFormat.js';

/** Bytes of a piece, if that is a page at least: what is on its way from the GPU at a time. */
const PIECE_BYTES = 4 * 2 ** 20;

/** What to save: a sequence of a page manager, or what can be found of some tokens. */
export type SaveSequenceArgs = SaveArgs & {
  /** The manager of the cache's pages. */
  readonly pages: PageManager;
  /**
   * A name for all that decides about keys and values: model, weights and their format, adapter, rotary angles. What was
   * saved under one is never restored under another.
   */
  readonly fingerprint: string;
};

export const SAVE_SEQUENCE_NAMES = [...SAVE_NAMES, 'pages', 'fingerprint'] as const;

export interface SaveStreamArgs {
  readonly call: Call;
  readonly layout: CacheLayout;
  readonly pageBytes: number;
  readonly fingerprint: string;
  readonly saved: SavedPages;
  /** Fills the contents of some of the saved pages, counted from 0. */
  readonly read: (firstPage: number, contents: readonly Uint8Array<ArrayBuffer>[]) => Promise<void>;
}

/** The bytes of a saved sequence, which are read from the GPU piece by piece as they are asked for. */
export function saveStream(args: SaveStreamArgs): ReadableStream<Uint8Array<ArrayBuffer>> {
  const source = new SaveSource(args);
  // Without a queue, nothing is read that nobody waits for.
  return new ReadableStream(source, { highWaterMark: 0 });
}

class SaveSource implements UnderlyingDefaultSource<Uint8Array<ArrayBuffer>> {
  readonly #args: SaveStreamArgs;
  readonly #description: SaveDescription;
  readonly #pieces: readonly number[];
  #nPieces = -1;
  #nPages = 0;
  #crc = 0;

  constructor(args: SaveStreamArgs) {
    this.#args = args;
    const { saved, layout, pageBytes, fingerprint } = args;
    const { salt, isPrivate, nComputed, nOnceComputed, firstColumn, nKeptColumns } = saved;
    this.#description = {
      ...geometryOf(layout, fingerprint),
      nTokens: saved.tokens.length,
      salt,
      isPrivate,
      nComputed,
      nOnceComputed,
      firstColumn,
      nKeptColumns,
      pagesPerPiece: Math.max(1, Math.floor(PIECE_BYTES / pageBytes)),
    };
    this.#pieces = piecesOf(this.#description);
  }

  async pull(controller: ReadableStreamDefaultController<Uint8Array<ArrayBuffer>>): Promise<void> {
    try {
      controller.enqueue(this.#nPieces < 0 ? this.#head() : await this.#piece());
    } catch (error) {
      this.cancel();
      throw error;
    }
    if (++this.#nPieces < this.#pieces.length) return;
    this.cancel();
    controller.close();
  }

  cancel(): void {
    this.#args.saved.release();
  }

  /** What comes before the pages. */
  #head(): Uint8Array<ArrayBuffer> {
    const { tokens } = this.#args.saved;
    const description = encodeDescription(this.#description);
    const head = new Uint8Array(description.length + CRC_BYTES + 4 * tokens.length + CRC_BYTES);
    const words = new DataView(head.buffer);
    head.set(description);
    let at = this.#seal(head, 0, description.length);
    const start = at;
    for (const token of tokens) {
      words.setInt32(at, token, true);
      at += 4;
    }
    this.#seal(head, start, at);
    return head;
  }

  async #piece(): Promise<Uint8Array<ArrayBuffer>> {
    const { layout, pageBytes, read } = this.#args;
    const nPages = this.#pieces[this.#nPieces]!;
    const piece = this.#room(nPages * pageBytes + CRC_BYTES);
    const contents = Array.from({ length: nPages }, (_, i) =>
      piece.subarray(i * pageBytes, (i + 1) * pageBytes),
    );
    await read(this.#nPages, contents);
    this.#nPages += nPages;
    const { nComputed, pageSize } = this.#description;
    const lastColumn = heldColumn(gapOf(this.#description), this.#nPages - 1);
    clearUnusedSlots(layout, contents.at(-1)!, nComputed - lastColumn * pageSize);
    this.#seal(piece, 0, nPages * pageBytes);
    return piece;
  }

  /** Writes the checksum behind bytes from `start` to `end`. Returns where the next ones go. */
  #seal(bytes: Uint8Array<ArrayBuffer>, start: number, end: number): number {
    this.#crc = crc32(bytes.subarray(start, end), this.#crc);
    new DataView(bytes.buffer).setUint32(end, this.#crc, true);
    return end + CRC_BYTES;
  }

  #room(length: number): Uint8Array<ArrayBuffer> {
    try {
      return new Uint8Array(length);
    } catch {
      this.#args.call.refuse('limit', `the host has no memory for ${length} bytes.`);
    }
  }
}
