// node scripts/setup.mjs: installs what the GPU tests and benchmarks need and the machine lacks.
import { setUp } from '../tools/setup/setUp.mjs';

try {
  await setUp(['chrome', 'vulkan']);
} catch (error) {
  console.error(/** @type {Error} */ (error).message);
  process.exitCode = 1;
}
