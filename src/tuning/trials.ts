import type { Dispatch } from '../core/dispatch.js';
import { PageflashError } from '../core/errors.js';
import type { Load } from '../core/pace.js';
import type { BoundDispatch } from '../runtime/boundDispatch.js';
import type { Recording } from '../runtime/recording.js';
import type { Runtime } from '../runtime/runtime.js';
import { timeRuns } from '../runtime/stopwatch.js';

/** Milliseconds of work before each measurement: a GPU that was idle is slow at first. */
const WARM_UP_MS = 60;

/** Single runs of each trial before it is decided which are measured. */
const FIRST_LOOKS = 2;

/** Repetitions of a run, at most: timestamps may be rounded to 0. */
const MAX_REPETITIONS = 500;

/** One way to do some work, ready to run. */
export class Trial {
  readonly name: string;
  readonly load: Load;
  readonly dispatches: readonly BoundDispatch[];
  readonly #recording: Recording;
  /** Milliseconds of one repetition, one for each round. */
  readonly samples: number[] = [];
  /** Whether it was measured on after the first looks, so that its time can be relied upon. */
  isMeasured = false;

  /** Its kernels must be compiled, or it waits for the compiler. */
  constructor(
    runtime: Runtime,
    caller: string,
    plan: { readonly dispatches: readonly Dispatch[]; readonly load: Load },
    name: string,
  ) {
    this.name = name;
    this.load = plan.load;
    this.#recording = runtime.createRecording();
    this.dispatches = runtime.inNameOf(caller, () => {
      this.#recording.update(plan.dispatches);
      return this.#recording.bound(this.#recording.bind(new Map()));
    });
  }

  /** The median of the samples, in milliseconds. */
  get ms(): number {
    return quantile(this.samples, 0.5);
  }

  /** The distance of the quartiles over the median. */
  get spread(): number {
    return (quantile(this.samples, 0.75) - quantile(this.samples, 0.25)) / this.ms;
  }

  destroy(): void {
    this.#recording.destroy();
  }
}

/** Linear interpolation between the two nearest samples. */
function quantile(samples: readonly number[], fraction: number): number {
  const sorted = samples.toSorted((a, b) => a - b);
  const at = (sorted.length - 1) * fraction;
  const [below, above] = [sorted[Math.floor(at)]!, sorted[Math.ceil(at)]!];
  return below + (above - below) * (at - Math.floor(at));
}

/** How long to measure. */
export interface Effort {
  readonly minRounds: number;
  readonly maxRounds: number;
  /** No round starts after this time, once there are `minRounds`. */
  readonly budgetMs: number;
  /** A sample repeats the work until it takes about this long. */
  readonly sampleMs: number;
  /** Trials that take so many times as long as the fastest of their group are measured no further than once. */
  readonly hopeless: number;
}

/**
 * Times trials in interleaved rounds: each round is one stream of work, first 60 ms to get the clocks up, then a sample of
 * each trial, in an order that moves on from round to round.
 *
 * @param groups trials that do the same work
 * @param proceed throws to stop before the next round
 */
export async function measureTrials(
  runtime: Runtime,
  caller: string,
  groups: readonly (readonly Trial[])[],
  effort: Effort,
  proceed: () => void,
): Promise<void> {
  const all = groups.flat();
  const [first] = all;
  if (!first) return;
  const start = performance.now();
  const [firstMs] = await timeRuns(runtime, caller, [{ dispatches: first.dispatches, repetitions: 1 }]);
  const warmUp = { dispatches: first.dispatches, repetitions: repetitionsFor(WARM_UP_MS, firstMs!) };
  const takeRound = async (
    trials: readonly Trial[],
    repetitionsOf: (trial: Trial) => number,
  ): Promise<void> => {
    proceed();
    const runs = trials.map((trial) => ({
      dispatches: trial.dispatches,
      repetitions: repetitionsOf(trial),
    }));
    const [, ...times] = await timeRuns(runtime, caller, [warmUp, ...runs]);
    trials.forEach(({ samples }, i) => samples.push(times[i]! / runs[i]!.repetitions));
  };
  // Single runs tell how often to repeat each trial, and which need not be repeated: those keep what they have.
  const looks = Array.from({ length: FIRST_LOOKS }, () => all);
  await takeRound(looks.flat(), () => 1);
  const leastOf = new Map(all.map((trial) => [trial, Math.min(...trial.samples)]));
  const repetitions = new Map(
    Array.from(leastOf, ([trial, ms]) => [trial, repetitionsFor(effort.sampleMs, ms)]),
  );
  const hopeful = groups.flatMap((group) => {
    const fastest = Math.min(...group.map((trial) => leastOf.get(trial)!));
    return group.filter((trial, i) => i === 0 || leastOf.get(trial)! <= effort.hopeless * fastest);
  });
  for (const trial of hopeful) {
    trial.samples.length = 0;
    trial.isMeasured = true;
  }
  for (let round = 0; round < effort.maxRounds; round++) {
    if (round >= effort.minRounds && performance.now() - start > effort.budgetMs) break;
    const at = round % hopeful.length;
    await takeRound([...hopeful.slice(at), ...hopeful.slice(0, at)], (trial) => repetitions.get(trial)!);
  }
}

function repetitionsFor(wantedMs: number, ms: number): number {
  return Math.min(MAX_REPETITIONS, Math.max(1, Math.ceil(wantedMs / Math.max(ms, 0.001))));
}

/** Milliseconds, the most that a timer can wait for: it would not wait for more at all. */
const LONGEST_WAIT = 2 ** 31 - 1;

export interface CompileOptions {
  readonly signal: AbortSignal | undefined;
  /** When to give up, by `performance.now()`. */
  readonly deadline: number;
  /** Called with the share of the plans that is ready. */
  readonly onReady: (share: number) => void;
}

/**
 * Compiles what several plans need, side by side. Returns which of them can run: not those with a kernel that the compiler
 * refuses, nor those that were not ready in time.
 *
 * @throws what `runtime.prepare` throws, if it is not about a kernel
 */
export async function compilePlans(
  runtime: Runtime,
  caller: string,
  plans: readonly { readonly dispatches: readonly Dispatch[] }[],
  { signal, deadline, onReady }: CompileOptions,
): Promise<boolean[]> {
  // One for each, since many listeners of one signal look like a leak.
  const stops = plans.map(() => new AbortController());
  const abort = (): void => {
    for (const stop of stops) stop.abort(signal?.reason);
  };
  signal?.addEventListener('abort', abort);
  const areReady = plans.map(() => false);
  let nReady = 0;
  const compiled = plans.map(async ({ dispatches }, i) => {
    try {
      await runtime.compile(caller, dispatches, { signal: stops[i]!.signal });
      areReady[i] = true;
    } catch (error) {
      if (!(error instanceof PageflashError && error.code === 'compile')) throw error;
    }
    onReady(++nReady / plans.length);
  });
  let timer: ReturnType<typeof setTimeout> | undefined;
  const late = new Promise<void>((resolve) => {
    timer = setTimeout(resolve, Math.min(LONGEST_WAIT, Math.max(0, deadline - performance.now())));
  });
  try {
    await Promise.race([Promise.all(compiled), late]);
    return [...areReady];
  } finally {
    clearTimeout(timer);
    signal?.removeEventListener('abort', abort);
    // Those that were late stop before their next kernel, which is no news.
    for (const each of compiled) each.catch(() => {});
    abort();
  }
}
