import { describe } from '../core/describe.js';
import { fail } from '../core/errors.js';

/** Names a sequence. Ids are never used again. */
export type SequenceId = number;

/** Things by ids that are never used again, so that whoever is released twice is told so. */
export class Registry<T> {
  readonly #owner: string;
  readonly #items = new Map<SequenceId, T>();
  #nextId = 0;

  /** `owner` is the class that errors name. */
  constructor(owner: string) {
    this.#owner = owner;
  }

  get size(): number {
    return this.#items.size;
  }

  /** The id that the next item gets. */
  get nextId(): SequenceId {
    return this.#nextId;
  }

  values(): Iterable<T> {
    return this.#items.values();
  }

  add(item: T): SequenceId {
    this.#items.set(this.#nextId, item);
    return this.#nextId++;
  }

  delete(sequence: SequenceId): void {
    this.#items.delete(sequence);
  }

  find(operation: string, sequence: SequenceId): T {
    return this.#items.get(sequence) ?? this.#refuse(`${this.#owner}.${operation}`, sequence);
  }

  #refuse(caller: string, sequence: SequenceId): never {
    const isPast = Number.isInteger(sequence) && sequence >= 0 && sequence < this.#nextId;
    if (isPast)
      fail(
        'argument',
        caller,
        `sequence ${sequence} was released already. Release it once, and use it no more.`,
      );
    fail(
      'argument',
      caller,
      `there is no sequence ${describe(sequence)}. Pass the id of one that was started.`,
    );
  }
}
