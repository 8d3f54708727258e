import type { Dispatch } from '../core/dispatch.js';
import type { FloatDType } from '../core/dtype.js';
import type { Load } from '../core/pace.js';
import type { Tuning } from '../core/tuning.js';
import type { Runtime } from '../runtime/runtime.js';
import { timeRuns } from '../runtime/stopwatch.js';
import { compilePlans, measureTrials, Trial, type Effort } from './trials.js';
import type { Variation } from './variations.js';
import { planOf, type Exercise, type Workbench } from './workbench.js';

/** A variation that was measured. */
export interface Contestant {
  readonly variation: Variation;
  /** Of each exercise. Variations that plan an exercise alike share a trial. */
  readonly trials: readonly Trial[];
  /** Its time over that of the first variation, the geometric mean over the exercises. */
  readonly score: number;
  /** Whether it was far off in an exercise, and therefore measured there no more than twice. */
  readonly isFarOff: boolean;
}

/** The contestant that took the least time. */
export function fastest(contestants: readonly Contestant[]): Contestant | undefined {
  return contestants
    .filter(({ isFarOff }) => !isFarOff)
    .reduce<Contestant | undefined>(
      (best, each) => (best && best.score <= each.score ? best : each),
      undefined,
    );
}

export interface ContestResult {
  readonly contestants: readonly Contestant[];
  /** Names of variations whose results are not those of the first. */
  readonly wrong: readonly string[];
  /** Variations that were not compiled, or not compared, in time. */
  readonly nLate: number;
}

export interface ContestRules {
  readonly signal: AbortSignal | undefined;
  /** After this, by `performance.now()`, nothing is compiled or begun any more. */
  readonly deadline: number;
  readonly effort: Effort;
}

export interface ContestArgs {
  readonly bench: Workbench;
  readonly exercises: readonly Exercise[];
  /** What is in use first. */
  readonly variations: readonly Variation[];
  /** Called with the share of kernels that is compiled. */
  readonly onReady?: (share: number) => void;
  readonly onMeasure?: () => void;
}

interface Plan {
  readonly name: string;
  readonly dispatches: readonly Dispatch[];
  readonly load: Load;
}

/** As much as a dispatch takes, so that none is cut. */
const UNCUT: Tuning['rates'] = { macsPerSecond: 1e30, bytesPerSecond: 1e30 };

/** How much results may differ, relative to the largest: kernels add in different orders, and may keep tiles as f16. */
const TOLERANCE: Readonly<Record<FloatDType, number>> = { f32: 1e-4, f16: 8e-3, bf16: 3e-2 };

/** Lets variations of a tuning compete on a device. */
export class Contest {
  readonly #runtime: Runtime;
  readonly #caller: string;
  readonly #rules: ContestRules;

  constructor(runtime: Runtime, caller: string, rules: ContestRules) {
    this.#runtime = runtime;
    this.#caller = caller;
    this.#rules = rules;
  }

