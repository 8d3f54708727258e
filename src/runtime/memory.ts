/** A GPU buffer allocator that knows what it has handed out, so that all of it can be freed. */
export class Memory {
  readonly #device: GPUDevice;
  readonly #live = new Set<GPUBuffer>();
  readonly #abandoned = new Set<WeakRef<GPUBuffer>>();

  constructor(device: GPUDevice) {
    this.#device = device;
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

  allocate(label: string, size: number, usage: GPUBufferUsageFlags): GPUBuffer {
    const buffer = this.#device.createBuffer({ label: `pageflash ${label}`, size, usage });
    this.#live.add(buffer);
    return buffer;
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
  }

  freeAll(): void {
    for (const buffer of this.#live) buffer.destroy();
    for (const reference of this.#abandoned) reference.deref()?.destroy();
    this.#live.clear();
    this.#abandoned.clear();
  }
}
