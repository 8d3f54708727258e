import { defineConfig, type BuildOptions, type PluginOption } from 'vite';
import { wgsl } from './tools/wgsl/wgslPlugin.js';

/** What turns the sources into JavaScript, for the library, the tests, the benchmarks and the demo alike. */
export const plugins: PluginOption[] = [wgsl()];

/** The package as bundlers and Node take it: a module for each entry, and what entries share. */
const modules: BuildOptions = {
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
};

/** The same as one small file, for a page that no bundler makes: `vite build --mode page`. */
const onePage: BuildOptions = {
  // Beside what is built already.
  emptyOutDir: false,
  minify: true,
  rolldownOptions: {
    input: 'src/index.ts',
    // Without `lib`, Vite would take the exports for unused.
    preserveEntrySignatures: 'strict',
    output: { entryFileNames: 'pageflash.min.js', codeSplitting: false, minify: true },
  },
};

export default defineConfig(({ mode }) => ({
  plugins,
  build: { target: 'es2022', ...(mode === 'page' ? onePage : modules) },
}));
