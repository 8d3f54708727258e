import type { SequenceView } from '../managedSequence.js';
import type { SequenceId } from '../sequenceRegistry.js';

type QueueName = 'running' | 'waiting' | 'resting';

/** A sequence of a planner. In a queue, higher priorities come first, then earlier arrivals. */
export interface QueuedSequence {
  readonly id: SequenceId;
  readonly view: SequenceView;
  readonly priority: number;
  readonly arrival: number;
  queue: QueueName;
  /** Its tokens in the step that is being planned. */
  nChosen: number;
}

/**
 * The sequences of a planner, in two queues: those that have pages run, and those that need some wait. The others rest.
 */
export class SequenceQueues {
  readonly running: QueuedSequence[] = [];
  readonly waiting: QueuedSequence[] = [];
  readonly #byId = new Map<SequenceId, QueuedSequence>();
  #nArrivals = 0;

  /** Sequences that have no pages and need none. */
  get nResting(): number {
    return this.#byId.size - this.running.length - this.waiting.length;
  }

  get(id: SequenceId): QueuedSequence | undefined {
    return this.#byId.get(id);
  }

  all(): Iterable<QueuedSequence> {
    return this.#byId.values();
  }

  add(view: SequenceView, priority: number): void {
    const { id } = view;
    const arrival = this.#nArrivals++;
    const sequence: QueuedSequence = { id, view, priority, arrival, queue: 'resting', nChosen: 0 };
    this.#byId.set(id, sequence);
    this.update(sequence);
  }

  delete(sequence: QueuedSequence): void {
    this.move(sequence, 'resting');
    this.#byId.delete(sequence.id);
  }

  /** Moves a sequence that is not in flight to the queue where it belongs after a change. */
  update(sequence: QueuedSequence): void {
    const { nComputed, isSwapped, isResting } = sequence.view;
    const hasPages = nComputed > 0 && !isSwapped;
    this.move(sequence, hasPages ? 'running' : isResting ? 'resting' : 'waiting');
  }

  move(sequence: QueuedSequence, queue: QueueName): void {
    if (sequence.queue === queue) return;
    if (sequence.queue !== 'resting') this[sequence.queue].splice(this[sequence.queue].indexOf(sequence), 1);
    sequence.queue = queue;
    if (queue === 'resting') return;
    // Mostly it comes last.
    const index = this[queue].findLastIndex((other) => isBefore(other, sequence)) + 1;
    this[queue].splice(index, 0, sequence);
  }
}

/** Whether one sequence comes before another in a queue. */
export function isBefore(one: QueuedSequence, other: QueuedSequence): boolean {
  if (one.priority !== other.priority) return one.priority > other.priority;
  return one.arrival < other.arrival;
}
