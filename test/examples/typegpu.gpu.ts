import { tgpu, d } from 'typegpu';
import { createAttentionLayer, MAX_TOKENS, SHAPE } from '../../examples/typegpu/attentionLayer.js';
import type { GpuCase } from '../platforms/gpuCase.js';
import { checkSteps, weights } from './layerSteps.js';

export const cases: GpuCase[] = [
  {
    name: 'attention between two pipelines of TypeGPU, in its buffers and one pass',
    async run(t) {
      const device = await t.device();
      const root = tgpu.initFromDevice({ device });
      const numbers = (values: Float32Array) =>
        root.createBuffer(d.arrayOf(d.f32, values.length), [...values]).$usage('storage');
      const [qkv, out] = [numbers(weights.qkv), numbers(weights.out)];
      const layer = await createAttentionLayer(root, { qkv, out });
      try {
        await checkSteps({
          device,
          write(x) {
            const rows = new Float32Array(MAX_TOKENS * SHAPE.hidden);
            rows.set(x);
            layer.x.write(rows.buffer);
          },
          step: (nNew) => layer.step(nNew),
          readY: async (nTokens) => (await layer.y.read()).slice(0, nTokens * SHAPE.hidden),
        });
      } finally {
        layer.destroy();
        root.destroy();
      }
    },
  },
];
