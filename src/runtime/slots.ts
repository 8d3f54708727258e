import { BUFFER_USAGE } from '../core/gpuFlags.js';
import { wholeWords } from '../core/tensor.js';
import type { BufferRange } from './bindGroups.js';
import type { Memory } from './memory.js';
import { sameWords, wordsOf } from './words.js';

interface Slot {
  readonly buffer: GPUBuffer;
  /** What was last written. */
  words: Uint32Array;
}

/** Buffers by name for numbers that change from time to time. They stay where they are until they are too small. */
export class Slots {
  readonly #queue: GPUQueue;
  readonly #memory: Memory;
  readonly #slots = new Map<string, Slot>();

  constructor(device: GPUDevice, memory: Memory) {
    this.#queue = device.queue;
    this.#memory = memory;
  }

  /** Bring bytes, whole words of them, to the GPU, unless they are there. */
  write(name: string, bytes: Uint8Array): BufferRange {
    const found = this.#slots.get(name);
    let slot = this.#memory.has(found?.buffer) ? found : undefined;
    if (!slot || slot.buffer.size < bytes.length) {
      if (slot) this.#memory.abandon(slot.buffer);
      const size = Math.max(Math.ceil(wholeWords(bytes.length) / 256) * 256, 2 * (slot?.buffer.size ?? 0));
      const { STORAGE, UNIFORM, COPY_DST } = BUFFER_USAGE;
      slot = {
        buffer: this.#memory.allocate(name, size, STORAGE | UNIFORM | COPY_DST),
        words: new Uint32Array(0),
      };
      this.#slots.set(name, slot);
    }
    const words = wordsOf(bytes);
    if (!sameWords(slot.words, words)) {
      slot.words = words.slice();
      this.#queue.writeBuffer(slot.buffer, 0, bytes as Uint8Array<ArrayBuffer>);
    }
    return { buffer: slot.buffer, offset: 0, size: slot.buffer.size };
  }

  destroy(): void {
    for (const { buffer } of this.#slots.values()) this.#memory.free(buffer);
    this.#slots.clear();
  }
}
