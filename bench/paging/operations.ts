import { Random } from '../../tools/random.js';
import { summarize, type Summary } from '../statistics.js';
import { BusyPool, PAGE_SIZE, tokensOf } from './busyPool.js';

/** Does something many times, and leaves the pool about as it was. Returns nanoseconds for each. */
type Operation = (pool: BusyPool, random: Random) => number;

export const OPERATIONS: Readonly<Record<string, Operation>> = {
  'append a token': appendTokens,
  'allocate a page': allocatePages,
  'fork a page': forkPages,
  'find a page of a prefix': findPages,
  'release a page': releasePages,
};

/** Nanoseconds of each operation, by name. */
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

/** What decoding does: append, reserve, commit. A page is full, and published, every 16th time. */
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

/** Pages for a prompt that nobody has computed. */
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

/** A prompt whose pages, all but the last, are found: hashes, compares its tokens, holds the pages. */
function findPages(pool: BusyPool, random: Random): number {
  const { manager, sequences, nPagesEach } = pool;
  let ns = 0;
  for (let i = 0; i < REPEATS; i++) {
    const sequence = manager.add(pool.prompt(random.int(0, sequences.length)));
    const start = performance.now();
    manager.reserve(sequence, 1);
    ns += nanoseconds(start, REPEATS * nPagesEach);
    if (manager.sequence(sequence).nComputed !== (nPagesEach - 1) * PAGE_SIZE)
      throw new Error('Pages are lost.');
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
