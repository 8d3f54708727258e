import fc from 'fast-check';
import { World, type Operation, type WorldOptions } from './pagingWorld.js';

export interface ScriptsArgs {
  readonly nScripts: number;
  readonly seed: number;
}

/** Scripts of random operations against the model. Returns how many operations were run; throws a short script that fails. */
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
export function runScript(options: WorldOptions, operations: readonly Operation[]): void {
  const world = new World(options);
  for (const next of operations) world.run(next);
  world.end();
}

// Few pages, few different tokens and short prompts, so that pages are shared, run out and are reused all the time.
const options: fc.Arbitrary<WorldOptions> = fc.record({
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
    arbitrary: isRarely.map((isReset) => ({
      type: isReset ? ('reset' as const) : ('unpin' as const),
      pick: 0,
    })),
  },
);

function numbered<T extends 'reserve' | 'commit' | 'compute' | 'fork' | 'truncate'>(type: T, weight: number) {
  return { weight, arbitrary: fc.record({ type: fc.constant(type), pick, n: fc.nat(12) }) };
}

function picking<T extends 'release' | 'evict' | 'swapOut' | 'swapIn' | 'pin' | 'unpin'>(
  type: T,
  weight: number,
) {
  return { weight, arbitrary: fc.record({ type: fc.constant(type), pick }) };
}
