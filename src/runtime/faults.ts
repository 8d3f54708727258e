import { fail, PageflashError } from '../core/errors.js';

/** Closes the innermost error scope and returns what it caught. A device that is lost may reject, which is no error. */
export function closeScope(device: GPUDevice): Promise<GPUError | null> {
  return device.popErrorScope().catch(() => null);
}

/**
 * What goes wrong on a device after a call has returned: work that the device refuses, and the loss of the device.
 * Refused work is kept until the next call, which throws it, as CUDA does with errors of kernels. Only the first error
 * is kept, since later work mostly fails because of it. After the loss, or the end of the runtime, every call throws.
 */
export class Faults {
  readonly #device: GPUDevice;
  /** The call that is giving the device work. */
  #caller: string | undefined;
  #unreported: PageflashError | undefined;
  #settled: Promise<void> = Promise.resolve();
  /** Why the runtime cannot be used any more. */
  #end: string | undefined;
  /** Each rejects one pending promise; all are called at the end. */
  readonly #pending = new Set<() => void>();

  constructor(device: GPUDevice) {
    this.#device = device;
    void device.lost.then(({ reason, message }) => {
      this.end(`the device was lost (${reason}): ${message || 'no reason was given'}`);
    });
  }

  /** Rejects all that is pending, and makes every later call throw. The first reason counts. */
  end(reason: string): void {
    this.#end ??= reason;
    for (const stop of this.#pending) stop();
    this.#pending.clear();
  }

  /**
   * Checks that the end has not come.
   *
   * @throws PageflashError `device` after the end
   */
  assertNotEnded(caller: string): void {
    if (this.#end === undefined) return;
    const reason = this.#end.replace(/\.$/, '');
    fail('device', caller, `the runtime cannot be used any more, since ${reason}.`);
  }

  /**
   * Checks that the end has not come, and that no earlier call has an error to report.
   *
   * @throws PageflashError `device` after the end; otherwise the error of an earlier call, once
   */
  assertAlive(caller: string): void {
    this.assertNotEnded(caller);
    const error = this.#unreported;
    this.#unreported = undefined;
    if (error) throw error;
  }

  /**
   * Resolves as `work` does, before the end.
   *
   * @throws PageflashError `device` as soon as the end comes, even if `work` never settles
   */
  untilEnded<T>(caller: string, work: Promise<T>): Promise<T> {
    return new Promise((resolve, reject) => {
      const finish = (give: () => void): void => {
        this.#pending.delete(stop);
        try {
          this.assertNotEnded(caller);
          give();
        } catch (error) {
          reject(error as Error);
        }
      };
      const stop = (): void => finish(() => {});
      this.#pending.add(stop);
      work.then(
        (value) => finish(() => resolve(value)),
        async (error: Error) => {
          await this.#newsOfLoss();
          finish(() => reject(error));
        },
      );
    });
  }

  /** Waits for `work`, and until the device has reported all errors so far. Throws the first of them. */
  async settle(caller: string, work: Promise<unknown>): Promise<void> {
    await this.untilEnded(caller, Promise.all([work, this.#settled]));
    this.assertAlive(caller);
  }

  /** Gives the device work in the name of a call. Within another call, the work is a part of that one. */
  inNameOf<T>(caller: string, work: () => T): T {
    if (this.#caller !== undefined) return work();
    this.#caller = caller;
    this.#device.pushErrorScope('validation');
    try {
      return work();
    } finally {
      this.#caller = undefined;
      this.#closeScope(({ message }) => {
        // The first line says what is wrong, the others in which call of WebGPU.
        const [reason] = message.split('\n');
        return late(
          'buffer',
          caller,
          `the device refused its work: ${reason}`,
          "Pass buffers of the runtime's device, and keep them until the work was submitted.",
        );
      });
    }
  }

  /**
   * Creates a buffer for the call that is being watched. If the device has no memory for it, the buffer is destroyed
   * and `onLost` called.
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
    this.#closeScope(() => {
      buffer.destroy();
      onLost?.(buffer);
      return late(
        'limit',
        caller,
        `the device had no memory for ${size} bytes of ${label}.`,
        'Free something, or do less at a time.',
      );
    });
    return buffer;
  }

  /** Keeps an error that a promise may give for the next call. */
  expect(error: Promise<PageflashError | undefined>): void {
    this.#settled = this.#keep(this.#settled, error);
  }

  #closeScope(describe: (error: GPUError) => PageflashError): void {
    const error = closeScope(this.#device);
    this.expect(error.then((found) => (found ? describe(found) : undefined)));
  }

  /**
   * Keeps errors in the order of the calls: an error that is found late, as a compiler's, may be the cause of one found
   * before.
   */
  async #keep(before: Promise<void>, error: Promise<PageflashError | undefined>): Promise<void> {
    const found = await error;
    await before;
    this.#unreported ??= found;
  }

  /**
   * Waits until the device would have reported its loss: what the loss breaks, such as a mapping, may be reported
   * first.
   */
  async #newsOfLoss(): Promise<void> {
    await this.#device.queue.onSubmittedWorkDone().catch(() => {});
    await new Promise((resolve) => setTimeout(resolve, 0));
  }
}

/** Returns an error of a call that has returned already. */
function late(code: 'buffer' | 'limit', caller: string, problem: string, remedy: string): PageflashError {
  const message = `${caller}: after the call had returned, ${problem} Its results are not valid. ${remedy}`;
  return new PageflashError(code, message);
}
