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
    ['Caches of fewer bits', 'kv-formats'],
    ['Masks, biases, first keys', 'masks'],
    ['Block masks', 'block-masks'],
    ['Functions of your own', 'mods'],
    ['Positions and trees', 'speculation'],
    ['Large heads and MLA', 'large-heads'],
    ['Errors by code', 'errors'],
  ],
  Understand: [
    ['Numerics and determinism', 'numerics'],
    ['Tiers and tuning', 'tuning'],
    ['Speed', 'speed'],
    ['The kernels', 'kernels'],
  ],
} as const;

/** The folder of a server that the site is put into. */
const BASE = process.env['DOCS_BASE'] ?? '/';

export default defineConfig({
  title: 'pageflash',
  description: 'FlashAttention with a paged KV cache for WebGPU.',
  base: BASE,
  cleanUrls: false,
  srcExclude: ['node_modules/**'],
  head: [['link', { rel: 'icon', href: `${BASE}hero.svg` }]],
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
      '/api/': api.map((entry) => ({ ...entry, collapsed: false })),
    },
    outline: [2, 3],
    search: {
      provider: 'local',
      options: {
        miniSearch: {
          searchOptions: {
            // Of a page that explains and one that lists, the first is looked for more often.
            boostDocument: (id: string) => (id.startsWith('/guide/') ? 4 : 1),
          },
        },
        // Lists of where a member is inherited from are no answers.
        _render: (source, env, markdown) =>
          markdown.render(source.replaceAll(/^#+ (Inherited from|Overrides|Extends)\n\n.*\n/gm, ''), env),
      },
    },
  },
});
