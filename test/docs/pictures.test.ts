import { resolve } from 'node:path';
import { expect, test } from 'vitest';
import { PICTURES } from './pictures.js';

// After a change of tiles, plans or drawings: look at what `npx vitest run --project unit test/docs/pictures.test.ts -u` writes.
test.each(Object.keys(PICTURES))('the picture %s shows what is computed today', async (name) => {
  await expect(PICTURES[name]!()).toMatchFileSnapshot(resolve(`docs/${name}.svg`));
});
