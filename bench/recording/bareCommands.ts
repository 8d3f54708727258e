/** What WebGPU is told for a dispatch. */
interface BareCommand {
  readonly pipeline: GPUComputePipeline;
  readonly group: GPUBindGroup;
  readonly grid: Parameters<GPUComputePassEncoder['dispatchWorkgroups']>;
}

/** What something records into a pass, to be recorded again with nothing around it. */
export function bareCommands(record: (pass: GPUComputePassEncoder) => void): readonly BareCommand[] {
  const commands: BareCommand[] = [];
  let pipeline: GPUComputePipeline | undefined;
  let group: GPUBindGroup | undefined;
  const pass: Pick<GPUComputePassEncoder, 'setPipeline' | 'dispatchWorkgroups'> & {
    setBindGroup(index: number, group: GPUBindGroup): undefined;
  } = {
    setPipeline(set) {
      pipeline = set;
    },
    setBindGroup(_, set) {
      group = set;
    },
    dispatchWorkgroups(...grid) {
      commands.push({ pipeline: pipeline!, group: group!, grid });
    },
  };
  record(pass as GPUComputePassEncoder);
  return commands;
}

export function recordBare(commands: readonly BareCommand[], pass: GPUComputePassEncoder): void {
  for (const { pipeline, group, grid } of commands) {
    pass.setPipeline(pipeline);
    pass.setBindGroup(0, group);
    pass.dispatchWorkgroups(...grid);
  }
}
