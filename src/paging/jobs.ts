import type { SequenceId } from './registry.js';
import type { SequenceView } from './managedSequence.js';
import { RankedList, type Ranked } from './rankedList.js';

/** A sequence that a planner plans for. */
export interface Job extends Ranked {
  readonly id: SequenceId;
  readonly view: SequenceView;
  isRunning: boolean;
  /** Its tokens in the step that is being planned. */
  nChosen: number;
}

/** The sequences of a planner: those that run, which have pages, and those that wait for pages. */
export class Jobs {
  readonly running = new RankedList<Job>();
  readonly waiting = new RankedList<Job>();
  readonly #byId = new Map<SequenceId, Job>();
  #nArrivals = 0;

  get(sequence: SequenceId): Job | undefined {
    return this.#byId.get(sequence);
  }

  all(): Iterable<Job> {
    return this.#byId.values();
  }

  add(view: SequenceView, priority: number): void {
    const arrival = this.#nArrivals++;
    const job = { id: view.id, view, priority, arrival, isRunning: hasPages(view), nChosen: 0 };
    this.#byId.set(job.id, job);
    this.#listOf(job).add(job);
  }

  delete(job: Job): void {
    this.#listOf(job).remove(job);
    this.#byId.delete(job.id);
  }

  /** Let a job run that is going to get pages. */
  admit(job: Job): void {
    this.#set(job, true);
  }

  /** Put a job, at rest, where it belongs after a change. */
  settle(job: Job): void {
    this.#set(job, hasPages(job.view));
  }

  #set(job: Job, isRunning: boolean): void {
    if (job.isRunning === isRunning) return;
    this.#listOf(job).remove(job);
    job.isRunning = isRunning;
    this.#listOf(job).add(job);
  }

  #listOf({ isRunning }: Job): RankedList<Job> {
    return isRunning ? this.running : this.waiting;
  }
}

function hasPages({ nComputed, isSwapped }: SequenceView): boolean {
  return nComputed > 0 && !isSwapped;
}
