import { execFile } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { delimiter, dirname, join, resolve } from 'node:path';
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
    const file = join(this.dir, name);
    mkdirSync(dirname(file), { recursive: true });
    writeFileSync(file, text);
  }

  /**
   * Put a package that is installed elsewhere beside ours, with its commands.
   *
   * @param packages where it is installed; default among the development dependencies of this repository
   */
  add(name: string, packages = 'node_modules'): void {
    const target = resolve(packages, name);
    this.#link(name, target);
    const { bin = {} } = JSON.parse(readFileSync(join(target, 'package.json'), 'utf8')) as Manifest;
    const commands = typeof bin === 'string' ? { [name]: bin } : bin;
    for (const [command, file] of Object.entries(commands)) this.#link(`.bin/${command}`, join(target, file));
  }

  #link(name: string, target: string): void {
    const link = join(this.dir, 'node_modules', name);
    mkdirSync(dirname(link), { recursive: true });
    symlinkSync(target, link, 'junction');
  }

  /**
   * What a command prints that is run in the project's folder. It fails if the command does.
   *
   * @param programs a folder where a shell looks for programs first
   */
  async command(line: string, programs?: string): Promise<string> {
    const path = [...(programs ? [programs] : []), process.env['PATH']].join(delimiter);
    const child = run(line, { cwd: this.dir, shell: true, env: { ...process.env, PATH: path } });
    return printed(line, child);
  }

  /** What a Node program in the project prints. It fails if the program does. */
  async node(program: string, ...args: readonly string[]): Promise<string> {
    const command = nodeCommand([program, ...args], this.#mesa);
    return printed(program, run(command.command, command.args, { cwd: this.dir, env: command.env }));
  }

  remove(): void {
    rmSync(this.dir, { recursive: true, force: true });
  }
}

async function printed(name: string, child: Promise<{ readonly stdout: string }>): Promise<string> {
  try {
    const { stdout } = await child;
    return stdout;
  } catch (error) {
    const { stdout, stderr, code } = error as { stdout: string; stderr: string; code: unknown };
    throw new Error(`${name} ended with ${String(code)}:\n${stdout}${stderr}`, { cause: error });
  }
}

/** What a package says of its commands: one of its own name, or several. */
interface Manifest {
  readonly bin?: string | Readonly<Record<string, string>>;
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
