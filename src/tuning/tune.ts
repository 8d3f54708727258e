import { Call } from '../check/call.js';
import type { DeviceTraits } from '../core/deviceTraits.js';
import { bytesPerElement } from '../core/dtype.js';
import type { Tuning } from '../core/tuning.js';
import { deviceDefaults } from '../plan/deviceDefaults.js';
import { matrixTest } from '../plan/knownAttention.js';
import type { Runtime } from '../runtime/runtime.js';
import { Contest, fastest, type Contestant } from './contest.js';
import { type Effort } from './trials.js';
import { checkTuneOptions, type CheckedTuneOptions, type TuneOptions } from './tuneOptions.js';
import {
  chunkVariations,
  decodeVariations,
  defaultTuning,
  descriptionOf,
  mergeVariations,
  prefillVariations,
  withMatrices,
  type Variation,
} from './variations.js';
import type { Room, TunedModel } from './benchTensors.js';
import { Workbench, type Exercise } from './workbench.js';

/**
 * Measures on the user's device which tiles and chunks of keys are fastest for a model's attention, and how fast the device
 * is. Returns plain data, to be stored and given to `createRuntime`; a runtime uses it from its creation on. What the
 * runtime's own tuning has for other sizes and types is kept in it, so that several models can be tuned one after another.
 * Subgroup matrices are tested first, where the device has any, and the tuning says whether they have passed.
 *
 * The candidates' results are compared with those of the defaults, and only what agrees can win. Compiling takes longest;
 * measuring keeps the GPU busy for up to two seconds, in pieces of some milliseconds.
 *
 * @throws PageflashError `argument` or `shape` for a wrong option; `limit` without memory for some hundred MiB of tensors
 * (less on phones and software adapters); `device` if the device is lost
 * @throws the reason of `signal`, once it is aborted
 * @example
 * const key = 'pageflash tuning';
 * const stored = localStorage.getItem(key);
 * const tuning = stored ? JSON.parse(stored) : await tune(createRuntime(device), { ...model, dtype: 'f16' });
 * localStorage.setItem(key, JSON.stringify(tuning));
 * const runtime = createRuntime(device, { tuning });
 */
export async function tune(runtime: Runtime, options: TuneOptions): Promise<Tuning> {
  const call: Call = Call.on(runtime, 'tune');
  const checked = checkTuneOptions(call.name, options);
  checked.signal?.throwIfAborted();
  return new Tuner(runtime, call.name, checked).run(call.name);
}

/** A candidate wins if it takes at most this share of the default's time: measurements differ by some per cent. */
const WORTH_IT = 0.97;

const GPU_EFFORT: Effort = { minRounds: 3, maxRounds: 4, budgetMs: 400, sampleMs: 2, hopeless: 1.3 };
const SOFTWARE_EFFORT: Effort = { ...GPU_EFFORT, maxRounds: 3, sampleMs: 1 };

/** How long a prompt may take, once. */
const PROMPT_MS = 4;

/** One call of `tune`, with what was decided so far. */
class Tuner {
  readonly #runtime: Runtime;
  readonly #options: CheckedTuneOptions;
  readonly #contest: Contest;
  readonly #deadline: number;
  #tuning: Tuning;
  #done = 0;

