import type { BenchCase } from './cases.js';
import { checkAgainstRival } from './check.js';
import { Contender } from './contender.js';
import type { Effort } from './effort.js';
import type { Check, MeasuredRow, Rival } from './results.js';
import { ratios, summarize } from './statistics.js';
import { createWorkload, type Workload } from './workload.js';

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
 * Check the outputs, then time all contenders in turns.
 *
 * @throws Error where an output is wrong or the device refuses something
 */
export async function measureCase(args: MeasureArgs): Promise<MeasuredRow> {
  const workload = createWorkload(args.device, args.benchCase);
  const contenderArgs = { ...args, workload, dtype: args.benchCase.dtype };
  const pageflash = new Contender(workload.pageflash, contenderArgs);
  const rivals = workload.rivals.map((rival) => new Contender(rival, contenderArgs));
  try {
    return await measureContenders(args, workload, pageflash, rivals);
  } finally {
    for (const contender of [pageflash, ...rivals]) contender.destroy();
    workload.destroy();
  }
}

type RivalContender = Contender<Workload['rivals'][number]>;

async function measureContenders(
  args: MeasureArgs,
  workload: Workload,
  pageflash: Contender,
  rivals: readonly RivalContender[],
): Promise<MeasuredRow> {
  const { benchCase, tell } = args;
  tell(0, 'compiling pageflash');
  const out = await pageflash.firstRun();
  if (out instanceof Error) throw out;
  tell(0.1, 'checking');
  const checks: Check[] = [workload.check(out)];

  const running: RivalContender[] = [];
  const skipped = new Map<RivalContender, string>();
  for (const rival of rivals) {
    const { name } = rival.approach;
    tell(0.15, `compiling ${name}`);
    const rivalOut = await rival.firstRun();
    if (rivalOut instanceof Error) {
      skipped.set(rival, rivalOut.message);
    } else {
      checks.push(checkAgainstRival(name, out, rivalOut, benchCase.dtype));
      running.push(rival);
    }
  }

  tell(0.25, 'warming up');
  const all = [pageflash, ...running];
  for (const contender of all) await contender.warmUp();
  await takeTurns(all, args);
  for (const contender of all) await contender.timeOnGpu();

  const traffic = workload.traffic?.(pageflash.runtime);
  return {
    case: benchCase,
    status: 'measured',
    flops: workload.flops,
    checks,
    pageflash: pageflash.result(),
    rivals: rivals.map((rival): Rival => {
      const { name } = rival.approach;
      const reason = skipped.get(rival);
      if (reason !== undefined) return { name, skipped: reason };
      const speedup = summarize(ratios(rival.samples, pageflash.samples));
      return { name, ...rival.result(), speedup };
    }),
    ...(traffic && { traffic }),
  };
}

/** Rounds in which each contender is timed once, starting with another one each time, as a rest is an advantage. */
async function takeTurns(contenders: readonly Contender[], { effort, tell }: MeasureArgs): Promise<void> {
  const start = performance.now();
  for (let round = 0; round < effort.maxRounds; round++) {
    const spent = (performance.now() - start) / effort.budgetMs;
    if (round >= effort.minRounds && spent >= 1) break;
    tell(0.3 + 0.65 * Math.max(round / effort.maxRounds, Math.min(spent, 1)), `round ${round + 1}`);
    const first = round % contenders.length;
    const order = [...contenders.slice(first), ...contenders.slice(0, first)];
    for (const contender of order) await contender.takeSample();
  }
}
