import type { DeviceTraits } from '../core/deviceTraits.js';
import { noteDevice } from '../core/gpuBuffers.js';
import { matrixName } from '../core/matrixConfigurations.js';

/** Why kernels may use a device's matrices: a self-test that was run, or what a tuning says of one. */
export type MatrixProof = 'tested' | 'tuned';

/**
 * What a runtime may use of a device: traits with and without subgroup matrices, and which of them count. Matrices are not
 * used before they have given right answers on this device, nor after a compiler has refused a kernel that uses them.
 */
export class MatrixUse {
  readonly #device: GPUDevice;
  #without: DeviceTraits;
  #with: DeviceTraits | null = null;
  #isProven = false;
  #testing: Promise<void> | undefined;
  /** Stops the test that runs now. */
  #stop = new AbortController();
  #nWaiting = 0;
  #isEnded = false;

  /**
   * @param without traits without matrices, with a note that says why
   * @param matrices those that could be used, if there are any
   */
  constructor(device: GPUDevice, without: DeviceTraits, matrices: DeviceTraits['matrices']) {
    this.#device = device;
    this.#without = this.#kept(without);
    if (matrices) this.#with = this.#kept({ ...without, tier: 'T2', matrices });
  }

  /** What counts now. */
  get traits(): DeviceTraits {
    return this.#isProven ? this.#with! : this.#without;
  }

  /** What counts once matrices have passed the test; null if there are none, or if they have failed. */
  get candidate(): DeviceTraits | null {
    return this.#with;
  }

  /** What counts where matrices are not used. */
  get fallback(): DeviceTraits {
    return this.#without;
  }

  /** From now on, kernels use matrices. */
  accept(proof: MatrixProof): void {
    const when = proof === 'tested' ? '' : ' when the device was tuned';
    const matricesNote = `Attention uses subgroup matrices (${this.#name}), which have passed their self-test${when}.`;
    this.#with = this.#kept({ ...this.#with!, matricesNote });
    this.#isProven = true;
  }

  /**
   * From now on, kernels use no matrices.
   *
   * @param reason without a full stop
   */
  reject(reason: string): void {
    const matricesNote = `Subgroup matrices (${this.#name}) are not used: ${reason}.`;
    this.#without = this.#kept({ ...this.#without, matricesNote });
    this.#with = null;
    this.#isProven = false;
  }

  /**
   * Resolves once it is decided whether matrices are used. The test runs once, however many ask for it, and goes on as long
   * as one of them waits.
   *
   * @param test resolves with what was wrong, or undefined
   * @throws what `test` throws; the reason of `signal`, once it is aborted
   */
  async decide(
    test: (candidate: DeviceTraits, signal: AbortSignal) => Promise<string | undefined>,
    signal: AbortSignal | undefined,
  ): Promise<void> {
    while (this.#with && !this.#isProven && !this.#isEnded) {
      this.#nWaiting++;
      try {
        const testing = (this.#testing ??= this.#test(test));
        await (signal ? unlessAborted(testing, signal) : testing);
      } finally {
        if (--this.#nWaiting === 0) this.#stop.abort();
      }
    }
  }

  /** Stops the test, if one runs. There will be no other. */
  end(): void {
    this.#isEnded = true;
    this.#stop.abort();
  }

  async #test(test: Parameters<MatrixUse['decide']>[0]): Promise<void> {
    this.#stop = new AbortController();
    const { signal } = this.#stop;
    try {
      const wrong = await test(this.#with!, signal);
      if (wrong === undefined) this.accept('tested');
      else this.reject(`their self-test failed (${wrong})`);
    } catch (error) {
      // Calls that began to wait meanwhile test again.
      if (!signal.aborted) throw error;
    } finally {
      this.#testing = undefined;
    }
  }

  get #name(): string {
    return matrixName(this.#with!.matrices!);
  }

  #kept(traits: DeviceTraits): DeviceTraits {
    const kept = Object.freeze(traits);
    noteDevice(kept, this.#device);
    return kept;
  }
}

/** Resolves as a promise does, or rejects with the signal's reason if that comes earlier. */
export function unlessAborted<T>(work: Promise<T>, signal: AbortSignal): Promise<T> {
  return new Promise((resolve, reject) => {
    const stop = (): void => reject(signal.reason as Error);
    signal.addEventListener('abort', stop);
    void work.then(resolve, reject).finally(() => signal.removeEventListener('abort', stop));
  });
}
