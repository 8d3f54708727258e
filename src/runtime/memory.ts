import { BUFFER_USAGE } from '../core/gpuBuffers.js';
import type { Faults } from './faults.js';

/** A range of a buffer, in bytes. */
export interface BufferRange {
  readonly buffer: GPUBuffer;
  readonly offset: number;
  readonly size: number;
}

/** Allocates the runtime's own GPU buffers, and keeps a list of them so that all can be freed. */
export class Memory {
  readonly #device: GPUDevice;
  readonly #faults: Faults;
  readonly #live = new Set<GPUBuffer>();
  readonly #abandoned = new Set<WeakRef<GPUBuffer>>();
  #nLost = 0;
  #sweepAt = SWEEP;

  constructor(device: GPUDevice, faults: Faults) {
    this.#device = device;
    this.#faults = faults;
  }

  /** Bytes of the buffers in use. */
  get bytes(): number {
    let bytes = 0;
    for (const buffer of this.#live) bytes += buffer.size;
    return bytes;
  }

  /** How many buffers have failed for lack of memory, which the device reports late. */
  get nLost(): number {
    return this.#nLost;
  }

  allocate(label: string, size: number, usage: GPUBufferUsageFlags): GPUBuffer {
    const buffer = this.#faults.createBuffer({ label: `pageflash ${label}`, size, usage }, (lost) => {
      this.#live.delete(lost);
      this.#nLost++;
    });
    this.#live.add(buffer);
    return buffer;
  }

  /**
   * Returns a buffer of at least so many bytes: `old` if it is large enough, or a new one. Growing by doubling keeps the
   * buffers that are given up on the way smaller together than the one in use.
   *
   * @param giveUp what becomes of `old`: `free` is for a buffer of which all commands are submitted
   */
  grow(
    old: GPUBuffer | undefined,
    bytes: number,
    label: string,
    usage: GPUBufferUsageFlags,
    giveUp: 'abandon' | 'free' = 'abandon',
  ): GPUBuffer {
    const kept = this.has(old) ? old : undefined;
    if (kept && kept.size >= bytes) return kept;
    if (kept) this[giveUp](kept);
    const wanted = Math.ceil(bytes / 256) * 256;
    const doubled = kept ? Math.min(2 * kept.size, this.#device.limits.maxStorageBufferBindingSize) : 0;
    return this.allocate(label, Math.max(wanted, doubled), usage);
  }

  /** Whether a buffer is in use, and the device had memory for it. */
  has(buffer: GPUBuffer | undefined): buffer is GPUBuffer {
    return buffer !== undefined && this.#live.has(buffer);
  }

  free(buffer: GPUBuffer): void {
    this.#live.delete(buffer);
    buffer.destroy();
  }

  /**
   * Gives up a buffer that commands not yet submitted may still use. Garbage collection frees it after them, or
   * `freeAll`.
   */
  abandon(buffer: GPUBuffer): void {
    this.#live.delete(buffer);
    this.#abandoned.add(new WeakRef(buffer));
    if (this.#abandoned.size >= this.#sweepAt) this.#sweep();
  }

  freeAll(): void {
    for (const buffer of this.#live) buffer.destroy();
    for (const reference of this.#abandoned) reference.deref()?.destroy();
    this.#live.clear();
    this.#abandoned.clear();
  }

  /**
   * Drops references to buffers that were collected. The next sweep comes once the list has tripled, so sweeps stay
   * cheap.
   */
  #sweep(): void {
    for (const reference of this.#abandoned) if (!reference.deref()) this.#abandoned.delete(reference);
    this.#sweepAt = SWEEP + 2 * this.#abandoned.size;
  }
}

const SWEEP = 64;

/** Storage buffers by name, for contents that no later call reads. They only grow. */
export class ScratchBuffers {
  readonly #memory: Memory;
  readonly #buffers = new Map<string, GPUBuffer>();

  constructor(memory: Memory) {
    this.#memory = memory;
  }

  /** Returns at least so many bytes: always the whole buffer, so that calls of other sizes find the same bind groups. */
  get(name: string, bytes: number): BufferRange {
    const buffer = this.#memory.grow(this.#buffers.get(name), bytes, name, BUFFER_USAGE.STORAGE);
    this.#buffers.set(name, buffer);
    return { buffer, offset: 0, size: buffer.size };
  }

  destroy(): void {
    for (const buffer of this.#buffers.values()) this.#memory.free(buffer);
    this.#buffers.clear();
  }
}