  constructor(runtime: Runtime, caller: string, options: CheckedTuneOptions) {
    const { traits, device } = runtime;
    this.#runtime = runtime;
    this.#options = options;
    this.#deadline = performance.now() + options.budgetMs;
    this.#tuning = traits.tuning ?? defaultTuning(traits, device.adapterInfo);
    this.#contest = new Contest(runtime, caller, {
      signal: options.signal,
      deadline: this.#deadline,
      effort: traits.deviceClass === 'gpu' ? GPU_EFFORT : SOFTWARE_EFFORT,
    });
  }

  async run(caller: string): Promise<Tuning> {
    this.#report(0, 'making tensors');
    if (this.#isLate) return this.#tuning;
    await this.#testMatrices(caller);
    const { model } = this.#options;
    const room = roomFor(model, this.#runtime.traits);
    const bench = new Workbench(this.#runtime, caller, model, room);
    try {
      await this.#tunePrefill(bench);
      const steps = stepsOn(bench);
      await this.#tuneDecode(bench, steps);
      await this.#tuneMerging(bench, steps);
      await this.#tuneChunks(bench, steps);
    } finally {
      bench.destroy();
    }
    this.#report(1, 'done');
    return this.#tuning;
  }

  async #tunePrefill(bench: Workbench): Promise<void> {
    const prompt = await this.#contest.promptTaking(PROMPT_MS, bench, this.#tuning);
    if (!prompt) return;
    const best = await this.#decide('attn_prefill', 0.4, {
      bench,
      exercises: [prompt],
      variations: prefillVariations(this.#tuning, bench.model, this.#runtime.traits),
    });
    const [trial] = best?.trials ?? [];
    if (trial) this.#noteRates({ macsPerSecond: trial.load.macs / (trial.ms / 1000) });
  }

  async #tuneDecode(bench: Workbench, { batch, short }: Steps): Promise<void> {
    const best = await this.#decide('attn_decode', 0.8, {
      bench,
      exercises: [batch, short],
      variations: decodeVariations(this.#tuning, bench.model, this.#runtime.traits),
    });
    const [trial] = best?.trials ?? [];
    if (trial) this.#noteRates({ bytesPerSecond: trial.load.bytes / (trial.ms / 1000) });
  }

  async #tuneMerging(bench: Workbench, { short, long }: Steps): Promise<void> {
    await this.#decide('merge_states', 0.9, {
      bench,
      exercises: [long, short],
      variations: mergeVariations(this.#tuning),
    });
  }

  async #tuneChunks(bench: Workbench, { batch, short, long }: Steps): Promise<void> {
    await this.#decide('chunks', 1, {
      bench,
      exercises: [short, long, batch],
      variations: chunkVariations(this.#tuning),
    });
  }

  /** Lets variations compete, the first being what there is, and keeps the best. */
  async #decide(
    what: string,
    until: number,
    args: { bench: Workbench; exercises: readonly Exercise[]; variations: readonly Variation[] },
  ): Promise<Contestant | undefined> {
    if (this.#isLate) return undefined;
    const from = this.#done;
    const { contestants } = await this.#contest.run({
      ...args,
      onReady: (share) => this.#report(from + 0.75 * share * (until - from), `compiling ${what}`),
      onMeasure: () => this.#report(from + 0.75 * (until - from), `measuring ${what}`),
    });
    this.#report(until, `measured ${what}`);
    const best = fastest(contestants);
    if (!best) return undefined;
    const winner = best.score <= WORTH_IT ? best : contestants[0]!;
    this.#tuning = { ...winner.variation.tuning, rates: this.#tuning.rates };
    return winner;
  }

  /** Notes which matrices have passed their test, and on which driver. The test is not cut short when time is up. */
  async #testMatrices(caller: string): Promise<void> {
    await this.#runtime.testMatrices(caller, matrixTest, this.#options.signal);
    const { traits, device } = this.#runtime;
    const description = descriptionOf(device.adapterInfo);
    this.#tuning = {
      ...withMatrices(this.#tuning, traits.matrices),
      device: { ...this.#tuning.device, description },
    };
  }

  #noteRates(rates: Partial<Tuning['rates']>): void {
    this.#tuning = { ...this.#tuning, rates: { ...this.#tuning.rates, ...rates } };
  }

  get #isLate(): boolean {
    return performance.now() >= this.#deadline;
  }

  #report(done: number, step: string): void {
    this.#done = done;
    this.#options.signal?.throwIfAborted();
    this.#options.onProgress?.({ done, step });
  }
}

/** Bytes of keys, and as many of values: more than the caches of large GPUs hold, and of small ones. */
const KEY_BYTES = { large: 2 ** 26, small: 2 ** 24, software: 2 ** 20 } as const;

/** Keys of a short step. */
const SHORT = 2048;
const MOST_KEYS = 2 ** 15;

/** How many tokens to tune with. */
function roomFor(
  { nHeads, nKvHeads, headDim, headDimV, dtype, kvDType }: TunedModel,
  traits: DeviceTraits,
): Room {
  const isSoftware = traits.deviceClass === 'software';
  const isSmall = deviceDefaults(traits).workgroups < 128;
  const wanted = isSoftware ? KEY_BYTES.software : isSmall ? KEY_BYTES.small : KEY_BYTES.large;
  const widest = Math.max(headDim, headDimV);
  const bytesPerKey = nKvHeads * widest * bytesPerElement(kvDType);
  const bytesPerQuery = nHeads * widest * bytesPerElement(dtype);
  const most = (bytes: number): number => Math.floor(traits.maxBindingBytes / bytes / 16) * 16;
  const keys = Math.min(MOST_KEYS, Math.max(SHORT, Math.floor(wanted / bytesPerKey)));
  return {
    keys: Math.max(16, Math.min(keys, most(bytesPerKey))),
    queries: Math.max(16, Math.min(isSoftware ? 128 : SHORT, most(bytesPerQuery))),
  };
}

/** Steps of decoding: many keys of many sequences, few of one, and many of one. */
interface Steps {
  readonly batch: Exercise;
  readonly short: Exercise;
  readonly long: Exercise;
}

function stepsOn(bench: Workbench): Steps {
  const { keys, queries } = bench.room;
  const each = Math.min(keys, SHORT);
  return {
    batch: bench.step(Math.min(queries, Math.floor(keys / each)), each),
    short: bench.step(1, each),
    long: bench.step(1, keys),
  };
}
