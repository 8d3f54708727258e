// node scripts/runTs.mjs bench/cli/kvAccuracy.ts: what the formats of a KV cache lose, as a table for the guide.
import { threeDigits } from '../../tools/format.js';
import { KEYS, kvErrors, STORAGES } from '../cases/kvAccuracy.js';

const errors = kvErrors();
const cell = (keys: string, storage: string): string => {
  const { relative, worst } = errors.find((error) => error.keys === keys && error.storage === storage)!;
  return `${threeDigits(100 * relative)} % (${threeDigits(worst)})`;
};
console.log(`| cache | ${KEYS.join(' | ')} |\n| --- | ${KEYS.map(() => '---').join(' | ')} |`);
for (const storage of STORAGES)
  console.log(`| ${storage} | ${KEYS.map((keys) => cell(keys, storage)).join(' | ')} |`);
