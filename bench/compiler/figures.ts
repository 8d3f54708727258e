import { readFileSync } from 'node:fs';

/** What the compiler for a GPU says of a variant. */
export interface Figures {
  /** Vector registers of an invocation. */
  readonly registers: number;
  /** Registers that did not fit, and bytes of memory for them and for arrays that cannot be in registers. */
  readonly spills: number;
  readonly scratch: number;
  /** Bytes of workgroup memory. */
  readonly workgroupBytes: number;
  /** Subgroups that a SIMD unit can hold at once: while one waits for a load, others compute. */
  readonly waves: number;
  /** Instructions, those of them on vectors, and loads and stores; a loop counts once. */
  readonly instructions: number;
  readonly vector: number;
  readonly memory: number;
  /** The compiler's estimate of cycles. */
  readonly cost: number;
}

/** A row of the table. */
export interface FiguresRow {
  readonly label: string;
  readonly hash: string;
  readonly figures: Figures;
  /** Vector instructions of a workgroup for each key of a tile, and in attn_prefill for each of its rows too. */
  readonly perKey: number | undefined;
}

/** The committed table. */
export const FIGURES_FILE = 'bench/compiler/rdna3.md';

/** The headings of the columns. */
const COLUMNS: Readonly<Record<keyof Figures, string>> = {
  registers: 'registers',
  spills: 'spills',
  scratch: 'scratch',
  workgroupBytes: 'workgroup memory',
  waves: 'waves',
  instructions: 'instructions',
  vector: 'vector',
  memory: 'memory',
  cost: 'cost',
};
const NAMES = Object.keys(COLUMNS) as (keyof Figures)[];

const HEAD = `# The kernels as compiled for RDNA3

What the compiler of Mesa's driver for AMD RDNA3 (navi31) makes of each kernel, tier and head size. The same WGSL always gives the same figures, so they show what a change does where there is no GPU; \`npm test\` fails when the WGSL of a variant is not that of its figures. How to make new ones: [the benchmark's README](../README.md).

Waves are subgroups that a SIMD unit holds at once. Vector and memory instructions are among the instructions, which count once in a loop. Cost is the compiler's estimate of cycles. Per key: vector instructions of all invocations of a workgroup for each key of a tile, in attn_prefill for each key and row. Workgroup memory is in bytes.
`;

/** Returns the table as Markdown. */
export function formatFigures(rows: readonly FiguresRow[]): string {
  const header = ['variant', ...Object.values(COLUMNS), 'per key', 'wgsl'];
  const cells = rows.map(({ label, hash, figures, perKey }) => [
    label,
    ...NAMES.map((name) => String(figures[name])),
    perKey?.toFixed(1) ?? '',
    hash,
  ]);
  const rule = header.map((_, i) => (i === 0 || i === header.length - 1 ? '---' : '--:'));
  const lines = [header, rule, ...cells].map((line) => `| ${line.join(' | ')} |`);
  return `${HEAD}\n${lines.join('\n')}\n`;
}

/** Reads the committed table. */
export function readFigures(file = FIGURES_FILE): FiguresRow[] {
  const lines = readFileSync(file, 'utf8')
    .split('\n')
    .filter((line) => line.startsWith('|'));
  return lines.slice(2).map((line) => {
    const [label, ...cells] = line
      .split('|')
      .slice(1, -1)
      .map((cell) => cell.trim());
    const figures = Object.fromEntries(NAMES.map((name, i) => [name, Number(cells[i])]));
    const [perKey, hash] = cells.slice(NAMES.length);
    return {
      label: label!,
      hash: hash!,
      figures: figures as unknown as Figures,
      perKey: perKey ? Number(perKey) : undefined,
    };
  });
}
