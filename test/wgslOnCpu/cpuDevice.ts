import { run } from './run.js';

// As much of a GPUDevice as the engine asks for, whose kernels run on the CPU when they are recorded.

/** A buffer and its bytes. */
export interface CpuBuffer extends GPUBuffer {
  readonly bytes: ArrayBuffer;
}

/** A race, and what was dispatched. */
export interface FoundRace {
  readonly kernel: string;
  readonly race: string;
}

export interface CpuDevice {
  readonly device: GPUDevice;
  /** Of all dispatches until now. */
  readonly races: readonly FoundRace[];

  readonly nDispatches: number;
}

interface Pipeline {
  readonly code: string;
  readonly entryPoint: string;
  readonly constants: Readonly<Record<string, number>>;
}

export type Edit = (code: string, entryPoint: string) => string;

interface CpuDeviceOptions {
  /** Changes the WGSL of each kernel first. */
  readonly edit?: Edit | undefined;
  /** Runs the last invocation of a workgroup first. */
  readonly isReversed?: boolean;
}

export function cpuDevice({ edit = (code) => code, isReversed = false }: CpuDeviceOptions = {}): CpuDevice {
  const races: FoundRace[] = [];
  let nDispatches = 0;
  const dispatch = (pipeline: Pipeline, buffers: readonly CpuBuffer[], grid: Grid): void => {
    const { code, entryPoint, constants } = pipeline;
    nDispatches += 1;
    const found = run({
      code: edit(code, entryPoint),
      entryPoint,
      constants,
      grid,
      isReversed,
      bytesOf: ({ name, binding }) => {
        const buffer = buffers[binding ?? -1];
        if (!buffer) throw new Error(`Nothing is bound to ${name} of ${entryPoint}.`);
        return buffer.bytes;
      },
    });
    races.push(...found.map((race) => ({ kernel: entryPoint, race })));
  };
  const device = {
    limits: {
      maxStorageBufferBindingSize: 2 ** 27,
      maxBufferSize: 2 ** 28,
      maxComputeWorkgroupsPerDimension: 65535,
    },
    queue: { writeBuffer, submit() {} },
    pushErrorScope() {},
    popErrorScope: () => Promise.resolve(null),
    createBuffer: ({ label, size }: GPUBufferDescriptor) => ({
      label,
      size,
      bytes: new ArrayBuffer(size),
      mapAsync: () => Promise.resolve(),
      getMappedRange(this: CpuBuffer) {
        return this.bytes;
      },
      destroy() {},
    }),
    createShaderModule: ({ code }: GPUShaderModuleDescriptor) => ({ code }),
    createComputePipelineAsync: ({ compute }: GPUComputePipelineDescriptor) => {
      const { entryPoint, constants, module } = compute;
      const { code } = module as GPUShaderModule & { readonly code: string };
      return Promise.resolve({ code, entryPoint, constants: { ...constants }, getBindGroupLayout() {} });
    },
    createBindGroup: ({ entries }: { readonly entries: Iterable<BoundBuffer> }) =>
      Array.from(entries, ({ resource }) => resource.buffer),
    createCommandEncoder: () => ({
      beginComputePass: () => passOf(dispatch),
      copyBufferToBuffer,
      finish() {},
    }),
  };
  return {
    device: device as unknown as GPUDevice,
    races,
    get nDispatches() {
      return nDispatches;
    },
  };
}

type Grid = readonly [number, number, number];

interface BoundBuffer {
  readonly resource: { readonly buffer: CpuBuffer };
}

function passOf(dispatch: (pipeline: Pipeline, buffers: readonly CpuBuffer[], grid: Grid) => void): object {
  let pipeline: Pipeline | undefined;
  let buffers: readonly CpuBuffer[] = [];
  return {
    setPipeline: (set: Pipeline): void => void (pipeline = set),
    setBindGroup: (_: number, set: readonly CpuBuffer[]): void => void (buffers = set),
    dispatchWorkgroups: (x: number, y = 1, z = 1): void => dispatch(pipeline!, buffers, [x, y, z]),
    end() {},
  };
}

function copyBufferToBuffer(
  from: CpuBuffer,
  fromOffset: number,
  to: CpuBuffer,
  ...[toOffset, size]: readonly [number, number]
): void {
  new Uint8Array(to.bytes).set(new Uint8Array(from.bytes, fromOffset, size), toOffset);
}

function writeBuffer(
  buffer: CpuBuffer,
  offset: number,
  data: ArrayBuffer | ArrayBufferView,
  from = 0,
  size?: number,
): void {
  // Of a typed array, offset and size count elements.
  const unit = ArrayBuffer.isView(data) ? ((data as Partial<Uint8Array>).BYTES_PER_ELEMENT ?? 1) : 1;
  const all = ArrayBuffer.isView(data)
    ? new Uint8Array(data.buffer, data.byteOffset, data.byteLength)
    : new Uint8Array(data);
  const end = size === undefined ? all.length : (from + size) * unit;
  new Uint8Array(buffer.bytes).set(all.subarray(from * unit, end), offset);
}
