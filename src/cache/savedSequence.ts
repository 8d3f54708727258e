import type { Call } from '../check/call.js';
import { checkNames, namesOf } from '../core/checkArguments.js';
import type { SequenceState } from '../paging/saving.js';
import { ByteReader, chunksOf, type ByteChunks } from './byteReader.js';
import type { CacheLayout } from './cacheLayout.js';
import { crc32 } from './crc32.js';
import {
  checkFingerprint,
  checkGeometry,
  CRC_BYTES,
  decodeDescription,
  decodePreamble,
  geometryOf,
  pagesOf,
  piecesOf,
  PREAMBLE_BYTES,
  type SaveDescription,
} from './saveFormat.js';

/**
 * Where the bytes of a saved sequence come from: a `Blob`, such as a `File`, which can be read again, so that its pages
 * need not be kept in memory, or a stream or an iterable of chunks.
 */
export type SaveSource = Blob | ByteChunks;

export interface ReadSavedArgs {
  readonly source: SaveSource;
  /** As it was given to `save`. */
  readonly fingerprint: string;
  /** Stops reading; `readSaved` rejects with its reason. */
  readonly signal?: AbortSignal | undefined;
}

const NAMES = namesOf<ReadSavedArgs>({ source: true, fingerprint: true, signal: true });

/** The bytes of some pages that follow each other. */
type Piece = Uint8Array<ArrayBuffer>;

/** The bytes of a saved sequence, apart from its description and tokens. */
interface Pieces {
  /** Bytes before the first piece. */
  readonly firstByte: number;
  /** Bytes of each piece, without its checksum. */
  readonly bytes: readonly number[];
  /** The checksum before each piece, and that of all. */
  readonly crcs: readonly number[];
  /** All pieces, if they are in memory. */
  readonly stored: Blob | readonly Piece[];
}

/** A saved sequence that was read and found whole, to be restored as often as is wanted. */
export class SavedSequence implements SequenceState {
  readonly tokens: Int32Array<ArrayBuffer>;
  readonly salt: number;
  readonly isPrivate: boolean;
  readonly nComputed: number;
  readonly nOnceComputed: number;
  readonly firstColumn: number;
  readonly nKeptColumns: number;
  /** Pages of a cache that it takes, if none of them is found there. */
  readonly nPages: number;
  /** Bytes that were read. */
  readonly bytes: number;
  /** @internal */
  readonly description: SaveDescription;
  readonly #pieces: Pieces;

  /** @internal */
  constructor(description: SaveDescription, tokens: Int32Array<ArrayBuffer>, pieces: Pieces) {
    this.description = description;
    this.tokens = tokens;
    this.salt = description.salt;
    this.isPrivate = description.isPrivate;
    this.nComputed = description.nComputed;
    this.nOnceComputed = description.nOnceComputed;
    this.firstColumn = description.firstColumn;
    this.nKeptColumns = description.nKeptColumns;
    this.nPages = pagesOf(description);
    this.bytes = pieces.bytes.reduce((sum, bytes) => sum + bytes + CRC_BYTES, pieces.firstByte);
    this.#pieces = pieces;
  }

  /** @internal A piece: at once from memory, else as a promise that rejects if the blob has changed. */
  piece(call: Call, index: number): Piece | Promise<Piece> {
    const { stored } = this.#pieces;
    return stored instanceof Blob ? this.#pieceOfBlob(call, stored, index) : stored[index]!;
  }

  async #pieceOfBlob(call: Call, blob: Blob, index: number): Promise<Piece> {
    const { firstByte, bytes, crcs } = this.#pieces;
    const start = bytes.slice(0, index).reduce((sum, before) => sum + before + CRC_BYTES, firstByte);
    const piece = new Uint8Array(await blob.slice(start, start + bytes[index]!).arrayBuffer());
    if (crc32(piece, crcs[index]) === crcs[index + 1]) return piece;
    call.refuse('argument', 'the source of saved has changed since it was read. Read it again.');
  }
}

export interface CacheFormat {
  readonly layout: CacheLayout;
  readonly pageBytes: number;
}

/** Reads a saved sequence and checks all of it. Nothing else is touched. */
export async function readSaved(
  call: Call,
  args: ReadSavedArgs,
  { layout, pageBytes }: CacheFormat,
): Promise<SavedSequence> {
  checkNames(call.name, args, NAMES);
  const { source, fingerprint, signal } = args;
  checkFingerprint(call, fingerprint);
  if (signal !== undefined && typeof signal?.throwIfAborted !== 'function')
    call.refuseValue('signal', 'an AbortSignal', signal);
  signal?.throwIfAborted();
  const blob = source instanceof Blob ? source : undefined;
  const chunks = chunksOf(call, blob ? blob.stream() : (source as ByteChunks));
  try {
    const reader = new ByteReader(call, chunks, signal);
    const descriptionBytes = decodePreamble(call, await reader.take(PREAMBLE_BYTES));
    const json = await reader.take(descriptionBytes);
    await reader.check();
    const description = decodeDescription(call, json);
    checkGeometry(call, description, geometryOf(layout, fingerprint));
    checkFits(call, description, layout);
    const tokens = toTokens(await reader.take(4 * description.nTokens));
    await reader.check();
    const firstByte = reader.nRead;
    const bytes = piecesOf(description).map((nPages) => nPages * pageBytes);
    const pieces: Piece[] = [];
    const crcs = [reader.crc];
    for (const length of bytes) {
      const piece = await reader.take(length);
      await reader.check();
      crcs.push(reader.crc);
      if (!blob) pieces.push(piece);
    }
    await reader.end();
    return new SavedSequence(description, tokens, { firstByte, bytes, crcs, stored: blob ?? pieces });
  } finally {
    // At its end, this does nothing; its own errors are of no interest any more.
    await Promise.resolve(chunks.return?.()).catch(() => undefined);
  }
}

function checkFits(call: Call, description: SaveDescription, { nPages }: CacheLayout): void {
  const nSaved = pagesOf(description);
  if (nSaved <= nPages) return;
  call.refuse('limit', `source has ${nSaved} pages, but the cache ${nPages}. Make a larger one.`);
}

function toTokens(bytes: Uint8Array<ArrayBuffer>): Int32Array<ArrayBuffer> {
  const words = new DataView(bytes.buffer);
  return Int32Array.from({ length: bytes.length / 4 }, (_, i) => words.getInt32(4 * i, true));
}
