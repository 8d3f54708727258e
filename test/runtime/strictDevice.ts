import { fakeBuffer, fakeDevice } from './fakeDevice.js';

/** What a device was asked to do with lasting effect. */
export interface Touched {
  writes: number;
  submits: number;
  /** Into a pass, the caller's or one of its own. */
  dispatches: number;
}

/** A device that does nothing, but checks all that it is asked to do against the rules of WebGPU. */
export interface StrictDevice {
  readonly device: GPUDevice;
  readonly touched: Touched;
  /** What a real device would have refused. */
  readonly violations: string[];
  /** Buffers that were created and not destroyed. */
  readonly live: Set<GPUBuffer>;
  /** A pass of the caller's own. */
  pass(): GPUComputePassEncoder;
}

/** The limits of Dawn on many desktops: bindings and buffers of 4 GiB. */
export const LARGE_LIMITS = { maxStorageBufferBindingSize: 2 ** 32 - 4, maxBufferSize: 2 ** 32 - 4 };

const { STORAGE, UNIFORM, COPY_SRC, COPY_DST } = { STORAGE: 128, UNIFORM: 64, COPY_SRC: 4, COPY_DST: 8 };

interface Layout {
  readonly types: ReadonlyMap<number, string>;
}

interface Group {
  readonly layout: Layout;
  readonly ranges: readonly Range[];
}

interface Range {
  readonly binding: number;
  readonly buffer: GPUBuffer;
  readonly offset: number;
  readonly size: number;
}

/** Bytes that each binding of a module needs at least. */
type Pipeline = ReadonlyMap<number, number>;