  /**
   * Measures variations on exercises. Those are dropped whose kernels could not be compiled in time, or whose results are
   * not those of the first; all are if the first could not be compiled. Of variations that plan alike, the first is kept.
   */
  async run({
    bench,
    exercises,
    variations,
    onReady = () => {},
    onMeasure = () => {},
  }: ContestArgs): Promise<ContestResult> {
    const heats = exercises.map((exercise) => new Heat(exercise));
    const entriesOf = variations.map(({ name, tuning }) =>
      heats.map((heat) => heat.enter(this.#plan(name, heat.exercise, tuning))),
    );
    const entries = heats.flatMap((heat) => heat.entries);
    const areReady = await this.#compile(entries, onReady);
    try {
      entries.forEach((entry, i) => {
        if (areReady[i]) entry.trial = new Trial(this.#runtime, this.#caller, entry.plan, entry.plan.name);
      });
      onMeasure();
      for (const entriesOfOne of entriesOf)
        for (const [i, heat] of heats.entries()) await this.#check(bench, heat, entriesOfOne[i]!);
      // Without what there is, nothing can be compared.
      if (entriesOf[0]!.some(({ trial }) => !trial))
        return { contestants: [], wrong: [], nLate: variations.length };
      await this.#measure(heats.map((heat) => heat.trials));
      return resultOf(variations, entriesOf);
    } finally {
      for (const { trial } of entries) trial?.destroy();
    }
  }

  /** A causal prompt that takes about so long, as far as there is room; undefined if it could not be compiled in time. */
  async promptTaking(ms: number, bench: Workbench, tuning: Tuning): Promise<Exercise | undefined> {
    const most = Math.min(bench.room.queries, bench.room.keys);
    const nTokens = Math.min(most, 256);
    const exercise = bench.prompt(nTokens);
    const plan = this.#plan('a prompt', exercise, tuning);
    const [isReady] = await this.#compile([{ plan }], () => {});
    if (!isReady) return undefined;
    const trial = new Trial(this.#runtime, this.#caller, plan, plan.name);
    try {
      // Some drivers compile at the first run.
      await this.#runOnce(trial);
      await this.#measure([[trial]], { ...this.#rules.effort, minRounds: 1, maxRounds: 1 });
      // The work grows with the square of the length.
      const wanted = 2 ** Math.floor(Math.log2(nTokens * Math.sqrt(ms / Math.max(trial.ms, 0.001))));
      return bench.prompt(Math.max(Math.min(16, most), Math.min(wanted, most)));
    } finally {
      trial.destroy();
    }
  }

  #plan(name: string, exercise: Exercise, tuning: Tuning): Plan {
    const traits = { ...this.#runtime.traits, tuning: { ...tuning, rates: UNCUT } };
    return { name, ...planOf(exercise, traits) };
  }

  #compile(entries: readonly Pick<Entry, 'plan'>[], onReady: (share: number) => void): Promise<boolean[]> {
    const { signal, deadline } = this.#rules;
    const plans = entries.map(({ plan }) => plan);
    return compilePlans(this.#runtime, this.#caller, plans, { signal, deadline, onReady });
  }

  async #measure(groups: readonly (readonly Trial[])[], effort = this.#rules.effort): Promise<void> {
    const { signal } = this.#rules;
    await measureTrials(this.#runtime, this.#caller, groups, effort, () => signal?.throwIfAborted());
  }

  async #runOnce({ dispatches }: Trial): Promise<void> {
    await timeRuns(this.#runtime, this.#caller, [{ dispatches, repetitions: 1 }]);
  }

  /** Drops a trial whose output is not that of the first, or could not be compared with it in time. */
  async #check(bench: Workbench, heat: Heat, entry: Entry): Promise<void> {
    if (!entry.trial || entry.isChecked) return;
    const { signal, deadline } = this.#rules;
    const { dtype } = bench.model;
    signal?.throwIfAborted();
    if (performance.now() < deadline) {
      bench.spoilOutput();
      await this.#runOnce(entry.trial);
      const out = await bench.readOutput(heat.exercise);
      heat.expected ??= out;
      entry.isChecked = agree(out, heat.expected, TOLERANCE[dtype]);
      entry.isWrong = !entry.isChecked;
    }
    if (entry.isChecked) return;
    entry.trial.destroy();
    entry.trial = undefined;
  }
}

/** A plan that competes, and its trial while there is one. */
interface Entry {
  readonly plan: Plan;
  trial: Trial | undefined;
  /** Whether its output was compared, and is right or wrong. */
  isChecked: boolean;
  isWrong: boolean;
}

/** An exercise, and the different ways in which it is planned. */
class Heat {
  readonly exercise: Exercise;
  /** The output of the first entry. */
  expected: Float32Array | undefined;
  readonly #entries = new Map<string, Entry>();

  constructor(exercise: Exercise) {
    this.exercise = exercise;
  }

  /** Returns the entry of a plan, the same one for plans that run the same kernels on as many workgroups. */
  enter(plan: Plan): Entry {
    const key = JSON.stringify(plan.dispatches.map(({ kernel, spec, grid }) => [kernel.name, spec, grid]));
    let entry = this.#entries.get(key);
    if (!entry)
      this.#entries.set(key, (entry = { plan, trial: undefined, isChecked: false, isWrong: false }));
    return entry;
  }

  /** In the order of the variations. */
  get entries(): Entry[] {
    return [...this.#entries.values()];
  }

  get trials(): Trial[] {
    return this.entries.flatMap(({ trial }) => trial ?? []);
  }
}

function resultOf(variations: readonly Variation[], entriesOf: readonly (readonly Entry[])[]): ContestResult {
  const first = entriesOf[0]!.map(({ trial }) => trial!);
  const contestants: Contestant[] = [];
  const wrong: string[] = [];
  let nLate = 0;
  variations.forEach((variation, i) => {
    const entries = entriesOf[i]!;
    const isSame = (others: readonly Entry[]): boolean => others.every((entry, j) => entry === entries[j]);
    if (entriesOf.findIndex(isSame) < i) return;
    const trials = entries.flatMap(({ trial }) => trial ?? []);
    if (entries.some(({ isWrong }) => isWrong)) {
      wrong.push(variation.name);
      return;
    }
    if (trials.length < entries.length) {
      nLate++;
      return;
    }
    const logs = trials.reduce((sum, { ms }, j) => sum + Math.log(ms / first[j]!.ms), 0);
    const isFarOff = trials.some(({ isMeasured }) => !isMeasured);
    contestants.push({ variation, trials, score: Math.exp(logs / trials.length), isFarOff });
  });
  return { contestants, wrong, nLate };
}

/** Whether numbers are there, and differ by no more than a share of the largest. */
function agree(out: Float32Array, expected: Float32Array, tolerance: number): boolean {
  const largest = expected.reduce((most, x) => Math.max(most, Math.abs(x)), 0);
  // This way round, a NaN does not agree.
  return out.every((x, i) => Math.abs(x - expected[i]!) <= tolerance * largest);
}
