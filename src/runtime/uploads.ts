import type { Dispatch } from '../core/dispatch.js';
import { BUFFER_USAGE } from '../core/gpuBuffers.js';
import { sameNumbers } from '../core/tensor.js';
import type { StructLayout } from '../wgsl/kernel.js';
import { Records } from '../wgsl/records.js';
import type { BufferRange, Memory } from './memory.js';

/**
 * The start of each part is a multiple of these bytes, as WebGPU demands of the offsets of uniform and storage
 * bindings.
 */
const ALIGNMENT = 256;

/** The most uploads that are kept for passes of the caller. */
const CAPACITY = 256;

/** A buffer and what was last written to it. */
interface Stored {
  readonly buffer: GPUBuffer;
  readonly words: Uint32Array<ArrayBuffer>;
}

/** Uploads the params and arrays of a call, all in one write. */
export class Uploads {
  readonly #queue: GPUQueue;
  readonly #memory: Memory;
  #reusable: GPUBuffer | undefined;
  /** Where parts are joined. */
  #staging = new Uint32Array();
  readonly #kept = new Map<string, Stored>();

  constructor(device: GPUDevice, memory: Memory) {
    this.#queue = device.queue;
    this.#memory = memory;
  }

  /**
   * Uploads for commands that are submitted at once. The next call may reuse the buffer, since the queue keeps order.
   */
  once(parts: readonly Uint32Array[]): BufferRange[] {
    const words = this.#join(parts);
    const buffer = this.#memory.grow(this.#reusable, words.byteLength, 'uploads', usage(), 'free');
    this.#reusable = buffer;
    this.#queue.writeBuffer(buffer, 0, words);
    return ranges(buffer, parts);
  }

  /**
   * Uploads for commands that the caller submits later. The buffer is never written again, and calls with the same
   * bytes share it, as the layers of a model do.
   */
  keep(parts: readonly Uint32Array[]): BufferRange[] {
    const words = this.#join(parts);
    const key = digest(words);
    const found = this.#kept.get(key);
    let stored = this.#memory.has(found?.buffer) ? found : undefined;
    if (stored && sameNumbers(stored.words, words)) {
      this.#kept.delete(key);
    } else {
      if (stored) this.#memory.abandon(stored.buffer);
      const buffer = this.#memory.allocate('uploads', words.byteLength, usage());
      stored = { buffer, words: words.slice() };
      this.#queue.writeBuffer(stored.buffer, 0, words);
    }
    this.#kept.set(key, stored);
    if (this.#kept.size > CAPACITY) this.#dropOldest();
    return ranges(stored.buffer, parts);
  }

  /** Returns the parts end to end, each at a multiple of the alignment, until the next call. */
  #join(parts: readonly Uint32Array[]): Uint32Array<ArrayBuffer> {
    let length = 0;
    for (const { byteLength } of parts) length += aligned(byteLength) / 4;
    if (this.#staging.length < length) this.#staging = new Uint32Array(2 * length);
    const words = this.#staging.subarray(0, length);
    let at = 0;
    for (const part of parts) {
      words.set(part, at);
      const end = at + aligned(part.byteLength) / 4;
      words.fill(0, at + part.length, end);
      at = end;
    }
    return words;
  }

  #dropOldest(): void {
    const [key, { buffer }] = this.#kept.entries().next().value!;
    this.#kept.delete(key);
    this.#memory.abandon(buffer);
  }
}

/**
 * The params and arrays of a recording, in one buffer. Parts are numbered; each stays where it is until it outgrows its
 * room. What they hold is kept on the host too, so only what changed is written.
 */
export class PersistentUploads {
  readonly #queue: GPUQueue;
  readonly #memory: Memory;
  readonly #most: number;
  #buffer: GPUBuffer | undefined;
  #words = new Uint32Array();
  #parts: BufferRange[] = [];
  /** The words that changed since the last write: ranges in order, first and one past the last of each. */
  readonly #changed: number[] = [];

  constructor(device: GPUDevice, memory: Memory) {
    this.#queue = device.queue;
    this.#memory = memory;
    this.#most = device.limits.maxStorageBufferBindingSize;
  }

