import { describe, fail } from '../core/errors.js';

/** The id of a sequence. Ids are never used again. */
export type SequenceId = number;

/** The id of a pin. */
export type PinId = number;

/** A map of sequences by ids that are never used again, so that it can tell a released sequence from an unknown one. */
export class SequenceRegistry<T> extends Map<SequenceId, T> {
  readonly #owner: string;
  #nextId = 0;

  /** `owner` is the class that errors name. */
  constructor(owner: string) {
    super();
    this.#owner = owner;
  }

  /** The id of the sequence that is added next. */
  get nextId(): SequenceId {
    return this.#nextId;
  }

  add(sequence: T): SequenceId {
    this.set(this.#nextId, sequence);
    return this.#nextId++;
  }

  /** Returns a sequence. @throws PageflashError `argument` if it is released or unknown, in the name of the operation */
  find(operation: string, id: SequenceId): T {
    return this.get(id) ?? this.#refuse(operation, id);
  }

  #refuse(operation: string, id: SequenceId): never {
    const wasReleased = Number.isInteger(id) && id >= 0 && id < this.#nextId;
    fail(
      'argument',
      `${this.#owner}.${operation}`,
      wasReleased
        ? `sequence ${id} was released already. Release it once, and use it no more.`
        : `there is no sequence ${describe(id)}. Pass the id of one that was started.`,
    );
  }
}
