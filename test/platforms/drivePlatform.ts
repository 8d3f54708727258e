import type { Host } from './host.js';
import type { End, LaneOptions, Message } from './message.js';

/** Longer than any case takes on a device that the CPU plays. */
const CASE_TIMEOUT_MS = 600_000;

export interface LaneRun {
  readonly adapter: string;
  readonly isOffered: boolean;
  readonly cases: readonly End[];
}

/**
 * Run all cases of a lane, in a new process or browser after each crash: the case that was running then has failed.
 * A lane that breaks down between cases has failed itself, and is given up.
 */
export async function driveLane(
  host: Host,
  options: Omit<LaneOptions, 'from'>,
  report: (end: End) => void,
): Promise<LaneRun> {
  const cases: End[] = [];
  const add = (end: End): void => {
    cases.push(end);
    report(end);
  };
  for (;;) {
    const part = await runPart(host, { ...options, from: cases.length }, add);
    if (part.isDone && part.begin) {
      return { adapter: part.begin.adapter, isOffered: part.begin.isOffered, cases };
    }
    add({
      kind: 'end',
      index: cases.length,
      title: part.running?.title ?? 'the lane itself',
      cells: 0,
      milliseconds: part.waitedMs,
      failure: { message: `The lane broke down: ${part.ended}.`, stack: '' },
      compiled: [],
      refused: [],
    });
    if (!part.running) return { adapter: part.begin?.adapter ?? 'none', isOffered: true, cases };
  }
}

interface Part {
  readonly begin: Extract<Message, { kind: 'begin' }> | undefined;
  /** The case that has started and not ended. */
  readonly running: Extract<Message, { kind: 'start' }> | undefined;
  readonly isDone: boolean;
  readonly ended: string;
  readonly waitedMs: number;
}

/** What a lane has told until it was done, broke down or fell silent. */
async function runPart(host: Host, options: LaneOptions, add: (end: End) => void): Promise<Part> {
  let begin: Part['begin'];
  let running: Part['running'];
  let isDone = false;
  let lastMs = performance.now();
  let end!: (reason: string) => void;
  const told = new Promise<string>((resolve) => (end = resolve));
  const lane = await host.start(options, (message) => {
    lastMs = performance.now();
    if (message.kind === 'begin') begin = message;
    if (message.kind === 'start') running = message;
    if (message.kind === 'end') {
      running = undefined;
      add(message);
    }
    if (message.kind === 'done') {
      isDone = true;
      end('done');
    }
    if (message.kind === 'broken') end(message.message);
  });
  const silence = setInterval(() => {
    if (performance.now() - lastMs > CASE_TIMEOUT_MS) end(`it said nothing for ${CASE_TIMEOUT_MS / 1000} s`);
  }, 1000);
  const ended = await Promise.race([told, lane.ended]);
  clearInterval(silence);
  const waitedMs = Math.round(performance.now() - lastMs);
  await lane.stop();
  return { begin, running, isDone, ended, waitedMs };
}
