import { BUFFER_USAGE } from '../core/gpuFlags.js';
import type { BufferRange } from './bindGroups.js';
import type { Memory } from './memory.js';

/** Buffers by name for what lives no longer than a call; they only grow. */
export class ScratchBuffers {
  readonly #memory: Memory;
  readonly #buffers = new Map<string, GPUBuffer>();

  constructor(memory: Memory) {
    this.#memory = memory;
  }

  get(name: string, bytes: number): BufferRange {
    const found = this.#buffers.get(name);
    let buffer = this.#memory.has(found) ? found : undefined;
    if (!buffer || buffer.size < bytes) {
      if (buffer) this.#memory.abandon(buffer);
      // Growing by doubling keeps the buffers let go on the way smaller together than the one in use.
      const wanted = Math.ceil(bytes / 256) * 256;
      const size = Math.max(wanted, Math.min(2 * (buffer?.size ?? 0), this.#memory.maxBindingBytes));
      buffer = this.#memory.allocate(name, size, BUFFER_USAGE.STORAGE);
      this.#buffers.set(name, buffer);
    }
    // Always the whole buffer, so that calls of other sizes find the same bind groups.
    return { buffer, offset: 0, size: buffer.size };
  }

  destroy(): void {
    for (const buffer of this.#buffers.values()) this.#memory.free(buffer);
    this.#buffers.clear();
  }
}
