import { defineConfig } from 'vitepress';
import api from '../api/typedoc-sidebar.json' with { type: 'json' };

/** The pages of the guide, in the order in which they are read. */
const GUIDE = {
  Start: [
    ['First attention', 'first-attention'],
    ['Functions and options', 'functions'],
    ['From flash_attn, vLLM, FlashInfer', 'porting'],
  ],
  Build: [
    ['In an engine', 'in-an-engine'],
    ['Inside other engines', 'other-engines'],
    ['Serving conversations', 'serving'],
    ['Saving conversations', 'saving'],
    ['Pages, memory, what fits', 'memory'],
    ['Errors by code', 'errors'],
  ],
  Understand: [
    ['Numerics and determinism', 'numerics'],
    ['Tiers and tuning', 'tuning'],
    ['Speed', 'speed'],
    ['The kernels', 'kernels'],
  ],
} as const;

export default defineConfig({
  title: 'pageflash',
  description: 'FlashAttention with a paged KV cache for WebGPU.',
  // Links that work from any folder of any server.
  base: process.env['DOCS_BASE'] ?? '/',
  cleanUrls: false,
  srcExclude: ['node_modules/**'],
  markdown: { math: false, lineNumbers: false },
  themeConfig: {
    nav: [
      { text: 'Guide', link: '/guide/first-attention', activeMatch: '/guide/' },
      { text: 'API', link: '/api/', activeMatch: '/api/' },
    ],
    sidebar: {
      '/guide/': Object.entries(GUIDE).map(([text, pages]) => ({
        text,
        items: pages.map(([title, page]) => ({ text: title, link: `/guide/${page}` })),
      })),
      '/api/': [{ text: 'API', items: api }],
    },
    outline: [2, 3],
    search: { provider: 'local' },
  },
});
