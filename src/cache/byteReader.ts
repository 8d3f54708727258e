import type { Call } from '../check/call.js';
import { describe } from '../core/errors.js';
import { CRC_BYTES } from './saveFormat.js';
import { crc32 } from './crc32.js';

/** Bytes one after the other, in chunks of any size: a stream, such as `response.body`, or any iterable of chunks. */
export type ByteChunks = ReadableStream<Uint8Array> | AsyncIterable<Uint8Array> | Iterable<Uint8Array>;

type Chunks = AsyncIterator<Uint8Array> | Iterator<Uint8Array>;

/** The chunks of a source; `return` stops it. */
export function chunksOf(call: Call, source: ByteChunks): Chunks {
  if (typeof source === 'object' && source !== null && !ArrayBuffer.isView(source)) {
    // Not every browser's streams are iterable.
    if ('getReader' in source && typeof source.getReader === 'function') return streamChunks(source);
    if (Symbol.asyncIterator in source) return source[Symbol.asyncIterator]();
    if (Symbol.iterator in source) return source[Symbol.iterator]();
  }
  call.refuseValue('source', 'a Blob, a ReadableStream or an iterable of Uint8Arrays', source);
}

function streamChunks(stream: ReadableStream<Uint8Array>): AsyncIterator<Uint8Array> {
  const reader = stream.getReader();
  return {
    next: () => reader.read() as Promise<IteratorResult<Uint8Array>>,
    return: async () => {
      await reader.cancel();
      reader.releaseLock();
      return { done: true, value: undefined };
    },
  };
}

/** Reads as many bytes as are asked for, and their checksums, out of chunks of any size. */
export class ByteReader {
  readonly #call: Call;
  readonly #chunks: Chunks;
  readonly #signal: AbortSignal | undefined;
  #chunk = new Uint8Array();
  #isAtEnd = false;
  #nRead = 0;
  #crc = 0;

  constructor(call: Call, chunks: Chunks, signal?: AbortSignal) {
    this.#call = call;
    this.#chunks = chunks;
    this.#signal = signal;
  }

  get nRead(): number {
    return this.#nRead;
  }

  /** The CRC-32 of all that was taken. */
  get crc(): number {
    return this.#crc;
  }

  /** The next `length` bytes, in an array of their own. */
  async take(length: number): Promise<Uint8Array<ArrayBuffer>> {
    const bytes = await this.#takeRaw(length);
    this.#crc = crc32(bytes, this.#crc);
    return bytes;
  }

  /** Reads the checksum of all that was taken so far. */
  async check(): Promise<void> {
    const bytes = await this.#takeRaw(CRC_BYTES);
    const stored = new DataView(bytes.buffer).getUint32(0, true);
    if (stored === this.#crc) return;
    this.#call.refuse(
      'argument',
      `source is damaged: the checksum before byte ${this.#nRead} is ${stored.toString(16)}, but that of what was read is ${this.#crc.toString(16)}. Compute the tokens again.`,
    );
  }

  /** Checks that nothing follows. */
  async end(): Promise<void> {
    if (await this.#hasMore())
      this.#call.refuse(
        'argument',
        `source goes on behind its ${this.#nRead} bytes. Pass the stream of one sequence.`,
      );
  }

  async #takeRaw(length: number): Promise<Uint8Array<ArrayBuffer>> {
    const bytes = this.#room(length);
    for (let at = 0; at < length;) {
      if (!(await this.#hasMore()))
        this.#call.refuse(
          'argument',
          `source is not whole: it ends after ${this.#nRead} bytes, where ${length - at} more are needed at least. Compute the tokens again.`,
        );
      const part = this.#chunk.subarray(0, length - at);
      bytes.set(part, at);
      at += part.length;
      this.#nRead += part.length;
      this.#chunk = this.#chunk.subarray(part.length);
    }
    return bytes;
  }

  #room(length: number): Uint8Array<ArrayBuffer> {
    try {
      return new Uint8Array(length);
    } catch {
      this.#call.refuse('limit', `the host has no memory for ${length} bytes of source.`);
    }
  }

  async #hasMore(): Promise<boolean> {
    while (this.#chunk.length === 0 && !this.#isAtEnd) {
      this.#signal?.throwIfAborted();
      const { done, value } = await this.#chunks.next();
      this.#signal?.throwIfAborted();
      this.#isAtEnd = done === true;
      if (done) break;
      if (!(value instanceof Uint8Array))
        this.#call.refuse('argument', `source must have chunks of Uint8Array, not ${describe(value)}.`);
      this.#chunk = value as Uint8Array<ArrayBuffer>;
    }
    return this.#chunk.length > 0;
  }
}
