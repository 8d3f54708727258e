import type { Dispatch } from '../core/dispatch.js';
import { BUFFER_USAGE } from '../core/gpuBuffers.js';
import { sameNumbers } from '../core/tensor.js';
import type { StructLayout } from '../wgsl/kernel.js';
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
  readonly words: Uint32Array;
}

/** Uploads the params and arrays of a call, all in one write. */
export class Uploads {
  readonly #queue: GPUQueue;
  readonly #memory: Memory;
  #reusable: GPUBuffer | undefined;
  readonly #kept = new Map<string, Stored>();

  constructor(device: GPUDevice, memory: Memory) {
    this.#queue = device.queue;
    this.#memory = memory;
  }

  /**
   * Uploads for commands that are submitted at once. The next call may reuse the buffer, since the queue keeps order.
   */
  once(parts: readonly Uint8Array[]): BufferRange[] {
    const bytes = joined(parts);
    const buffer = this.#memory.grow(this.#reusable, bytes.length, 'uploads', usage(), 'free');
    this.#reusable = buffer;
    this.#queue.writeBuffer(buffer, 0, bytes);
    return ranges(buffer, parts);
  }

  /**
   * Uploads for commands that the caller submits later. The buffer is never written again, and calls with the same
   * bytes share it, as the layers of a model do.
   */
  keep(parts: readonly Uint8Array[]): BufferRange[] {
    const bytes = joined(parts);
    const words = wordsOf(bytes);
    const key = digest(words);
    const found = this.#kept.get(key);
    let stored = this.#memory.has(found?.buffer) ? found : undefined;
    if (stored && sameNumbers(stored.words, words)) {
      this.#kept.delete(key);
    } else {
      if (stored) this.#memory.abandon(stored.buffer);
      stored = { buffer: this.#memory.allocate('uploads', bytes.length, usage()), words };
      this.#queue.writeBuffer(stored.buffer, 0, bytes);
    }
    this.#kept.set(key, stored);
    if (this.#kept.size > CAPACITY) this.#dropOldest();
    return ranges(stored.buffer, parts);
  }

  #dropOldest(): void {
    const [key, { buffer }] = this.#kept.entries().next().value!;
    this.#kept.delete(key);
    this.#memory.abandon(buffer);
  }
}

/** Buffers by name for params and arrays of a recording. Each stays the same buffer until its contents outgrow it. */
export class PersistentBuffers {
  readonly #queue: GPUQueue;
  readonly #memory: Memory;
  readonly #stored = new Map<string, Stored>();

  constructor(device: GPUDevice, memory: Memory) {
    this.#queue = device.queue;
    this.#memory = memory;
  }

  /** Writes whole words to the buffer of a name, unless it has them already. */
  write(name: string, bytes: Uint8Array): BufferRange {
    const old = this.#stored.get(name);
    const buffer = this.#memory.grow(old?.buffer, Math.max(4, bytes.length), name, usage());
    const words = wordsOf(bytes);
    if (buffer !== old?.buffer || !sameNumbers(old.words, words)) {
      this.#queue.writeBuffer(buffer, 0, bytes as Uint8Array<ArrayBuffer>);
      this.#stored.set(name, { buffer, words: words.slice() });
    }
    return { buffer, offset: 0, size: buffer.size };
  }

  destroy(): void {
    for (const { buffer } of this.#stored.values()) this.#memory.free(buffer);
    this.#stored.clear();
  }
}

/** Returns the usage of buffers whose parts are params or arrays. */
function usage(): GPUBufferUsageFlags {
  const { STORAGE, UNIFORM, COPY_DST } = BUFFER_USAGE;
  return STORAGE | UNIFORM | COPY_DST;
}

/** Returns the bytes of a params struct. */
export function packParams(layout: StructLayout, params: Dispatch['params']): Uint8Array {
  const view = new DataView(new ArrayBuffer(layout.bytes));
  for (const [name, { offset, type }] of Object.entries(layout.fields)) {
    const value = params[name];
    if (value === undefined) throw new TypeError(`A dispatch lacks the parameter ${name}.`);
    if (type === 'f32') view.setFloat32(offset, value, true);
    else view.setUint32(offset, value, true);
  }
  return new Uint8Array(view.buffer);
}

/** Returns the bytes of an array, without a copy. */
export function bytesOf({ buffer, byteOffset, byteLength }: ArrayBufferView): Uint8Array {
  return new Uint8Array(buffer, byteOffset, byteLength);
}

function wordsOf({ buffer, byteOffset, byteLength }: Uint8Array): Uint32Array {
  return new Uint32Array(buffer, byteOffset, byteLength / 4);
}

/** Returns the bytes that a part occupies. An empty part occupies some too, since a binding cannot be empty. */
function aligned(bytes: number): number {
  return Math.max(1, Math.ceil(bytes / ALIGNMENT)) * ALIGNMENT;
}

/** Returns the parts end to end, each at a multiple of the alignment. */
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
    // Whole vec4s, as uniform structs need, and at least one.
    const range = { buffer, offset, size: Math.max(16, Math.ceil(length / 16) * 16) };
    offset += aligned(length);
    return range;
  });
}

/** Returns a hash, FNV-1a. Equal hashes of different words are told apart by comparing the words. */
function digest(words: Uint32Array): string {
  let hash = 0x811c9dc5;
  for (const word of words) hash = Math.imul(hash ^ word, 0x01000193);
  return `${words.length}:${hash}`;
}
