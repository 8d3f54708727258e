import { formatPercent } from '../../tools/format.js';
import type { KernelTimes } from '../engine/gpu/kernelTimes.js';
import type { Engine } from '../engine/serving/engine.js';
import type { EngineStats } from '../engine/serving/scheduler.js';

/** Notes when an engine had done what. */
export class Speed {
  readonly #start = performance.now();
  readonly #before: EngineStats;

  constructor({ stats }: Engine) {
    this.#before = { ...stats };
  }

  get seconds(): number {
    return (performance.now() - this.#start) / 1000;
  }

  /** How much a count of the engine has grown. */
  grown(stats: EngineStats, name: keyof EngineStats): number {
    return stats[name] - this.#before[name];
  }
}

/** Prints speed, the GPU time of each kernel, and how pages are used. */
export async function printStats(
  engine: Engine,
  speed: Speed,
  times: KernelTimes | undefined,
): Promise<void> {
  const { seconds } = speed;
  const count = (name: keyof EngineStats): number => speed.grown(engine.stats, name);
  const rate = (n: number): string => `${n} tokens, ${(n / seconds).toFixed(1)} a second`;
  console.log(`\nprompt   ${rate(count('nPrefill'))}`);
  console.log(`answers  ${rate(count('nSampled'))} in ${count('nSteps')} steps`);
  if (count('nDrafted') > 0) console.log(`drafts   ${count('nAccepted')} of ${count('nDrafted')} were right`);
  const { nPages, nCached, hitPercent } = engine.usage();
  console.log(
    `pages    ${nPages}, of which ${nCached} keep what was computed; ${Math.round(hitPercent)} % of the prompts were found in them`,
  );
  const sums = (await times?.take()) ?? [];
  const total = sums.reduce((sum, { ms }) => sum + ms, 0);
  for (const { name, nDispatches, ms } of sums)
    console.log(
      `${name.padEnd(16)} ${ms.toFixed(2).padStart(10)} ms ${formatPercent(ms / total).padStart(5)}  ${nDispatches} dispatches`,
    );
}
