import { fail, PageflashError } from '../core/errors.js';
import { closeScope } from './errorScope.js';

/**
 * What a device says of work only after it was given it: kept until somebody hears of it, as CUDA does with errors of
 * kernels. Only the first is kept, since what fails later mostly fails because of it.
 */
export class Faults {
  readonly #device: GPUDevice;
  #caller: string | undefined;
  #unheard: PageflashError | undefined;
  #settled: Promise<void> = Promise.resolve();

  constructor(device: GPUDevice) {
    this.#device = device;
  }

  /** All that was watched so far is known. */
  get settled(): Promise<void> {
    return this.#settled;
  }

  /** Give the device work in the name of a call. Within another call the work is a part of that one. */
  watch<T>(caller: string, work: () => T): T {
    if (this.#caller !== undefined) return work();
    this.#caller = caller;
    this.#device.pushErrorScope('validation');
    try {
      return work();
    } finally {
      this.#caller = undefined;
      this.#expectNone((problem) => refused(caller, problem));
    }
  }

  /**
   * A buffer of the call that is being watched. If the device has no memory for it, it is destroyed and `onLost` called.
   *
   * @throws PageflashError `limit` if it is larger than buffers of the device can be
   */
  createBuffer(descriptor: GPUBufferDescriptor, onLost?: (buffer: GPUBuffer) => void): GPUBuffer {
    const { label, size } = descriptor;
    const caller = this.#caller!;
    const { maxBufferSize } = this.#device.limits;
    if (size > maxBufferSize) {
      fail(
        'limit',
        caller,
        `${label} needs a buffer of ${size} bytes, but this device allows ${maxBufferSize}. Ask for maxBufferSize, use requestDevice(), or do less at a time.`,
      );
    }
    this.#device.pushErrorScope('out-of-memory');
    const buffer = this.#device.createBuffer(descriptor);
    this.#expectNone(() => {
      buffer.destroy();
      onLost?.(buffer);
      return outOfMemory(caller, `${size} bytes of ${label}`);
    });
    return buffer;
  }

  /** Keep an error that a promise may give. */
  expect(error: Promise<PageflashError | undefined>): void {
    this.#settled = this.#hear(this.#settled, error);
  }

  /** @throws PageflashError what nobody has heard of yet, once */
  throwUnheard(): void {
    const error = this.#unheard;
    this.#unheard = undefined;
    if (error) throw error;
  }

  /** Close the innermost scope. */
  #expectNone(describe: (problem: string) => PageflashError): void {
    const error = closeScope(this.#device);
    this.expect(error.then((found) => (found ? describe(found.message) : undefined)));
  }

  /** In the order of the calls: what is found late, as by a compiler, may be the cause of what was found before. */
  async #hear(before: Promise<void>, error: Promise<PageflashError | undefined>): Promise<void> {
    const found = await error;
    await before;
    this.#unheard ??= found;
  }
}

function refused(caller: string, problem: string): PageflashError {
  // The first line says what is wrong, the others in which call of WebGPU.
  const [reason] = problem.split('\n');
  return new PageflashError(
    'buffer',
    `${caller}: after the call had returned, the device refused its work: ${reason} Its results are not valid. Pass buffers of the runtime's device, and keep them until the work was submitted.`,
  );
}

function outOfMemory(caller: string, what: string): PageflashError {
  return new PageflashError(
    'limit',
    `${caller}: after the call had returned, the device had no memory for ${what}. Its results are not valid. Free something, or do less at a time.`,
  );
}
