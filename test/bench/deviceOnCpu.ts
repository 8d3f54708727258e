import { vi } from 'vitest';
import { cpuDevice, type CpuBuffer, type Edit } from '../wgslOnCpu/cpuDevice.js';

/**
 * A device of default limits that runs kernels on the CPU, as much of it as a runtime asks for.
 *
 * @param edit changes the WGSL of each kernel first
 */
export function deviceOnCpu(edit?: Edit): GPUDevice {
  // What Node has not got.
  vi.stubGlobal('GPUBufferUsage', { MAP_READ: 1, COPY_SRC: 4, COPY_DST: 8, STORAGE: 128 });
  vi.stubGlobal('GPUMapMode', { READ: 1 });
  vi.stubGlobal('GPUOutOfMemoryError', function outOfMemory() {});
  const { device } = cpuDevice({ edit });
  const { createBuffer } = device;
  return Object.assign(device, {
    features: new Set<string>(),
    queue: Object.assign(device.queue, { onSubmittedWorkDone: () => Promise.resolve() }),
    lost: new Promise(() => {}),
    limits: {
      ...device.limits,
      maxComputeWorkgroupStorageSize: 16384,
      maxComputeInvocationsPerWorkgroup: 256,
      maxComputeWorkgroupSizeX: 256,
      maxComputeWorkgroupsPerDimension: 65535,
      maxStorageBuffersPerShaderStage: 10,
    },
    createBuffer: (descriptor: GPUBufferDescriptor) =>
      Object.assign(createBuffer.call(device, descriptor), { usage: descriptor.usage }),
    createShaderModule: ({ code }: GPUShaderModuleDescriptor) => {
      return { code, getCompilationInfo: () => Promise.resolve({ messages: [] }) };
    },
    createBindGroupLayout() {},
    createPipelineLayout() {},
    createComputePipeline: ({ compute }: GPUComputePipelineDescriptor) => {
      const { code } = compute.module as GPUShaderModule & { readonly code: string };
      return { code, entryPoint: compute.entryPoint, constants: { ...compute.constants } };
    },
    createBindGroup: ({ entries }: { readonly entries: Iterable<BoundRange> }) => {
      const buffers: Pick<CpuBuffer, 'bytes'>[] = [];
      for (const { binding, resource } of entries) buffers[binding] = bytesOf(resource);
      return buffers;
    },
  });
}

interface BoundRange {
  readonly binding: number;
  readonly resource: { readonly buffer: CpuBuffer; readonly offset?: number; readonly size?: number };
}

/** The bytes of a range when they are asked for: a copy where it begins within a buffer, which kernels only read. */
function bytesOf({ buffer, offset = 0, size }: BoundRange['resource']): Pick<CpuBuffer, 'bytes'> {
  if (offset === 0) return buffer;
  return {
    get bytes() {
      return buffer.bytes.slice(offset, size === undefined ? undefined : offset + size);
    },
  };
}
