import { defineConfig, type PluginOption } from 'vite';
import { wgsl } from './tools/wgsl/wgslPlugin.js';

/** What turns the sources into JavaScript, for the library, the tests, the benchmarks and the demo alike. */
export const plugins: PluginOption[] = [wgsl()];

export default defineConfig({
  plugins,
  build: {
    target: 'es2022',
    sourcemap: true,
    // Bundlers minify; here, stacks of errors name our functions.
    minify: false,
    lib: {
      entry: {
        pageflash: 'src/index.ts',
        reference: 'src/reference/attention.ts',
        wgsl: 'src/standalone/kernelVariant.ts',
      },
      formats: ['es'],
    },
    rolldownOptions: {
      output: {
        chunkFileNames: 'shared/[name].js',
        // What entries share, by a name that says what it is.
        codeSplitting: {
          groups: [
            { name: 'core', test: /src\/core\//, minShareCount: 2, priority: 1 },
            { name: 'kernels', test: /src\//, minShareCount: 2 },
          ],
        },
      },
    },
  },
});
