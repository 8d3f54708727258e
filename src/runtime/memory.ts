import type { Faults } from './faults.js';

/** A GPU buffer allocator that knows what it has handed out, so that all of it can be freed. */
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

  /** The most that one binding can be. */
  get maxBindingBytes(): number {
    return this.#device.limits.maxStorageBufferBindingSize;
  }

  /** Bytes of the buffers in use. */
  get bytes(): number {
    let bytes = 0;
    for (const buffer of this.#live) bytes += buffer.size;
    return bytes;
  }

  /** Buffers that turned out to be none, as the device had no memory for them. */
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

  /** Whether a buffer is in use, and there was memory for it. */
  has(buffer: GPUBuffer | undefined): buffer is GPUBuffer {
    return buffer !== undefined && this.#live.has(buffer);
  }

  free(buffer: GPUBuffer): void {
    this.#live.delete(buffer);
    buffer.destroy();
  }

  /**
   * Let go of a buffer that commands not yet submitted may still use: it goes when they are gone, with the garbage, or
   * with everything else.
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

  /** Forget abandoned buffers that are gone. As often as there may be as many of them again. */
  #sweep(): void {
    for (const reference of this.#abandoned) if (!reference.deref()) this.#abandoned.delete(reference);
    this.#sweepAt = SWEEP + 2 * this.#abandoned.size;
  }
}

const SWEEP = 64;
