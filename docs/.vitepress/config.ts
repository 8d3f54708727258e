import { defineConfig } from 'vitepress';
import api from '../api/typedoc-sidebar.json' with { type: 'json' };

const GUIDE = [
  ['First attention', 'first-attention'],
  ['In an engine', 'in-an-engine'],
  ['Serving conversations', 'serving'],
  ['Pages, memory, what fits', 'memory'],
  ['Numerics', 'numerics'],
  ['Tiers, tuning, speed', 'speed'],
  ['From flash_attn, vLLM, FlashInfer', 'porting'],
  ['Errors', 'errors'],
  ['The kernels', 'kernels'],
] as const;

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
      { text: 'Guide', link: '/guide/first-attention' },
      { text: 'API', link: '/api/' },
    ],
    sidebar: {
      '/guide/': [{ text: 'Guide', items: GUIDE.map(([text, page]) => ({ text, link: `/guide/${page}` })) }],
      '/api/': [{ text: 'API', items: api }],
    },
    outline: [2, 3],
    search: { provider: 'local' },
  },
});
