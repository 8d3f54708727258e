import { checkAgainstNaive, checkAgainstReference } from './check.js';
import type { ContenderName } from './calls.js';
import { Contender } from './contender.js';
import { bytesOf, flopsOf, naiveBytesOf, naiveScoresBytes } from './counts.js';
import type { Effort } from './effort.js';
import { formatBytes } from './format.js';
import { createInputs, destroyInputs, type Inputs } from './inputs.js';
import type { Check, MeasuredRow, Skipped } from './results.js';
import type { BenchCase } from './shapes.js';
import { ratios, summarize } from './statistics.js';

// Runs in Node and in a page alike: nothing here may need either of them.

/** Hears how much of the row is done, from 0 to 1, and what comes next. */
export type Tell = (share: number, step: string) => void;

export interface MeasureArgs {
  readonly device: GPUDevice;
  readonly benchCase: BenchCase;
  readonly effort: Effort;
  readonly tell: Tell;
}

/**
 * Check the outputs, then time both contenders in turns.
 *
 * @throws Error where an output is wrong or the device refuses something
 */
export async function measureCase(args: MeasureArgs): Promise<MeasuredRow> {
  const inputs = createInputs(args.device, args.benchCase);
  const contenders = {
    pageflash: new Contender('pageflash', { ...args, inputs }),
    naive: new Contender('naive', { ...args, inputs }),
  };
  try {
    return await measureContenders(args, inputs, contenders);
  } finally {
    for (const contender of Object.values(contenders)) contender.destroy();
    destroyInputs(inputs);
  }
}

async function measureContenders(
  args: MeasureArgs,
  inputs: Inputs,
  { pageflash, naive }: Readonly<Record<ContenderName, Contender>>,
): Promise<MeasuredRow> {
  const { device, benchCase, tell } = args;
  tell(0, 'compiling pageflash');
  const out = await pageflash.firstRun();
  tell(0.1, 'compiling naive');
  const noNaive = whyNoNaive(device, benchCase);
  const naiveOut = noNaive ? new Error(noNaive) : await naive.firstRun();
  if (out instanceof Error) throw out;

  tell(0.2, 'checking');
  const checks: Check[] = [checkAgainstReference(out, inputs, benchCase)];
  if (!(naiveOut instanceof Error)) checks.push(checkAgainstNaive(out, naiveOut, benchCase));

  tell(0.25, 'warming up');
  const running = naiveOut instanceof Error ? [pageflash] : [pageflash, naive];
  for (const contender of running) await contender.warmUp();
  await takeTurns(running, args);
  for (const contender of running) await contender.timeOnGpu();

  const flops = flopsOf(benchCase);
  const row = { case: benchCase, status: 'measured', flops, checks } as const;
  const measured = pageflash.result(flops, bytesOf(benchCase));
  if (naiveOut instanceof Error) {
    return { ...row, pageflash: measured, naive: { skipped: naiveOut.message } satisfies Skipped };
  }
  return {
    ...row,
    pageflash: measured,
    naive: naive.result(flops, naiveBytesOf(benchCase)),
    speedup: summarize(ratios(naive.samples, pageflash.samples)),
  };
}

/** Rounds in which each contender is timed once, starting with another one each time, as a rest is an advantage. */
async function takeTurns(contenders: readonly Contender[], { effort, tell }: MeasureArgs): Promise<void> {
  const start = performance.now();
  for (let round = 0; round < effort.maxRounds; round++) {
    const spent = (performance.now() - start) / effort.budgetMs;
    if (round >= effort.minRounds && spent >= 1) break;
    tell(0.3 + 0.65 * Math.max(round / effort.maxRounds, Math.min(spent, 1)), `round ${round + 1}`);
    const order = round % 2 === 0 ? contenders : contenders.toReversed();
    for (const contender of order) await contender.takeSample();
  }
}

/** What forbids to run naive attention; undefined if nothing does. */
function whyNoNaive({ limits }: GPUDevice, benchCase: BenchCase): string | undefined {
  const bytes = naiveScoresBytes(benchCase);
  const allowed = Math.min(limits.maxStorageBufferBindingSize, limits.maxBufferSize);
  if (bytes <= allowed) return undefined;
  return `its scores take ${formatBytes(bytes)}; this device allows ${formatBytes(allowed)} in a binding`;
}
