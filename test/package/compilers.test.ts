import { afterAll, beforeAll, describe } from 'vitest';
import { createOutsideProject, type OutsideProject } from './outsideProject.js';
import { testStrictTypes, type Compiler } from './strictTypes.js';

let project: OutsideProject;
beforeAll(async () => {
  project = await createOutsideProject();
  project.add('@webgpu/types');
  project.add('webgpu');
});
afterAll(() => project.remove());

/** TypeScript as people have it; the newest one is asked in package.test.ts. */
const COMPILERS: readonly Compiler[] = [
  { compiler: 'typescript-5.9', types: ['@webgpu/types'] },
  { compiler: 'typescript', types: [] },
];

describe.each(COMPILERS)('as strict TypeScript, by $compiler', (compiler) => {
  testStrictTypes(compiler, () => project);
});
