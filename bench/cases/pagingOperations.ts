import { PageManager } from '../../src/paging/pageManager.js';
import { Random } from '../../tools/random.js';
import { summarize, type Summary } from '../../tools/statistics.js';
import { PAGE_SIZE } from './shapes.js';

/** Do something many times, leave the pool about as it was, and return mean nanoseconds. */
type Operation = (pool: BusyPool, random: Random) => number;

export const OPERATIONS: Readonly<Record<string, Operation>> = {
  'append a token': appendTokens,
  'allocate a page': allocatePages,
  'fork a page': forkPages,
  'find a page of a prefix': findPages,
  'release a page': releasePages,
};

/** Time each operation in a pool of this size. Returns nanoseconds per operation, by name. */
export function timeOperations(nPages: number, nSequences: number): ReadonlyMap<string, Summary> {
  const random = new Random(nPages);
  const pool = new BusyPool({ nPages, nSequences, random });
  return new Map(
    Object.entries(OPERATIONS).map(([name, operation]) => {
      const ns = Array.from({ length: WARM_UP + ROUNDS }, () => operation(pool, random));
      return [name, summarize(ns.slice(WARM_UP))];
    }),
  );
}

const WARM_UP = 8;
const ROUNDS = 15;
const REPEATS = 40;

/** Decoding: append, reserve, commit. Every 16th token fills a page, which is published in the prefix cache. */
function appendTokens(pool: BusyPool): number {
  const { manager, sequences } = pool;
  const nSequences = Math.min(sequences.length, 100);
  for (let i = 0; i < nSequences; i++) {
    manager.release(sequences[i]!);
    pool.restart(i);
  }
  const start = performance.now();
  for (let i = 0; i < APPENDED * nSequences; i++) {
    const sequence = sequences[i % nSequences]!;
    manager.append(sequence, TOKEN);
    pool.compute(sequence, 1);
  }
  return nanoseconds(start, APPENDED * nSequences);
}

const APPENDED = 64;
const TOKEN = [7];

/** Reserves pages for a prompt that is not in the prefix cache. */
function allocatePages({ manager }: BusyPool, random: Random): number {
  let ns = 0;
  for (let i = 0; i < REPEATS; i++) {
    const sequence = manager.add(tokensOf(random.int(1e8, 1e9), ALLOCATED * PAGE_SIZE));
    const start = performance.now();
    if (manager.reserve(sequence) === 'full') throw new Error('The pool is too small.');
    ns += nanoseconds(start, ALLOCATED * REPEATS);
    manager.release(sequence);
  }
  return ns;
}

const ALLOCATED = 40;

function forkPages({ manager, sequences, nPagesEach }: BusyPool, random: Random): number {
  const chosen = Array.from({ length: REPEATS }, () => random.pick(sequences));
  const start = performance.now();
  const forks = chosen.map((sequence) => manager.fork(sequence));
  const ns = nanoseconds(start, REPEATS * nPagesEach);
  for (const fork of forks) manager.release(fork);
  return ns;
}

/**
 * Reserves pages for a prompt whose pages, all but the last, are in the prefix cache: hashes, compares tokens, takes
 * pages.
 */
function findPages(pool: BusyPool, random: Random): number {
  const { manager, sequences, nPagesEach } = pool;
  let ns = 0;
  for (let i = 0; i < REPEATS; i++) {
    const sequence = manager.add(pool.prompt(random.int(0, sequences.length)));
    const start = performance.now();
    manager.reserve(sequence, 1);
    ns += nanoseconds(start, REPEATS * nPagesEach);
    if (manager.sequence(sequence).nComputed !== (nPagesEach - 1) * PAGE_SIZE)
      throw new Error('Pages of the prompt are missing from the prefix cache.');
    manager.release(sequence);
  }
  return ns;
}

function releasePages(pool: BusyPool, random: Random): number {
  const { manager, sequences, nPagesEach } = pool;
  let ns = 0;
  for (let repeat = 0; repeat < REPEATS; repeat++) {
    const i = random.int(0, sequences.length);
    const start = performance.now();
    manager.release(sequences[i]!);
    ns += nanoseconds(start, REPEATS * nPagesEach);
    pool.restart(i);
  }
  return ns;
}

function nanoseconds(start: number, count: number): number {
  return ((performance.now() - start) * 1e6) / count;
}

interface BusyPoolArgs {
  readonly nPages: number;
  readonly nSequences: number;
  readonly random: Random;
}

/**
 * A pool that has been in use for a while: 80 % of its pages are held, the free ones are in random order, all are
 * written.
 */
class BusyPool {
  readonly manager: PageManager;
  readonly sequences: number[];
  readonly nPagesEach: number;
  readonly #seeds: number[];

  constructor({ nPages, nSequences, random }: BusyPoolArgs) {
    this.manager = new PageManager({ nPages, pageSize: PAGE_SIZE });
    this.nPagesEach = Math.floor((0.8 * nPages) / nSequences);
    this.#seeds = Array.from({ length: nSequences }, (_, i) => i);
    this.sequences = this.#seeds.map((seed) => this.#start(seed));
    for (const i of random.permutation(nSequences)) {
      this.manager.release(this.sequences[i]!);
      if (random.boolean()) this.manager.release(this.#start(nSequences + i));
      this.#seeds[i] = 2 * nSequences + i;
      this.sequences[i] = this.#start(this.#seeds[i]!);
    }
  }

  /** The prompt of sequence i, whose last token is alone in its page. */
  prompt(i: number): Int32Array {
    return tokensOf(this.#seeds[i]!, (this.nPagesEach - 1) * PAGE_SIZE + 1);
  }

  /** Computes the prompt of sequence i again, as a new sequence. */
  restart(i: number): void {
    this.sequences[i] = this.#start(this.#seeds[i]!);
  }

  /** Reserves and commits the next `nTokens` of a sequence, by default all that remain. */
  compute(sequence: number, nTokens?: number): void {
    if (this.manager.reserve(sequence, nTokens) === 'full') throw new Error('The pool is too small.');
    this.manager.commit(sequence);
  }

  #start(seed: number): number {
    const sequence = this.manager.add(tokensOf(seed, (this.nPagesEach - 1) * PAGE_SIZE + 1));
    this.compute(sequence);
    return sequence;
  }
}

/** `count` tokens, other ones for each seed. */
export function tokensOf(seed: number, count: number): Int32Array {
  return Int32Array.from({ length: count }, (_, i) => Math.imul(seed + 1, 65_537) + i);
}
