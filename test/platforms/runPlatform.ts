import { title, type GpuCase } from './gpuCase.js';
import { GpuDevices, offers } from './gpuDevices.js';
import { runCase } from './runCase.js';
import type { Failure, LaneOptions, Message } from './message.js';
import { casesOf } from './casesOf.js';
import { watchCompiler } from './watchCompiler.js';

/** Run the cases one after the other. */
export async function* runLane(gpu: GPU, options: LaneOptions): AsyncGenerator<Message> {
  const adapter = await gpu.requestAdapter();
  if (!adapter) throw new Error('There is no GPU adapter.');
  const selected = select(options);
  const isOffered = offers(adapter, options.features);
  yield { kind: 'begin', adapter: nameOf(adapter), isOffered, nCases: selected.length };
  if (isOffered) {
    const compiler = watchCompiler();
    const devices = new GpuDevices(gpu, options.features);
    for (const [index, { name, gpuCase }] of selected.entries()) {
      if (index < options.from) continue;
      yield { kind: 'start', index, title: name };
      const start = performance.now();
      const failure = await runCase(gpuCase, devices, options.lane).then(() => undefined, failureOf);
      const milliseconds = Math.round(performance.now() - start);
      const { compiled, refused } = await compiler.take();
      yield {
        kind: 'end',
        index,
        title: name,
        cells: gpuCase.cells ?? 1,
        milliseconds,
        ...(failure && { failure }),
        compiled,
        refused,
      };
    }
    await devices.destroy();
  }
  yield { kind: 'done' };
}

interface Selected {
  readonly name: string;
  readonly gpuCase: GpuCase;
}

function select({ suites: names, filter = '' }: LaneOptions): Selected[] {
  return names.flatMap((suite) =>
    casesOf(suite)
      .map((gpuCase) => ({ name: `${suite}: ${title(gpuCase)}`, gpuCase }))
      .filter(({ name }) => name.includes(filter)),
  );
}

function nameOf({ info }: GPUAdapter): string {
  // Firefox tells no names.
  return (
    info.description ||
    info.device ||
    info.architecture ||
    (info.isFallbackAdapter ? 'software' : 'not named')
  );
}

function failureOf(error: Error): Failure {
  return { message: error.message, stack: error.stack ?? '' };
}
