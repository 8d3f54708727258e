import { fileURLToPath } from 'node:url';
import { defineConfig } from 'vite';
import { plugins } from '../vite.config.js';
import { offline } from './offline/offline.js';

const at = (path: string): string => fileURLToPath(new URL(path, import.meta.url));

/** The pages: `npm run demo` serves them, `npm run demo:build` makes a folder that works from any address. */
export default defineConfig({
  root: at('.'),
  base: './',
  plugins: [...plugins, offline()],
  // The engine imports the package by its name: here, that is its sources.
  resolve: { alias: { pageflash: at('../src/index.ts') } },
  worker: { format: 'es', plugins: () => plugins },
  build: {
    target: 'es2022',
    rolldownOptions: { input: { chat: at('index.html'), oneCall: at('oneCall/index.html') } },
  },
});
