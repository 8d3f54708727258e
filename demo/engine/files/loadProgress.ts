/** How far a model is loaded. */
export interface Progress {
  readonly bytes: number;
  readonly totalBytes: number;
  /** By the last seconds; undefined at first. */
  readonly bytesPerSecond: number | undefined;
  readonly secondsLeft: number | undefined;
}

/** Rates are those of so many seconds, so that a slow start does not count for ever. */
const WINDOW_MS = 5000;

/** Sums up what is loaded, and tells it. */
export class LoadProgress {
  readonly #totalBytes: number;
  readonly #onProgress: (progress: Progress) => void;
  readonly #now: () => number;
  /** Sums at times of the last seconds, the oldest first. */
  readonly #marks: { readonly ms: number; readonly bytes: number }[];
  #bytes = 0;

  constructor(
    totalBytes: number,
    onProgress: (progress: Progress) => void,
    now = (): number => performance.now(),
  ) {
    this.#totalBytes = totalBytes;
    this.#onProgress = onProgress;
    this.#now = now;
    this.#marks = [{ ms: now(), bytes: 0 }];
  }

  /** Says that some more bytes are loaded. */
  add(bytes: number): void {
    const ms = this.#now();
    this.#bytes += bytes;
    this.#marks.push({ ms, bytes: this.#bytes });
    while (this.#marks.length > 2 && this.#marks[1]!.ms <= ms - WINDOW_MS) this.#marks.shift();
    const first = this.#marks[0]!;
    const seconds = (ms - first.ms) / 1000;
    const bytesPerSecond = seconds > 0 ? (this.#bytes - first.bytes) / seconds : undefined;
    this.#onProgress({
      bytes: this.#bytes,
      totalBytes: this.#totalBytes,
      bytesPerSecond,
      secondsLeft: bytesPerSecond && (this.#totalBytes - this.#bytes) / bytesPerSecond,
    });
  }
}