  /** Whether parts of so many bytes have room where they are. */
  hasRoom(sizes: readonly number[]): boolean {
    if (sizes.length === 0) return true;
    if (!this.#memory.has(this.#buffer) || sizes.length > this.#parts.length) return false;
    return sizes.every((bytes, i) => bytes <= this.#parts[i]!.size);
  }

  /** Makes room for parts of so many bytes. Parts move, and what they held is lost. */
  makeRoom(sizes: readonly number[]): void {
    const old = this.#memory.has(this.#buffer) ? this.#buffer : undefined;
    let end = 0;
    const places = sizes.map((bytes, i) => {
      const had = this.#parts[i]?.size ?? 0;
      const grown = bytes > had && had > 0 ? Math.min(2 * bytes, this.#most) : Math.max(bytes, had);
      // Whole vec4s, as uniform structs need, and at least one.
      const size = Math.max(16, Math.ceil(Math.max(bytes, grown) / 16) * 16);
      const offset = end;
      end += aligned(size);
      return { offset, size };
    });
    // First, since a device that allows no such buffer throws.
    const buffer = old && old.size >= end ? old : this.#memory.allocate('uploads of a plan', end, usage());
    if (old && old !== buffer) this.#memory.abandon(old);
    this.#buffer = buffer;
    this.#parts = places.map((place) => ({ buffer, ...place }));
    this.#words = new Uint32Array(end / 4);
    this.#changed.length = 0;
    this.#changed.push(0, end / 4);
  }

  /** Writes all parts again if the device had no memory for their buffer. They may move. */
  restore(): void {
    if (this.#memory.has(this.#buffer)) return;
    const buffer = this.#memory.allocate('uploads of a plan', this.#words.byteLength, usage());
    this.#buffer = buffer;
    this.#parts = this.#parts.map((part) => ({ ...part, buffer }));
    this.#changed.length = 0;
    this.#changed.push(0, this.#words.length);
    this.flush();
  }

  /** Returns where a part lies. */
  range(part: number): BufferRange {
    return this.#parts[part]!;
  }

  /** Sets a part to words, which `flush` writes if they are not there yet. */
  set(part: number, words: Uint32Array): void {
    const first = this.#parts[part]!.offset / 4;
    const kept = this.#words;
    let begin = 0;
    let end = words.length;
    while (begin < end && kept[first + begin] === words[begin]) begin++;
    while (end > begin && kept[first + end - 1] === words[end - 1]) end--;
    if (begin === end) return;
    for (let i = begin; i < end; i++) kept[first + i] = words[i]!;
    this.#note(first + begin, first + end);
  }

  /** Writes all that changed, most often at once. */
  flush(): void {
    const changed = this.#changed;
    for (let i = 0; i < changed.length; i += 2) {
      const [first, end] = [changed[i]!, changed[i + 1]!];
      this.#queue.writeBuffer(this.#buffer!, 4 * first, this.#words.subarray(first, end));
    }
    changed.length = 0;
  }

  /** Joins a range to the one before it, unless there is much between them. */
  #note(first: number, end: number): void {
    const changed = this.#changed;
    const last = changed.length - 1;
    if (last > 0 && first >= changed[last - 1]! && first - changed[last]! <= JOINED_WORDS)
      changed[last] = Math.max(changed[last]!, end);
    else changed.push(first, end);
  }

  destroy(): void {
    if (this.#buffer) this.#memory.free(this.#buffer);
    this.#buffer = undefined;
    this.#parts = [];
  }
}

/** Words that are written again rather than calling the queue twice. */
const JOINED_WORDS = 4096;

/** Returns the usage of buffers whose parts are params or arrays. */
function usage(): GPUBufferUsageFlags {
  const { STORAGE, UNIFORM, COPY_DST } = BUFFER_USAGE;
  return STORAGE | UNIFORM | COPY_DST;
}

/** Returns the words of a params struct. */
export function packParams(layout: StructLayout, params: Dispatch['params']): Uint32Array<ArrayBuffer> {
  const records = new Records(layout, 1);
  records.set(0, params);
  return records.words;
}

/** Returns the words of an array, without a copy. */
export function wordsOf({ buffer, byteOffset, byteLength }: ArrayBufferView): Uint32Array {
  return new Uint32Array(buffer, byteOffset, byteLength / 4);
}

/** Returns the bytes that a part occupies. An empty part occupies some too, since a binding cannot be empty. */
function aligned(bytes: number): number {
  return Math.max(1, Math.ceil(bytes / ALIGNMENT)) * ALIGNMENT;
}

function ranges(buffer: GPUBuffer, parts: readonly Uint32Array[]): BufferRange[] {
  let offset = 0;
  return parts.map(({ byteLength }) => {
    // Whole vec4s, as uniform structs need, and at least one.
    const range = { buffer, offset, size: Math.max(16, Math.ceil(byteLength / 16) * 16) };
    offset += aligned(byteLength);
    return range;
  });
}

/** Returns a hash, FNV-1a. Equal hashes of different words are told apart by comparing the words. */
function digest(words: Uint32Array): string {
  let hash = 0x811c9dc5;
  for (const word of words) hash = Math.imul(hash ^ word, 0x01000193);
  return `${words.length}:${hash}`;
}
