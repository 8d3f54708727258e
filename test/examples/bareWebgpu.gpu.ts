import { createAttentionLayer, SHAPE } from '../../examples/bare-webgpu/attentionLayer.js';
import { downloadBuffer } from '../../tools/deviceTensor.js';
import type { GpuCase } from '../platforms/gpuCase.js';
import { checkSteps, weights } from './layerSteps.js';

export const cases: GpuCase[] = [
  {
    name: 'attention between two kernels of an engine, in its buffers and one pass',
    async run(t) {
      const device = await t.device();
      const layer = await createAttentionLayer(device, weights);
      try {
        await checkSteps({
          device,
          write: (x) => device.queue.writeBuffer(layer.x, 0, x),
          step: (nNew) => layer.step(nNew),
          async readY(nTokens) {
            const bytes = await downloadBuffer(device, layer.y);
            return new Float32Array(bytes, 0, nTokens * SHAPE.hidden);
          },
        });
      } finally {
        layer.destroy();
      }
    },
  },
];
