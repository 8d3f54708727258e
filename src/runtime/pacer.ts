import type { Dispatch } from '../core/dispatch.js';
import type { Pace } from '../core/pace.js';

/** Less work than this says nothing: waiting for the queue takes up to some milliseconds. */
const MIN_MACS = 1e9;
const MIN_BYTES = 2 ** 28;

/** Work that takes less than this many seconds at the pace that is known cannot show much more. */
const MIN_SECONDS = 0.005;

/** Measurements without news after which there are no more. */
const MAX_IDLE = 8;

/**
 * Learns the pace of a device from what the runtime submits: the work over the time from its submission until the queue is
 * empty. Other work may have been in the way, so it is a lower bound, and the best one counts. It is rounded down to a
 * power of two, so that it seldom changes, and plans with it.
 */
export class Pacer implements Pace {
  macsPerSecond = 0;
  bytesPerSecond = 0;
  #isBusy = false;
  #nIdle = 0;

  /** Measures dispatches that were submitted just now, if they are enough work. */
  watch(device: GPUDevice, dispatches: readonly Dispatch[]): void {
    if (this.#isBusy || this.#nIdle >= MAX_IDLE) return;
    let [macs, bytes] = [0, 0];
    for (const { load } of dispatches) {
      if (!load) continue;
      macs += load.macs;
      bytes += load.bytes;
    }
    const isEnough =
      macs >= Math.max(MIN_MACS, MIN_SECONDS * this.macsPerSecond) ||
      bytes >= Math.max(MIN_BYTES, MIN_SECONDS * this.bytesPerSecond);
    if (!isEnough) return;
    this.#isBusy = true;
    const start = performance.now();
    device.queue.onSubmittedWorkDone().then(
      () => this.#note(macs, bytes, (performance.now() - start) / 1000),
      // The device was lost, which others report.
      () => {},
    );
  }

  #note(macs: number, bytes: number, seconds: number): void {
    this.#isBusy = false;
    const macsPerSecond = powerOfTwoBelow(macs / seconds);
    const bytesPerSecond = powerOfTwoBelow(bytes / seconds);
    const isNews = macsPerSecond > this.macsPerSecond || bytesPerSecond > this.bytesPerSecond;
    this.#nIdle = isNews ? 0 : this.#nIdle + 1;
    this.macsPerSecond = Math.max(this.macsPerSecond, macsPerSecond);
    this.bytesPerSecond = Math.max(this.bytesPerSecond, bytesPerSecond);
  }
}

/** Finite, since a clock may stand still. */
function powerOfTwoBelow(rate: number): number {
  return 2 ** Math.floor(Math.log2(Math.min(rate, 2 ** 60)));
}
