import { readFileSync, writeFileSync } from 'node:fs';
import { format, resolveConfig } from 'prettier';
import { createNodeGpu } from '../../tools/nodeDevice.js';
import { FIGURES_FILE, formatFigures, readFigures, type Figures, type FiguresRow } from './figures.js';
import { compiledVariants, type CompiledVariant } from './variants.js';

// create [TIER]: makes a pipeline of each variant, or of those of a tier, labelled by its name, for whatever looks on.
// take FILE: reads a table of what a compiler said of these pipelines, and writes the committed one. Columns are set off
// by two spaces or more; the first is the label.

const USAGE = 'usage: npm run figures -- create [TIER] | take FILE';

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

/** Of a device with subgroup matrices: those of f16 in 16 × 16 × 16. */
const FEATURES = [
  'shader-f16',
  'subgroups',
  'subgroup-size-control',
  'chromium-experimental-subgroup-matrix',
];

/** The adapter here may have subgroups of another size: whatever looks on is told to compile for those of 32. */
const SIZE_DEMAND = /@subgroup_size\(\w+\)/;

const [command, argument] = process.argv.slice(2);
if (command === 'create')
  await createPipelines(compiledVariants().filter(({ label }) => label.startsWith(argument ?? '')));
else if (command === 'take' && argument) await takeTable(readFileSync(argument, 'utf8'));
else throw new Error(USAGE);
process.exit(0);

async function createPipelines(variants: readonly CompiledVariant[]): Promise<void> {
  const gpu = createNodeGpu();
  const adapter = await gpu.requestAdapter();
  if (!adapter) throw new Error('There is no GPU adapter. npm run setup installs one.');
  const { maxComputeWorkgroupStorageSize, maxStorageBuffersPerShaderStage } = adapter.limits;
  const device = await adapter.requestDevice({
    requiredFeatures: FEATURES as GPUFeatureName[],
    requiredLimits: { maxComputeWorkgroupStorageSize, maxStorageBuffersPerShaderStage },
  });
  for (const { label, code } of variants) {
    device.pushErrorScope('validation');
    const module = device.createShaderModule({ label, code: code.replace(SIZE_DEMAND, '') });
    device.createComputePipeline({ label, layout: 'auto', compute: { module } });
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
  const rows = compiledVariants().map((variant): FiguresRow => {
    const { label, hash } = variant;
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

function perKeyOf({ kernel, workgroupSize, tile }: CompiledVariant, { vector }: Figures): number | undefined {
  if (!tile) return undefined;
  return (vector * workgroupSize) / (tile.keys * (kernel === 'attn_decode' ? 1 : tile.rows));
}

function summary(row: FiguresRow | undefined): string {
  if (!row) return 'none';
  const { registers, spills, waves, instructions, cost } = row.figures;
  return `${registers} registers, ${spills} spills, ${waves} waves, ${instructions} instructions, cost ${cost}`;
}
