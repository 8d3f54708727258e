import type { Tuning } from '../../src/core/tuning.js';
import { bytesPerElement } from '../../src/core/dtype.js';
import { createRuntime, type Runtime } from '../../src/index.js';
import { deviceDefaults } from '../../src/plan/deviceDefaults.js';
import { Contest, fastest, type Contestant } from '../../src/tuning/contest.js';
import type { Effort, Trial } from '../../src/tuning/trials.js';
import {
  chunkVariations,
  decodeVariations,
  defaultTuning,
  mergeVariations,
  prefillVariations,
  type Variation,
} from '../../src/tuning/variations.js';
import { Workbench, type Exercise } from '../../src/tuning/workbench.js';
import type { OnProgress } from '../device/measureCase.js';
import { useMatrices } from '../device/useMatrices.js';
import type { SweepCell } from './sweepCells.js';
import { type MeasuredSweep, type SweepExercise, type SweepOutcome } from './sweepResults.js';

// Runs in Node and in a browser, so it may use the modules of neither.

const CALLER = 'sweep';

/** How long a prompt takes, about. */
const PROMPT_MS = 8;

/** Parts that are merged, from a short step to the longest. */
const PARTS = [2, 8, 16, 32, 64, 128];

export interface SweepArgs {
  readonly cell: SweepCell;
  /** What the cells before have found. */
  readonly tuning: Tuning | null;
  /** For compiling, checking and measuring; it may take a little longer. */
  readonly budgetMs: number;
}

/** Measures every candidate of a cell. If anything goes wrong, the row says what. */
export async function measureSweep(
  device: GPUDevice,
  { cell, tuning, budgetMs }: SweepArgs,
  onProgress: OnProgress,
): Promise<SweepOutcome> {
  const runtime = createRuntime(device, tuning ? { tuning } : {});
  const { headDim, dtype, group, nKvHeads, room } = cell;
  const model = {
    nHeads: group * nKvHeads,
    nKvHeads,
    headDim,
    headDimV: headDim,
    dtype,
    kvDType: dtype,
    paged: true,
  };
  let bench: Workbench | undefined;
  try {
    onProgress(0, 'testing matrices');
    await useMatrices(runtime);
    onProgress(0, 'making tensors');
    const bytesPerKey = nKvHeads * headDim * bytesPerElement(dtype);
    const keys = Math.min(room.keys, Math.floor(runtime.traits.maxBindingBytes / bytesPerKey));
    bench = new Workbench(runtime, CALLER, model, { ...room, keys });
    return await new Sweeper(runtime, bench, { cell, tuning, budgetMs }, onProgress).run();
  } catch (error) {
    return { row: { status: 'failed', cell, message: (error as Error).message }, tuning };
  } finally {
    bench?.destroy();
    runtime.destroy();
  }
}

class Sweeper {
  readonly #runtime: Runtime;
  readonly #bench: Workbench;
  readonly #cell: SweepCell;
  readonly #tuning: Tuning;
  readonly #contest: Contest;
  readonly #onProgress: OnProgress;

