import { readFileSync, writeFileSync } from 'node:fs';
import { format, resolveConfig } from 'prettier';
import { createNodeGpu } from '../../tools/nodeDevice.js';
import { FIGURES_FILE, formatFigures, readFigures, type Figures, type FiguresRow } from './figures.js';
import { compiledVariants, type CompiledVariant } from './variants.js';

// create: makes a pipeline of each variant, labelled by its name, for whatever looks on.
// take FILE: reads a table of what a compiler said of these pipelines, and writes the committed one. Columns are set off
// by two spaces or more; the first is the label.

const USAGE = 'usage: npm run figures -- create | take FILE';

/** The headings that the given table has for figures. */
const NAMES: Readonly<Record<keyof Figures, string>> = {
  registers: 'VGPRs',
  spills: 'spills',
  scratch: 'scratch',
  workgroupBytes: 'LDS',
  waves: 'waves',
  instructions: 'instr',
  vector: 'VALU',
  memory: 'VMEM',
  cost: 'inv.thr.',
};

const [command, file] = process.argv.slice(2);
if (command === 'create') await createPipelines(compiledVariants());
else if (command === 'take' && file) await takeTable(readFileSync(file, 'utf8'));
else throw new Error(USAGE);
process.exit(0);

async function createPipelines(variants: readonly CompiledVariant[]): Promise<void> {
  const gpu = createNodeGpu();
  const adapter = await gpu.requestAdapter();
  if (!adapter) throw new Error('There is no GPU adapter. npm run setup installs one.');
  const { maxComputeWorkgroupStorageSize, maxStorageBuffersPerShaderStage } = adapter.limits;
  const device = await adapter.requestDevice({
    requiredFeatures: ['shader-f16', 'subgroups'],
    requiredLimits: { maxComputeWorkgroupStorageSize, maxStorageBuffersPerShaderStage },
  });
  for (const { label, variant } of variants) {
    device.pushErrorScope('validation');
    const module = device.createShaderModule({ label, code: variant.code });
    device.createComputePipeline({
      label,
      layout: 'auto',
      compute: { module, entryPoint: variant.entryPoint },
    });
    const error = await device.popErrorScope();
    if (error) throw new Error(`${label}: ${error.message}`);
  }
}

/** Writes the committed table, and prints the rows that have changed. */
async function takeTable(text: string): Promise<void> {
  const [header, ...lines] = text
    .trim()
    .split('\n')
    .map((line) => line.trim().split(/ {2,}/));
  const cellsOf = new Map(lines.map((line) => [line[0]!, line]));
  const before = new Map(readFigures().map((row) => [row.label, row]));
  const rows = compiledVariants().map(({ label, variant, hash }): FiguresRow => {
    const cells = cellsOf.get(label);
    if (!cells) throw new Error(`The table lacks ${label}. Make it of the pipelines that create makes.`);
    const figures = Object.fromEntries(
      Object.entries(NAMES).map(([name, column]) => [name, Number(cells[header!.indexOf(column)])]),
    ) as unknown as Figures;
    if (Object.values(figures).some(Number.isNaN)) throw new Error(`The table lacks figures of ${label}.`);
    const row = { label, hash, figures, perKey: perKeyOf(variant, figures) };
    const old = before.get(label);
    if (old?.hash !== hash) console.log(`${label}: ${summary(old)} → ${summary(row)}`);
    return row;
  });
  const options = await resolveConfig(FIGURES_FILE);
  writeFileSync(FIGURES_FILE, await format(formatFigures(rows), { ...options, parser: 'markdown' }));
}

function perKeyOf(
  { kernel, workgroupSize, tile }: CompiledVariant['variant'],
  { vector }: Figures,
): number | undefined {
  if (!tile) return undefined;
  return (vector * workgroupSize) / (tile.keys * (kernel === 'attn_prefill' ? tile.rows : 1));
}

function summary(row: FiguresRow | undefined): string {
  if (!row) return 'none';
  const { registers, spills, waves, instructions, cost } = row.figures;
  return `${registers} registers, ${spills} spills, ${waves} waves, ${instructions} instructions, cost ${cost}`;
}