export function strictDevice(limits: Partial<GPUSupportedLimits> = {}): StrictDevice {
  const touched: Touched = { writes: 0, submits: 0, dispatches: 0 };
  const violations: string[] = [];
  const live = new Set<GPUBuffer>();
  const all = fakeDevice({ maxBufferSize: 2 ** 28, ...limits }).limits;
  const must = (holds: boolean, rule: string): void => {
    if (!holds) violations.push(rule);
  };

  const createBuffer = ({ size, usage }: GPUBufferDescriptor): GPUBuffer => {
    must(Number.isSafeInteger(size) && size >= 0, `a buffer has ${size} bytes`);
    must(size <= all.maxBufferSize, `a buffer has ${size} bytes of ${all.maxBufferSize}`);
    const buffer: GPUBuffer = Object.assign(fakeBuffer(size, usage), {
      destroy: () => void live.delete(buffer),
      mapAsync: () => Promise.resolve(),
      getMappedRange: () => new ArrayBuffer(size),
    });
    live.add(buffer);
    return buffer;
  };

  const createBindGroup = ({ layout, entries }: GPUBindGroupDescriptor): Group => {
    const { types } = layout as unknown as Layout;
    const ranges = Array.from(entries, ({ binding, resource }) => {
      const { buffer, offset = 0, size = buffer.size - offset } = resource as GPUBufferBinding;
      const isUniform = types.get(binding) === 'uniform';
      must(types.has(binding), `there is no binding ${binding}`);
      must((buffer.usage & (isUniform ? UNIFORM : STORAGE)) !== 0, `binding ${binding} lacks its usage`);
      must(buffer.mapState === 'unmapped', `binding ${binding} is mapped`);
      must(Number.isSafeInteger(offset) && offset >= 0 && offset % 256 === 0, `an offset is ${offset}`);
      must(Number.isSafeInteger(size) && size > 0 && size % 4 === 0, `a binding has ${size} bytes`);
      must(offset + size <= buffer.size, `a binding ends at ${offset + size} of ${buffer.size}`);
      must(size <= (isUniform ? 65536 : all.maxStorageBufferBindingSize), `a binding has ${size} bytes`);
      return { binding, buffer, offset, size };
    });
    must(ranges.length === types.size, 'a binding is missing');
    return { layout: layout as unknown as Layout, ranges };
  };

  const checkDispatch = (pipeline: Pipeline, { layout, ranges }: Group, grid: readonly number[]): void => {
    for (const n of grid) {
      must(Number.isSafeInteger(n) && n >= 0, `${n} workgroups`);
      must(n <= all.maxComputeWorkgroupsPerDimension, `${n} workgroups of a dimension`);
    }
    for (const [binding, bytes] of pipeline) {
      const range = ranges.find((candidate) => candidate.binding === binding);
      must(range !== undefined && range.size >= bytes, `binding ${binding} needs ${bytes} bytes`);
    }
    const isWritten = ({ binding }: Range): boolean => layout.types.get(binding) === 'storage';
    for (const [i, a] of ranges.entries()) {
      for (const b of ranges.slice(0, i)) {
        if (a.buffer !== b.buffer || !(isWritten(a) || isWritten(b))) continue;
        const overlap = a.offset < b.offset + b.size && b.offset < a.offset + a.size;
        must(isWritten(a) && isWritten(b), 'a buffer is read and written in one dispatch');
        must(!overlap, 'written ranges overlap');
      }
    }
  };

  const pass = (): GPUComputePassEncoder => {
    let pipeline: Pipeline | undefined;
    let group: Group | undefined;
    return {
      setPipeline: (next: Pipeline) => (pipeline = next),
      setBindGroup: (_: 0, next: Group) => (group = next),
      dispatchWorkgroups: (...grid: number[]) => {
        touched.dispatches++;
        if (pipeline && group) checkDispatch(pipeline, group, grid);
        else violations.push('a dispatch without a pipeline or a bind group');
      },
      end: () => {},
    } as unknown as GPUComputePassEncoder;
  };

  const device = {
    limits: all,
    features: new Set<string>(),
    lost: new Promise(() => {}),
    queue: {
      writeBuffer: (buffer: GPUBuffer, offset: number, { byteLength }: ArrayBufferView) => {
        touched.writes++;
        must((buffer.usage & COPY_DST) !== 0, 'a buffer without COPY_DST is written');
        must(offset % 4 === 0 && byteLength % 4 === 0, 'parts of words are written');
        must(offset >= 0 && offset + byteLength <= buffer.size, 'something is written beyond a buffer');
      },
      submit: () => touched.submits++,
      onSubmittedWorkDone: () => Promise.resolve(),
    },
    pushErrorScope: () => {},
    popErrorScope: () => Promise.resolve(null),
    createBuffer,
    createBindGroup,
    createBindGroupLayout: ({ entries }: GPUBindGroupLayoutDescriptor): Layout => {
      const types = new Map(Array.from(entries, ({ binding, buffer }) => [binding, String(buffer?.type)]));
      const nStorage = [...types.values()].filter((type) => type !== 'uniform').length;
      must(nStorage <= all.maxStorageBuffersPerShaderStage, `a layout has ${nStorage} storage buffers`);
      return { types };
    },
    createPipelineLayout: () => ({}),
    createShaderModule: ({ code }: GPUShaderModuleDescriptor) => ({
      needs: leastBytes(code),
      getCompilationInfo: () => Promise.resolve({ messages: [] }),
    }),
    createComputePipeline: ({ compute }: GPUComputePipelineDescriptor) =>
      (compute.module as unknown as { readonly needs: Pipeline }).needs,
    createComputePipelineAsync: ({ compute }: GPUComputePipelineDescriptor) =>
      Promise.resolve((compute.module as unknown as { readonly needs: Pipeline }).needs),
    createCommandEncoder: () => ({
      beginComputePass: pass,
      copyBufferToBuffer: (...[from, at, to, toAt, size]: [GPUBuffer, number, GPUBuffer, number, number]) => {
        touched.writes++;
        must((from.usage & COPY_SRC) !== 0, 'a buffer without COPY_SRC is copied');
        must(from.mapState === 'unmapped', 'a mapped buffer is copied');
        must(
          [at, toAt, size].every((bytes) => bytes % 4 === 0),
          'parts of words are copied',
        );
        must(at + size <= from.size && toAt + size <= to.size, 'something is copied beyond a buffer');
      },
      finish: () => ({}),
    }),
  };
  return { device: device as unknown as GPUDevice, touched, violations, live, pass };
}

const ELEMENT_BYTES: Readonly<Record<string, number>> = { vec2u: 8, vec4u: 16 };

/** One element of each array. */
function leastBytes(code: string): Pipeline {
  const declared = code.matchAll(/@binding\((\d+)\) var<storage[^>]*> \w+: array<(\w+)/g);
  return new Map(
    Array.from(declared, ([, binding, element]) => [Number(binding), ELEMENT_BYTES[element!] ?? 4]),
  );
}
