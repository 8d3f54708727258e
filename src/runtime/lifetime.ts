import { fail } from '../core/errors.js';

/** From the making of a runtime until it is destroyed or its device lost, and who waits meanwhile. */
export class Lifetime {
  readonly #device: GPUDevice;
  readonly #waiting = new Set<() => void>();
  #end: string | undefined;

  constructor(device: GPUDevice) {
    this.#device = device;
    void device.lost.then(({ reason, message }) => {
      this.end(`the device was lost (${reason}): ${message || 'no reason was given'}`);
    });
  }

  /** Once; later reasons do not count. */
  end(reason: string): void {
    this.#end ??= reason;
    for (const stop of this.#waiting) stop();
    this.#waiting.clear();
  }

  /** @throws PageflashError `device` after the end */
  assert(caller: string): void {
    if (this.#end === undefined) return;
    const reason = this.#end.replace(/\.$/, '');
    fail('device', caller, `the runtime cannot be used any more, since ${reason}.`);
  }

  /**
   * What a promise gives, before the end.
   *
   * @throws PageflashError `device` as soon as the end comes, even if the promise never settles
   */
  until<T>(caller: string, work: Promise<T>): Promise<T> {
    return new Promise((resolve, reject) => {
      const settle = (give: () => void): void => {
        this.#waiting.delete(stop);
        try {
          this.assert(caller);
          give();
        } catch (error) {
          reject(error as Error);
        }
      };
      const stop = (): void => settle(() => {});
      this.#waiting.add(stop);
      work.then(
        (value) => settle(() => resolve(value)),
        async (error: Error) => {
          await this.#news();
          settle(() => reject(error));
        },
      );
    });
  }

  /** Wait until the device would have said that it is lost: what that breaks, such as a mapping, may be told before. */
  async #news(): Promise<void> {
    await this.#device.queue.onSubmittedWorkDone().catch(() => {});
    await new Promise((resolve) => setTimeout(resolve, 0));
  }
}
