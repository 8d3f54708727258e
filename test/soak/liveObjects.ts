const COUNTED = {
  createBuffer: 'buffers',
  createBindGroup: 'bindGroups',
  createComputePipeline: 'pipelines',
  createComputePipelineAsync: 'pipelines',
} as const;

type Kind = (typeof COUNTED)[keyof typeof COUNTED];

export interface ObjectCounts {
  /** Neither destroyed nor collected. */
  readonly buffers: number;
  readonly bufferBytes: number;
  /** Not collected: those in a cache, and those that garbage collection has not come to. */
  readonly bindGroups: number;
  /** Ever made. */
  readonly bindGroupsMade: number;
  readonly pipelinesMade: number;
}

/** Counts what is made on all devices of the page from now on, and what of it is still there. */
export class LiveObjects {
  readonly #made = { buffers: 0, bindGroups: 0, pipelines: 0 };
  readonly #gone = { buffers: 0, bindGroups: 0, pipelines: 0 };
  #bytes = 0;
  /** Not yet destroyed, with their bytes. */
  readonly #sizes = new WeakMap<GPUBuffer, { bytes: number }>();
  readonly #collected = new FinalizationRegistry<{ readonly kind: Kind; readonly size: { bytes: number } }>(
    ({ kind, size }) => {
      if (kind !== 'buffers') this.#gone[kind]++;
      else this.#release(size);
    },
  );

  constructor() {
    for (const [name, kind] of Object.entries(COUNTED)) this.#count(name as keyof typeof COUNTED, kind);
    const destroy = GPUBuffer.prototype.destroy;
    const release = (buffer: GPUBuffer): void => this.#release(this.#sizes.get(buffer));
    GPUBuffer.prototype.destroy = function (): undefined {
      release(this);
      destroy.call(this);
    };
  }

  counts(): ObjectCounts {
    return {
      buffers: this.#made.buffers - this.#gone.buffers,
      bufferBytes: this.#bytes,
      bindGroups: this.#made.bindGroups - this.#gone.bindGroups,
      bindGroupsMade: this.#made.bindGroups,
      pipelinesMade: this.#made.pipelines,
    };
  }

  #count(name: keyof typeof COUNTED, kind: Kind): void {
    const note = (object: object): void => this.#note(kind, object);
    const make = GPUDevice.prototype[name] as (...args: unknown[]) => object;
    Object.defineProperty(GPUDevice.prototype, name, {
      value(this: GPUDevice, ...args: unknown[]) {
        const object = make.apply(this, args);
        note(object);
        return object;
      },
    });
  }

  #note(kind: Kind, object: object): void {
    this.#made[kind]++;
    const size = { bytes: object instanceof GPUBuffer ? object.size : 0 };
    this.#bytes += size.bytes;
    if (object instanceof GPUBuffer) this.#sizes.set(object, size);
    this.#collected.register(object, { kind, size });
  }

  /** Once for each buffer. */
  #release(size: { bytes: number } | undefined): void {
    if (!size || size.bytes === 0) return;
    this.#gone.buffers++;
    this.#bytes -= size.bytes;
    size.bytes = 0;
  }
}
