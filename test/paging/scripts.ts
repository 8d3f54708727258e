import * as fc from 'fast-check';
import { AllocatorWorld, type Allocation } from './allocatorWorld.js';
import type { PagingOptions } from './model.js';
import { Engine, type EngineOptions, type Event, type Happening } from './engine.js';
import { World, type Operation } from './world.js';

export interface ScriptsArgs {
  readonly nScripts: number;
  readonly seed: number;
}

/** Random operations on an allocator. Returns how many there were; throws a short script that fails. */
export function runAllocations({ nScripts, seed }: ScriptsArgs): number {
  let nOperations = 0;
  const pool = fc.record({
    nPages: fc.integer({ min: 1, max: 14 }),
    pageSize: fc.integer({ min: 1, max: 4 }),
  });
  const script = fc.property(
    pool,
    fc.array(allocation, { maxLength: 120, size: 'max' }),
    (options, operations) => {
      nOperations += operations.length;
      const world = new AllocatorWorld(options);
      for (const next of operations) world.run(next);
      world.end();
    },
  );
  fc.assert(script, { numRuns: nScripts, seed });
  return nOperations;
}

/** Random operations on a page manager, likewise. */
export function runScripts({ nScripts, seed }: ScriptsArgs): number {
  let nOperations = 0;
  const script = fc.property(
    options,
    fc.array(operation, { maxLength: 120, size: 'max' }),
    (world, operations) => {
      nOperations += operations.length;
      runScript(world, operations);
    },
  );
  fc.assert(script, { numRuns: nScripts, seed });
  return nOperations;
}

/** One script from its start to the end of all sequences. */
export function runScript(options: PagingOptions, operations: readonly Operation[]): void {
  const world = new World(options);
  for (const next of operations) world.run(next);
  world.end();
}

/** Random users of an engine that plans its steps. Returns how many events and steps there were. */
export function runEngines({ nScripts, seed }: ScriptsArgs): number {
  let nEvents = 0;
  const script = fc.property(
    engineOptions,
    fc.array(event, { maxLength: 60, size: 'max' }),
    (engine, events) => {
      nEvents += events.reduce((sum, next) => sum + (next.type === 'steps' ? next.n : 1), 0);
      runEngine(engine, events);
    },
  );
  fc.assert(script, { numRuns: nScripts, seed });
  return nEvents;
}

/** One engine until its last sequence ends. */
export function runEngine(options: EngineOptions, events: readonly Event[]): void {
  const engine = new Engine(options);
  for (const next of events) engine.run(next);
  engine.end();
}

// Few pages, few different tokens and short prompts, so that pages are shared, run out and are reused all the time.
const options: fc.Arbitrary<PagingOptions> = fc.record({
  nPages: fc.integer({ min: 1, max: 14 }),
  pageSize: fc.integer({ min: 1, max: 4 }),
  nHostPages: fc.integer({ min: 0, max: 6 }),
  window: fc.oneof({ weight: 2, arbitrary: fc.constant(-1) }, fc.integer({ min: 0, max: 9 })),
  isCaching: fc.oneof({ weight: 9, arbitrary: fc.constant(true) }, fc.constant(false)),
});

const pick = fc.nat(11);
const token = fc.nat(1);
const isRarely = fc.oneof({ weight: 9, arbitrary: fc.constant(false) }, fc.constant(true));

