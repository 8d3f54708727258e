import type { Dispatch } from '../core/dispatch.js';
import type { BindGroups } from './bindGroups.js';
import { bindingRanges, type Places } from './bindingRanges.js';
import type { Pipelines } from './pipelines.js';

/** A dispatch with everything that WebGPU wants for it. */
export interface Step {
  readonly kernel: string;
  readonly pipeline: GPUComputePipeline;
  readonly group: GPUBindGroup;
  readonly grid: readonly [number, number, number];
}

/** Makes steps of dispatches. */
export class Steps {
  readonly #pipelines: Pipelines;
  readonly #bindGroups: BindGroups;

  constructor(pipelines: Pipelines, bindGroups: BindGroups) {
    this.#pipelines = pipelines;
    this.#bindGroups = bindGroups;
  }

  of(dispatch: Dispatch, places: Places): Step {
    const { kernel, grid } = dispatch;
    return {
      kernel: kernel.name,
      pipeline: this.pipeline(dispatch),
      group: this.group(dispatch, places),
      grid,
    };
  }

  pipeline({ kernel, spec }: Dispatch): GPUComputePipeline {
    return this.#pipelines.get({ kernel, spec });
  }

  group(dispatch: Dispatch, places: Places): GPUBindGroup {
    const { kernel } = dispatch;
    const layout = this.#pipelines.bindGroupLayout(kernel);
    return this.#bindGroups.get(layout, kernel.name, bindingRanges(dispatch, places));
  }

  /** Tells what a dispatch would bind from anything else. */
  groupKey(dispatch: Dispatch, places: Places): string {
    return this.#bindGroups.keyOf(dispatch.kernel.name, bindingRanges(dispatch, places));
  }
}

export function encode({ pipeline, group, grid }: Step, pass: GPUComputePassEncoder): void {
  pass.setPipeline(pipeline);
  pass.setBindGroup(0, group);
  pass.dispatchWorkgroups(...grid);
}
