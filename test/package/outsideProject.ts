import { execFile } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { promisify } from 'node:util';
import { nodeCommand, type UnpackedMesa } from '../platforms/hosts.js';

const run = promisify(execFile);

/** An empty project, outside of the repository, with the package installed from its tarball. */
export class OutsideProject {
  readonly dir: string;
  readonly #mesa: UnpackedMesa | undefined;

  /** Use `createOutsideProject`. */
  constructor(dir: string, mesa?: UnpackedMesa) {
    this.dir = dir;
    this.#mesa = mesa;
  }

  write(name: string, text: string): void {
    writeFileSync(join(this.dir, name), text);
  }

  /** Put a development dependency of this repository beside the package. */
  add(name: string): void {
    const link = join(this.dir, 'node_modules', name);
    mkdirSync(dirname(link), { recursive: true });
    symlinkSync(resolve('node_modules', name), link, 'junction');
  }

  /** What a Node program in the project prints. It fails if the program does. */
  async node(program: string, ...args: readonly string[]): Promise<string> {
    const command = nodeCommand([program, ...args], this.#mesa);
    try {
      const { stdout } = await run(command.command, command.args, { cwd: this.dir, env: command.env });
      return stdout;
    } catch (error) {
      const { stdout, stderr, code } = error as { stdout: string; stderr: string; code: unknown };
      throw new Error(`${program} ended with ${String(code)}:\n${stdout}${stderr}`, { cause: error });
    }
  }

  remove(): void {
    rmSync(this.dir, { recursive: true, force: true });
  }
}

/**
 * Pack the built package and install the tarball, without a network: nothing else is needed at run time.
 *
 * @param mesa the driver for its Node programs; default the machine's
 */
export async function createOutsideProject(mesa?: UnpackedMesa): Promise<OutsideProject> {
  const project = new OutsideProject(mkdtempSync(join(tmpdir(), 'pageflash-outside-')), mesa);
  project.write('package.json', JSON.stringify({ private: true, type: 'module' }));
  const npm = (...args: readonly string[]) => run('npm', args, { shell: process.platform === 'win32' });
  const { stdout } = await npm('pack', '--json', '--ignore-scripts', '--pack-destination', project.dir);
  const [{ filename }] = JSON.parse(stdout) as [{ filename: string }];
  await npm('install', '--prefix', project.dir, '--offline', '--no-audit', join(project.dir, filename));
  return project;
}
