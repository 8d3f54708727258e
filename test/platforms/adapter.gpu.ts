import { assertEqual, type DeviceKind, type GpuCase } from './gpuCase.js';

const squares = /* wgsl */ `
@group(0) @binding(0) var<storage, read_write> out: array<u32>;

@compute @workgroup_size(32)
fn squares(@builtin(global_invocation_id) id: vec3u) {
  if (id.x < arrayLength(&out)) { out[id.x] = id.x * id.x; }
}`;

const kinds: DeviceKind[] = ['full', 'plain'];

export const cases: GpuCase[] = kinds.map((kind) => ({
  name: `a ${kind} device computes and reads back`,
  why: 'a failure here is the machine, not a kernel',
  async run(t) {
    const device = await t.device(kind);
    const n = 100;
    const { STORAGE, COPY_SRC, COPY_DST, MAP_READ } = GPUBufferUsage;
    const out = device.createBuffer({ size: 4 * n, usage: STORAGE | COPY_SRC });
    const readback = device.createBuffer({ size: 4 * n, usage: COPY_DST | MAP_READ });
    const module = device.createShaderModule({ code: squares });
    const pipeline = await device.createComputePipelineAsync({ layout: 'auto', compute: { module } });
    const entries = [{ binding: 0, resource: { buffer: out } }];

    const encoder = device.createCommandEncoder();
    const pass = encoder.beginComputePass();
    pass.setPipeline(pipeline);
    pass.setBindGroup(0, device.createBindGroup({ layout: pipeline.getBindGroupLayout(0), entries }));
    pass.dispatchWorkgroups(Math.ceil(n / 32));
    pass.end();
    encoder.copyBufferToBuffer(out, readback);
    device.queue.submit([encoder.finish()]);

    await readback.mapAsync(GPUMapMode.READ);
    const actual = new Uint32Array(readback.getMappedRange().slice(0));
    assertEqual(
      actual,
      Uint32Array.from({ length: n }, (_, i) => i * i),
      'out',
    );
    out.destroy();
    readback.destroy();
  },
}));