  constructor(
    runtime: Runtime,
    bench: Workbench,
    { cell, tuning, budgetMs }: SweepArgs,
    onProgress: OnProgress,
  ) {
    const isSoftware = runtime.traits.deviceClass === 'software';
    this.#runtime = runtime;
    this.#bench = bench;
    this.#cell = cell;
    this.#tuning = tuning ?? defaultTuning(runtime.traits, runtime.device.adapterInfo);
    const effort: Effort = isSoftware
      ? { minRounds: 3, maxRounds: 3, budgetMs: 0.3 * budgetMs, sampleMs: 1, hopeless: 1.5 }
      : { minRounds: 5, maxRounds: 9, budgetMs: 0.3 * budgetMs, sampleMs: 5, hopeless: 1.5 };
    this.#contest = new Contest(runtime, CALLER, {
      signal: undefined,
      deadline: performance.now() + 0.7 * budgetMs,
      effort,
    });
    this.#onProgress = onProgress;
  }

  async run(): Promise<SweepOutcome> {
    const { model } = this.#bench;
    const { traits } = this.#runtime;
    const tuning = this.#tuning;
    switch (this.#cell.kind) {
      case 'prefill': {
        const prompt = await this.#contest.promptTaking(PROMPT_MS, this.#bench, tuning);
        if (!prompt) return { row: null, tuning };
        return this.#compare([prompt], prefillVariations(tuning, model, traits));
      }
      case 'decode':
        return this.#compare(this.#steps([2048], 4096), decodeVariations(tuning, model, traits));
      case 'chunks': {
        const exercises = this.#steps([512, 2048, 8192, 32_768, 131_072], 4096);
        const factors = [1, 0.5, 2, 0.25, 4];
        return this.#compare(exercises, chunkVariations(tuning, factors));
      }
      case 'merge':
        return this.#compare(this.#merges(), mergeVariations(tuning));
    }
  }

  /** A batch with so many keys of each sequence, as many as there is room for, and single sequences. */
  #steps(singles: readonly number[], keysOfEach: number): Exercise[] {
    const { keys, queries } = this.#bench.room;
    const each = Math.min(keysOfEach, keys);
    return [
      this.#bench.step(Math.min(queries, Math.floor(keys / each)), each),
      ...singles.filter((nKeys) => nKeys <= keys).map((nKeys) => this.#bench.step(1, nKeys)),
    ];
  }

  async #compare(exercises: readonly Exercise[], variations: readonly Variation[]): Promise<SweepOutcome> {
    const { contestants, wrong, nLate } = await this.#contest.run({
      bench: this.#bench,
      exercises,
      variations,
      onReady: (share) => this.#onProgress(0.7 * share, 'compiling'),
      onMeasure: () => this.#onProgress(0.7, `measuring ${variations.length} candidates`),
    });
    const best = fastest(contestants);
    if (!best) return { row: null, tuning: this.#tuning };
    const row: MeasuredSweep = {
      status: 'measured',
      cell: this.#cell,
      exercises: exercises.map((exercise) => this.#facts(exercise)),
      candidates: contestants.map(({ variation, trials, score, isFarOff }) => ({
        name: variation.name,
        ms: trials.map(({ ms }) => ms),
        spread: Math.max(...trials.map(({ spread }) => spread)),
        score,
        isFarOff,
      })),
      wrong,
      nLate,
    };
    return { row, tuning: this.#withRates(best) };
  }

  /** The tuning of the best. The first cell of a kernel gives its rate. */
  #withRates({ variation, trials }: Contestant): Tuning {
    const [{ load, ms }] = trials as [Trial];
    const { rates } = this.#tuning;
    const { macsPerSecond, bytesPerSecond } = deviceDefaults(this.#runtime.traits);
    const isFirst = {
      prefill: rates.macsPerSecond === macsPerSecond,
      decode: rates.bytesPerSecond === bytesPerSecond,
      chunks: false,
      merge: false,
    }[this.#cell.kind];
    if (!isFirst) return variation.tuning;
    const isPrefill = this.#cell.kind === 'prefill';
    const measured = isPrefill
      ? { macsPerSecond: (load.macs / ms) * 1000 }
      : { bytesPerSecond: (load.bytes / ms) * 1000 };
    return { ...variation.tuning, rates: { ...rates, ...measured } };
  }

  /** Steps of one sequence in so many chunks, of which only merge_states is run. */
  #merges(): Exercise[] {
    const most = this.#bench.room.keys;
    return PARTS.map((numSplits) => {
      const step = this.#bench.step(1, Math.min(most, 256 * numSplits));
      const problem = { ...step.problem, numSplits };
      return { ...step, problem, name: `${numSplits} parts`, only: 'merge_states' };
    });
  }

  #facts({ name, lengths: { qLen, kLen }, only }: Exercise): SweepExercise {
    if (only) return { name, flops: 0, bytes: 0 };
    const { nHeads, nKvHeads, headDim, kvDType } = this.#bench.model;
    // Causal: the last query sees all keys, each one before it one fewer.
    const pairs = qLen.reduce((sum, n, b) => sum + n * (kLen[b]! - (n - 1) / 2), 0);
    const keys = kLen.reduce((sum, n) => sum + n, 0);
    return {
      name,
      flops: 2 * 2 * headDim * nHeads * pairs,
      bytes: 2 * keys * nKvHeads * headDim * bytesPerElement(kvDType),
    };
  }
}
