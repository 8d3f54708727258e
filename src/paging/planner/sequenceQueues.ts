import type { SequenceId } from '../registry.js';
import type { SequenceView } from '../managedSequence.js';
import { RankedList, type Ranked } from './rankedList.js';

type JobState = 'running' | 'waiting' | 'resting';

/** A sequence that a planner plans for. */
export interface Job extends Ranked {
  readonly id: SequenceId;
  readonly view: SequenceView;
  state: JobState;
  /** Its tokens in the step that is being planned. */
  nChosen: number;
}

/** The sequences of a planner: with pages, in want of pages, and at rest without any. */
export class Jobs {
  readonly running = new RankedList<Job>();
  readonly waiting = new RankedList<Job>();
  readonly #byId = new Map<SequenceId, Job>();
  #nArrivals = 0;

  /** Those that have no pages and want none. */
  get nResting(): number {
    return this.#byId.size - this.running.items.length - this.waiting.items.length;
  }

  get(sequence: SequenceId): Job | undefined {
    return this.#byId.get(sequence);
  }

  all(): Iterable<Job> {
    return this.#byId.values();
  }

  add(view: SequenceView, priority: number): void {
    const arrival = this.#nArrivals++;
    const job: Job = { id: view.id, view, priority, arrival, state: stateOf(view), nChosen: 0 };
    this.#byId.set(job.id, job);
    this.#listOf(job)?.add(job);
  }

  delete(job: Job): void {
    this.#listOf(job)?.remove(job);
    this.#byId.delete(job.id);
  }

  /** Let a job run that is going to get pages. */
  admit(job: Job): void {
    this.#set(job, 'running');
  }

  /** Put a job, which is not in flight, where it belongs after a change. */
  settle(job: Job): void {
    this.#set(job, stateOf(job.view));
  }

  #set(job: Job, state: JobState): void {
    if (job.state === state) return;
    this.#listOf(job)?.remove(job);
    job.state = state;
    this.#listOf(job)?.add(job);
  }

  #listOf({ state }: Job): RankedList<Job> | undefined {
    return state === 'resting' ? undefined : this[state];
  }
}

function stateOf({ nComputed, isSwapped, isResting }: SequenceView): JobState {
  if (nComputed > 0 && !isSwapped) return 'running';
  return isResting ? 'resting' : 'waiting';
}