const operation: fc.Arbitrary<Operation> = fc.oneof(
  {
    weight: 4,
    arbitrary: fc.record({
      type: fc.constant('add' as const),
      tokens: fc.array(token, { maxLength: 20, size: 'max' }),
      salt: fc.nat(1),
      isPrivate: isRarely,
    }),
  },
  {
    weight: 4,
    arbitrary: fc.record({
      type: fc.constant('append' as const),
      pick,
      tokens: fc.array(token, { maxLength: 4 }),
    }),
  },
  numbered('reserve', 4),
  numbered('commit', 4),
  numbered('compute', 12),
  numbered('fork', 3),
  numbered('truncate', 3),
  picking('release', 3),
  picking('evict', 1),
  picking('swapOut', 3),
  picking('swapIn', 4),
  picking('pin', 1),
  picking('unpin', 1),
  { weight: 1, arbitrary: fc.record({ type: fc.constant('resize' as const), n: fc.nat(20) }) },
  { weight: 1, arbitrary: fc.record({ type: fc.constant('misuse' as const), pick }) },
  // A reset now and then: most of what is interesting takes a while to come about.
  {
    weight: 1,
    arbitrary: fc
      .tuple(isRarely, fc.boolean())
      .map(([isReset, keepSwapped]) =>
        isReset ? { type: 'reset' as const, keepSwapped } : { type: 'unpin' as const, pick: 0 },
      ),
  },
);

const allocation: fc.Arbitrary<Allocation> = fc.oneof(
  { weight: 2, arbitrary: fc.constant({ type: 'create' as const }) },
  { weight: 6, arbitrary: fc.record({ type: fc.constant('append' as const), pick, n: fc.nat(12) }) },
  { weight: 2, arbitrary: fc.record({ type: fc.constant('truncate' as const), pick, n: fc.nat(12) }) },
  { weight: 2, arbitrary: fc.record({ type: fc.constantFrom('fork' as const, 'release' as const), pick }) },
);

const engineOptions: fc.Arbitrary<EngineOptions> = options.chain((pages) =>
  fc.record({
    nPages: fc.constant(pages.nPages),
    pageSize: fc.constant(pages.pageSize),
    nHostPages: fc.constant(pages.nHostPages),
    window: fc.constant(pages.window),
    isCaching: fc.constant(pages.isCaching),
    maxTokens: fc.integer({ min: 1, max: 24 }),
    maxSequences: fc.integer({ min: 1, max: 5 }),
    prefer: fc.constantFrom('decode' as const, 'prefill' as const),
    preempt: fc.constantFrom('recompute' as const, 'swap' as const),
    watermark: fc.constantFrom(0, 0.01, 0.3),
  }),
);

const event: fc.Arbitrary<Event> = fc.oneof(
  {
    weight: 5,
    arbitrary: fc.record({
      type: fc.constant('add' as const),
      tokens: fc.array(token, { minLength: 1, maxLength: 24, size: 'max' }),
      priority: fc.nat(1),
      salt: fc.nat(1),
      isPrivate: isRarely,
      nNew: fc.nat(20),
    }),
  },
  {
    weight: 8,
    arbitrary: fc.record({ type: fc.constant('steps' as const), n: fc.integer({ min: 1, max: 6 }) }),
  },
  {
    weight: 2,
    arbitrary: fc.record({ type: fc.constant('draft' as const), pick, nRight: fc.nat(3), nWrong: fc.nat(3) }),
  },
  happening('abort', 1),
  happening('fork', 2),
  happening('checkpoint', 2),
  happening('rest', 1),
  happening('goOn', 2),
  happening('pin', 2),
  happening('unpin', 2),
  happening('goBack', 1),
  { weight: 1, arbitrary: fc.record({ type: fc.constant('resize' as const), n: fc.nat(20) }) },
  {
    weight: 1,
    arbitrary: fc
      .tuple(isRarely, fc.boolean())
      .map(([isReset, keepSwapped]) =>
        isReset ? { type: 'reset' as const, keepSwapped } : { type: 'steps' as const, n: 1 },
      ),
  },
);

function happening(type: Happening, weight: number) {
  return { weight, arbitrary: fc.record({ type: fc.constant(type), pick }) };
}

function numbered<T extends 'reserve' | 'commit' | 'compute' | 'fork' | 'truncate'>(type: T, weight: number) {
  return { weight, arbitrary: fc.record({ type: fc.constant(type), pick, n: fc.nat(12) }) };
}

function picking<T extends 'release' | 'evict' | 'swapOut' | 'swapIn' | 'pin' | 'unpin'>(
  type: T,
  weight: number,
) {
  return { weight, arbitrary: fc.record({ type: fc.constant(type), pick }) };
}
