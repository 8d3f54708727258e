/** Looks for strings in a text that comes in pieces, at which the text ends. */
export class StopStrings {
  readonly #stops: readonly string[];
  /** The end of the text so far, which may be the beginning of a stop string. */
  #held = '';
  #isStopped = false;

  /** @param stops strings that end a text, and are not part of it */
  constructor(stops: readonly string[]) {
    this.#stops = stops.filter((stop) => stop !== '');
  }

  /** Whether a stop string has come. Nothing of what comes behind it is returned. */
  get isStopped(): boolean {
    return this.#isStopped;
  }

  /** Returns the text that is surely not part of a stop string: what was held back before, too. */
  push(piece: string): string {
    if (this.#isStopped) return '';
    const text = this.#held + piece;
    const stop = firstStop(text, this.#stops);
    if (stop !== undefined) {
      this.#isStopped = true;
      this.#held = '';
      return text.slice(0, stop);
    }
    const nHeld = this.#stops.reduce((most, next) => Math.max(most, overlap(text, next)), 0);
    const end = text.length - nHeld;
    this.#held = text.slice(end);
    return text.slice(0, end);
  }

  /** Returns what was held back, when no more text comes. */
  flush(): string {
    const rest = this.#held;
    this.#held = '';
    return rest;
  }
}

/**
 * Returns where the first stop string begins: that which ends first, so that the pieces do not matter; of several that
 * end there, the longest.
 */
function firstStop(text: string, stops: readonly string[]): number | undefined {
  let first: { readonly start: number; readonly end: number } | undefined;
  for (const stop of stops) {
    const start = text.indexOf(stop);
    if (start < 0) continue;
    const end = start + stop.length;
    if (!first || end < first.end || (end === first.end && start < first.start)) first = { start, end };
  }
  return first?.start;
}

/** Returns how many characters at the end of a text are the beginning of a stop string. */
function overlap(text: string, stop: string): number {
  for (let length = Math.min(text.length, stop.length - 1); length > 0; length--)
    if (text.endsWith(stop.slice(0, length))) return length;
  return 0;
}
