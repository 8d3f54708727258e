import { ratios, summarize } from '../../tools/statistics.js';
import type { BenchCase } from '../cases/cases.js';
import { decodeWorkload } from '../cases/decodeWorkload.js';
import { featureWorkload } from '../cases/featureWorkload.js';
import { prefillWorkload } from '../cases/prefillWorkload.js';
import { checkAgainstPeer, type PeerImplementation, type Workload } from '../cases/workload.js';
import type { Check, MeasuredRow, Peer } from '../results.js';
import { Runner, type Effort } from './runner.js';

// Runs in Node and in a browser, so it may use the modules of neither.

/** Called with how much of the row is done, from 0 to 1, and what comes next. */
export type OnProgress = (done: number, step: string) => void;

export interface MeasureArgs {
  readonly device: GPUDevice;
  readonly benchCase: BenchCase;
  readonly effort: Effort;
  /** Without peers. */
  readonly alone: boolean;
  readonly onProgress: OnProgress;
}

/**
 * Checks all outputs, then times pageflash and its peers in interleaved rounds.
 *
 * @throws Error if an output is wrong or the device refuses something
 */
export async function measureCase(args: MeasureArgs): Promise<MeasuredRow> {
  const workload = createWorkload(args.device, args.benchCase);
  const runnerArgs = { ...args, workload, dtype: args.benchCase.dtype };
  const pageflash = new Runner(workload.pageflash, runnerArgs);
  const peers = args.alone ? [] : workload.peers.map((peer) => new Runner(peer, runnerArgs));
  try {
    return await measureRunners(args, workload, pageflash, peers);
  } finally {
    for (const runner of [pageflash, ...peers]) runner.destroy();
    workload.destroy();
  }
}

function createWorkload(device: GPUDevice, benchCase: BenchCase): Workload {
  switch (benchCase.kind) {
    case 'prefill':
      return prefillWorkload(device, benchCase);
    case 'decode':
      return decodeWorkload(device, benchCase);
    case 'feature':
      return featureWorkload(device, benchCase);
  }
}

type PeerRunner = Runner<PeerImplementation>;

async function measureRunners(
  args: MeasureArgs,
  workload: Workload,
  pageflash: Runner,
  peers: readonly PeerRunner[],
): Promise<MeasuredRow> {
  const { benchCase, onProgress } = args;
  onProgress(0, 'compiling pageflash');
  const out = await pageflash.firstRun();
  if (out instanceof Error) throw out;
  onProgress(0.1, 'checking');
  const checks: Check[] = [workload.check(out)];

  const running: PeerRunner[] = [];
  const skipped = new Map<PeerRunner, string>();
  for (const peer of peers) {
    const { name, check } = peer.implementation;
    onProgress(0.15, `compiling ${name}`);
    const peerOut = await peer.firstRun();
    if (peerOut instanceof Error) {
      skipped.set(peer, peerOut.message);
    } else {
      checks.push(check ? check(peerOut) : checkAgainstPeer(name, out, peerOut, benchCase.dtype));
      running.push(peer);
    }
  }

  onProgress(0.25, 'warming up');
  const all = [pageflash, ...running];
  for (const runner of all) await runner.warmUp();
  await takeRounds(all, args);
  for (const runner of all) await runner.timeOnGpu();

  const traffic = workload.traffic?.(pageflash.runtime);
  return {
    case: benchCase,
    status: 'measured',
    flops: workload.flops,
    checks,
    pageflash: pageflash.result(),
    peers: peers.map((peer): Peer => {
      const { name } = peer.implementation;
      const reason = skipped.get(peer);
      if (reason !== undefined) return { name, skipped: reason };
      const speedup = summarize(ratios(peer.samples, pageflash.samples));
      return { name, ...peer.result(), speedup };
    }),
    ...(traffic && { traffic }),
  };
}

/**
 * Takes one sample of each per round. Each round starts with the next one, since idling before a sample is an
 * advantage.
 */
async function takeRounds(runners: readonly Runner[], { effort, onProgress }: MeasureArgs): Promise<void> {
  const start = performance.now();
  for (let round = 0; round < effort.maxRounds; round++) {
    const spent = (performance.now() - start) / effort.budgetMs;
    if (round >= effort.minRounds && spent >= 1) break;
    onProgress(0.3 + 0.65 * Math.max(round / effort.maxRounds, Math.min(spent, 1)), `round ${round + 1}`);
    const first = round % runners.length;
    const order = [...runners.slice(first), ...runners.slice(0, first)];
    for (const runner of order) await runner.takeSample();
  }
}
