import { BUFFER_USAGE } from '../core/gpuFlags.js';
import type { BufferRange } from './bindGroups.js';
import type { Memory } from './memory.js';
import { sameWords, wordsOf } from './words.js';

/** Bytes between the starts of two parts: what offsets of uniform and storage bindings must be multiples of. */
const ALIGNMENT = 256;

/** Recordings that the caller submits may ask for this many different uploads before old ones are let go. */
const CAPACITY = 256;

interface Stored {
  readonly buffer: GPUBuffer;
  readonly words: Uint32Array;
}

/** Brings the numbers of a call to the GPU, all in one write. */
export class Uploads {
  readonly #queue: GPUQueue;
  readonly #memory: Memory;
  #reusable: GPUBuffer | undefined;
  readonly #kept = new Map<string, Stored>();

  constructor(device: GPUDevice, memory: Memory) {
    this.#queue = device.queue;
    this.#memory = memory;
  }

  /** For commands that are submitted at once: the next call may overwrite the buffer, since the queue keeps order. */
  once(parts: readonly Uint8Array[]): BufferRange[] {
    const bytes = joined(parts);
    let buffer = this.#memory.has(this.#reusable) ? this.#reusable : undefined;
    if (!buffer || buffer.size < bytes.length) {
      if (buffer) this.#memory.free(buffer);
      buffer = this.#allocate(2 * bytes.length);
      this.#reusable = buffer;
    }
    this.#queue.writeBuffer(buffer, 0, bytes);
    return ranges(buffer, parts);
  }

  /**
   * For commands that the caller submits when he likes: the buffer is never written again, and whoever needs the same
   * bytes gets the same buffer, as the layers of a model do.
   */
  keep(parts: readonly Uint8Array[]): BufferRange[] {
    const bytes = joined(parts);
    const words = wordsOf(bytes);
    const key = digest(words);
    const found = this.#kept.get(key);
    let stored = this.#memory.has(found?.buffer) ? found : undefined;
    if (stored && sameWords(stored.words, words)) {
      this.#kept.delete(key);
    } else {
      if (stored) this.#memory.abandon(stored.buffer);
      stored = { buffer: this.#allocate(bytes.length), words };
      this.#queue.writeBuffer(stored.buffer, 0, bytes);
    }
    this.#kept.set(key, stored);
    if (this.#kept.size > CAPACITY) this.#dropOldest();
    return ranges(stored.buffer, parts);
  }

  #allocate(size: number): GPUBuffer {
    const { STORAGE, UNIFORM, COPY_DST } = BUFFER_USAGE;
    return this.#memory.allocate('uploads', size, STORAGE | UNIFORM | COPY_DST);
  }

  #dropOldest(): void {
    const [key, { buffer }] = this.#kept.entries().next().value!;
    this.#kept.delete(key);
    this.#memory.abandon(buffer);
  }
}

/** Bytes that a part takes up; an empty one too, since every binding needs some. */
function aligned(bytes: number): number {
  return Math.max(1, Math.ceil(bytes / ALIGNMENT)) * ALIGNMENT;
}

/** Parts end to end, each starting at a multiple of the alignment. */
function joined(parts: readonly Uint8Array[]): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(parts.reduce((total, part) => total + aligned(part.length), 0));
  let at = 0;
  for (const part of parts) {
    bytes.set(part, at);
    at += aligned(part.length);
  }
  return bytes;
}

function ranges(buffer: GPUBuffer, parts: readonly Uint8Array[]): BufferRange[] {
  let offset = 0;
  return parts.map(({ length }) => {
    // A range spans whole vec4s, as uniform structs need, and is never empty.
    const range = { buffer, offset, size: Math.max(16, Math.ceil(length / 16) * 16) };
    offset += aligned(length);
    return range;
  });
}

/** FNV-1a; a clash is found by comparing the words. */
function digest(words: Uint32Array): string {
  let hash = 0x811c9dc5;
  for (const word of words) hash = Math.imul(hash ^ word, 0x01000193);
  return `${words.length}:${hash}`;
}
