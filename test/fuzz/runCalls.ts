import { createRuntime, PageflashError, type Runtime, type Tensor } from '../../src/index.js';
import type { PublicCall } from './callMaker.js';
import { drawCall } from './validCalls.js';
import { mutate, type Mutation } from './mutations.js';
import { Random } from '../../tools/random.js';
import { LARGE_LIMITS, strictDevice, type StrictDevice } from '../runtime/strictDevice.js';

/** As many storage buffers as attention binds with all of its options. */
const MANY_BUFFERS = { maxStorageBuffersPerShaderStage: 14 };

/** What came of many malformed calls. */
export interface FuzzFigures {
  inputs: number;
  accepted: number;
  /** Errors by code. */
  readonly errors: Map<string, number>;
  /** Inputs by function. */
  readonly functions: Map<string, number>;
  /** What should not have happened, with the seed that repeats it. */
  readonly escapes: string[];
}

const CODES = new Set(['argument', 'shape', 'dtype', 'buffer', 'length', 'limit', 'device', 'compile']);

/** Of new tokens, which the cache has by then, attnWeights reads nothing but the shape. */
const UNREAD = 'k.buffer';

/** ms; a call that takes longer was busy with nonsense. */
const SLOW = 3000;

interface Bench {
  readonly strict: StrictDevice;
  readonly runtime: Runtime;
}

/** Make a malformed call of a valid one for each seed, and note what the library does with it. */
export async function fuzzCalls(firstSeed: number, nSeeds: number): Promise<FuzzFigures> {
  const figures: FuzzFigures = {
    inputs: 0,
    accepted: 0,
    errors: new Map(),
    functions: new Map(),
    escapes: [],
  };
  const benches = [MANY_BUFFERS, { ...MANY_BUFFERS, ...LARGE_LIMITS }].map((limits): Bench => {
    const strict = strictDevice(limits);
    return { strict, runtime: createRuntime(strict.device) };
  });
  for (let seed = firstSeed; seed < firstSeed + nSeeds; seed++) {
    await runOne(seed, benches[seed % 2]!, figures);
  }
  for (const { runtime } of benches) runtime.destroy();
  return figures;
}

async function runOne(seed: number, bench: Bench, figures: FuzzFigures): Promise<void> {
  const random = new Random(seed);
  const call = drawCall(random);
  // One in eight is left as it is: what is valid must be taken.
  const nMutations = random.pick([0, 1, 1, 1, 1, 1, 2, 3]);
  const mutations = Array.from({ length: nMutations }, () => mutate(random, call.args));
  const escape = await outcomeOf(call, mutations, bench, figures);
  figures.inputs++;
  figures.functions.set(call.name, (figures.functions.get(call.name) ?? 0) + 1);
  if (!escape) return;
  const done = mutations.map(({ what }) => what).join('; ') || 'as it was';
  figures.escapes.push(
    `${call.name}, ${done}: ${escape}. Repeat: node scripts/runTs.mjs test/fuzz/soak.ts 1 ${seed}`,
  );
}

async function outcomeOf(
  { name, args, run }: PublicCall,
  mutations: readonly Mutation[],
  { strict, runtime }: Bench,
  figures: FuzzFigures,
): Promise<string | undefined> {
  const before = { ...strict.touched };
  strict.violations.length = 0;
  const own = new Set(strict.live);
  const started = performance.now();
  let thrown: unknown;
  let result: unknown;
  try {
    result = await run(runtime, args);
  } catch (error) {
    thrown = error ?? 'nothing';
  }
  const ms = performance.now() - started;
  // Scratch and uploads are the runtime's, and stay; results are ours.
  for (const tensor of Object.values((result ?? {}) as Record<string, Tensor>)) {
    if (strict.live.has(tensor?.buffer)) tensor.buffer.destroy();
  }
  if (ms > SLOW) return `it took ${Math.round(ms)} ms`;
  if (strict.violations.length > 0) return `WebGPU would have refused: ${strict.violations[0]}`;
  if (thrown === undefined) {
    figures.accepted++;
    const [only] = mutations;
    const isUnread = name === 'attnWeights' && only?.what.startsWith(UNREAD);
    return mutations.length === 1 && only!.mustFail && !isUnread ? 'it was accepted' : undefined;
  }
  if (!(thrown instanceof PageflashError)) return `it threw ${trace(thrown)}`;
  if (!CODES.has(thrown.code)) return `it threw the code ${thrown.code}`;
  if (mutations.length === 0) return `it was refused: ${thrown.message}`;
  if (thrown.message.length > 1000) return `the message has ${thrown.message.length} letters`;
  figures.errors.set(thrown.code, (figures.errors.get(thrown.code) ?? 0) + 1);
  // A plan was made before its layer is refused; a cache before its pages are.
  if (/^planAttn|^PagedKvCache/.test(name)) return undefined;
  const { touched } = strict;
  if (
    touched.writes + touched.submits + touched.dispatches >
    before.writes + before.submits + before.dispatches
  )
    return `it was refused (${thrown.message}) after work was recorded`;
  const left = [...strict.live].filter((buffer) => !own.has(buffer));
  return left.length > 0 ? `it was refused (${thrown.message}) and left ${left.length} buffers` : undefined;
}

function trace(thrown: unknown): string {
  if (!(thrown instanceof Error)) return String(thrown);
  const frames = thrown.stack?.split('\n').filter((line) => line.includes('/src/')) ?? [];
  return `${thrown.name}: ${thrown.message.slice(0, 200)} ${frames
    .slice(0, 2)
    .map((line) => line.trim())
    .join(' ')}`;
}

/** A few lines that say what was tried. */
export function summary({ inputs, accepted, errors, functions, escapes }: FuzzFigures): string {
  const listed = (counts: Map<string, number>): string =>
    [...counts]
      .toSorted((a, b) => b[1] - a[1])
      .map(([name, n]) => `${name} ${n}`)
      .join(', ');
  return [
    `${inputs} inputs: ${listed(functions)}`,
    `errors by code: ${listed(errors)}; accepted ${accepted}; escapes ${escapes.length}`,
    ...escapes,
  ].join('\n');
}
