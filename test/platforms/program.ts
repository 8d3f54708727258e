import { title, type Platform } from './gpuCase.js';
import { GpuDevices, offers, runCase } from './gpuDevices.js';
import { LINE_PREFIX, type Begun, type CaseResult, type Program, type ProgramOptions } from './protocol.js';
import { casesOf } from './suites.js';

// The program that runs the cases on every platform, one at a time as it is told: in a page by calls of
// `globalThis.platformProgram`, in a process by lines of JSON.

declare global {
  var platformProgram: Program;
}

let platform: Platform;
let devices: GpuDevices;

async function begin({ features, ...options }: ProgramOptions): Promise<Begun> {
  if (!navigator.gpu) throw new Error('There is no navigator.gpu.');
  const adapter = await navigator.gpu.requestAdapter();
  if (!adapter) throw new Error('There is no GPU adapter.');
  ({ platform } = options);
  devices = new GpuDevices(navigator.gpu, features);
  return { adapter: nameOf(adapter), isOffered: offers(adapter, features) };
}

function nameOf({ info }: GPUAdapter): string {
  // Firefox tells no names.
  const fallback = info.isFallbackAdapter ? 'software' : 'not named';
  return info.description || info.device || info.architecture || fallback;
}

const takeModules = watchCompiler();

async function run(suite: string, name: string): Promise<CaseResult> {
  const gpuCase = casesOf(suite).find((candidate) => candidate.name === name);
  if (!gpuCase) throw new Error(`There is no case "${name}" in ${suite}.`);
  const start = performance.now();
  const failure = await runCase(gpuCase, { devices, platform }).then(
    () => undefined,
    ({ message, stack = '' }: Error) => ({ message, stack }),
  );
  const milliseconds = Math.round(performance.now() - start);
  return {
    title: `${suite}: ${title(gpuCase)}`,
    cells: gpuCase.cells ?? 1,
    milliseconds,
    ...(failure && { failure }),
    ...(await takeModules()),
  };
}

/** Notes each shader module that any device makes, and whether the compiler refused it. */
function watchCompiler(): () => Promise<Pick<CaseResult, 'compiled' | 'refused'>> {
  let modules: { readonly label: string; readonly isRefused: Promise<boolean> }[] = [];
  const { createShaderModule } = GPUDevice.prototype;
  GPUDevice.prototype.createShaderModule = function watched(this: GPUDevice, descriptor) {
    const module = createShaderModule.call(this, descriptor);
    // Asked at once: Chrome may never answer when the device has nothing else to do.
    const isRefused = module.getCompilationInfo().then(
      ({ messages }) => messages.some(({ type }) => type === 'error'),
      () => false, // the device is lost
    );
    modules.push({ label: module.label, isRefused });
    return module;
  };
  return async () => {
    const taken = modules;
    modules = [];
    const refused: string[] = [];
    for (const { label, isRefused } of taken) if (await isRefused) refused.push(label);
    return { compiled: taken.map(({ label }) => label), refused };
  };
}

/**
 * Keep every pipeline that any device makes, as WebGPU finds an equal one that is in use rather than compile it again:
 * most cases have a runtime of their own, and need kernels that others before them have needed.
 */
function keepPipelines(): void {
  const kept: unknown[] = [];
  const { createComputePipeline, createComputePipelineAsync } = GPUDevice.prototype;
  GPUDevice.prototype.createComputePipeline = function keeping(this: GPUDevice, descriptor) {
    const pipeline = createComputePipeline.call(this, descriptor);
    kept.push(pipeline);
    return pipeline;
  };
  GPUDevice.prototype.createComputePipelineAsync = async function keeping(this: GPUDevice, descriptor) {
    const pipeline = await createComputePipelineAsync.call(this, descriptor);
    kept.push(pipeline);
    return pipeline;
  };
}

/** Deno 2.9 ends with a panic where an empty array is written to a buffer, so nothing may do it anywhere. */
function refuseEmptyWrites(): void {
  const { writeBuffer } = GPUQueue.prototype;
  GPUQueue.prototype.writeBuffer = function refusing(this: GPUQueue, ...args) {
    const [buffer, , data] = args;
    if (data.byteLength === 0) throw new Error(`An empty array was written to ${buffer.label}.`);
    writeBuffer.apply(this, args as Parameters<typeof writeBuffer>);
  };
}

keepPipelines();
refuseEmptyWrites();
globalThis.platformProgram = { begin, run };
if (typeof document === 'undefined') listen();

/** Each line of the input is a method and its arguments; each is answered by `{ result }` or `{ error }`. */
function listen(): void {
  const answer = async (line: string): Promise<void> => {
    const [method, ...args] = JSON.parse(line) as [keyof Program, ...never[]];
    const reply = await (platformProgram[method] as (...args: never[]) => Promise<unknown>)(...args).then(
      (result) => ({ result }),
      (error: unknown) => ({ error: String(error) }),
    );
    process.stdout.write(`${LINE_PREFIX}${JSON.stringify(reply)}\n`);
  };
  let rest = '';
  process.stdin.setEncoding('utf8');
  process.stdin.on('data', (chunk: string) => {
    const lines = (rest + chunk).split('\n');
    rest = lines.pop()!;
    for (const line of lines) void answer(line);
  });
  // Devices that a case has left behind would keep the process alive.
  process.stdin.on('end', () => process.exit(0));
}
