/** Something with a place in a queue: higher priorities first, then earlier arrivals. */
export interface Ranked {
  readonly priority: number;
  /** Different for each. */
  readonly arrival: number;
}

/** Items by rank. O(log n) to find, and moving the rest to put in or take out. */
export class RankedList<T extends Ranked> {
  readonly #items: T[] = [];

  /** In order. */
  get items(): readonly T[] {
    return this.#items;
  }

  add(item: T): void {
    this.#items.splice(this.#placeOf(item), 0, item);
  }

  remove(item: T): void {
    this.#items.splice(this.#placeOf(item), 1);
  }

  /** The index of an item, or the one that it would have. */
  #placeOf(item: Ranked): number {
    let low = 0;
    let high = this.#items.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (isBefore(this.#items[middle]!, item)) low = middle + 1;
      else high = middle;
    }
    return low;
  }
}

/** Whether one item comes before another. */
export function isBefore(one: Ranked, other: Ranked): boolean {
  if (one.priority !== other.priority) return one.priority > other.priority;
  return one.arrival < other.arrival;
}
