import { describe } from '../core/describe.js';
import { fail } from '../core/errors.js';

/** The id of a sequence. Ids are never used again. */
export type SequenceId = number;

/** Items of sequences by their ids. As these are never used again, a second release is refused. */
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

  /** The id of the item that is added next. */
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

  /** @throws PageflashError `argument` if there is no such sequence, in the name of an operation of the owner */
  find(operation: string, sequence: SequenceId): T {
    return this.#items.get(sequence) ?? this.#refuse(operation, sequence);
  }

  #refuse(operation: string, sequence: SequenceId): never {
    const wasReleased = Number.isInteger(sequence) && sequence >= 0 && sequence < this.#nextId;
    fail(
      'argument',
      `${this.#owner}.${operation}`,
      wasReleased
        ? `sequence ${sequence} was released already. Release it once, and use it no more.`
        : `there is no sequence ${describe(sequence)}. Pass the id of one that was started.`,
    );
  }
}
