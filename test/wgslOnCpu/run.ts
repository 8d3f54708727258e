import { compile, type ModuleVariable } from './compile.js';
import { Accesses, Memory } from './memory.js';
import { sizeOf } from './types.js';

/** A kernel as WebGPU gets it, and what it is bound to. */
export interface KernelRun {
  readonly code: string;
  readonly entryPoint: string;
  readonly constants?: Readonly<Record<string, number>>;
  readonly grid: readonly [number, number, number];
  /** Runs the last invocation of a workgroup first. Atomics do not race, but what they give may depend on it. */
  readonly isReversed?: boolean;
  /** What a variable is bound to. Storage is written in place. */
  bytesOf(variable: ModuleVariable): ArrayBuffer;
}

/**
 * Runs a kernel on the CPU, one workgroup after another and of each every invocation to its next barrier. Barriers order
 * accesses to workgroup memory; nothing orders those to storage.
 *
 * @returns a sentence for every word that invocations race for
 * @throws RangeError where memory is accessed that is not there
 * @throws SyntaxError for WGSL that is wrong, or not known here
 */
export function run({
  code,
  entryPoint,
  constants,
  grid,
  isReversed = false,
  bytesOf,
}: KernelRun): readonly string[] {
  const program = compile(code, entryPoint, constants);
  const { variables, nInvocations } = program;
  const storage = new Accesses();
  const bound: Record<string, Memory> = {};
  for (const variable of variables) {
    if (variable.space === 'workgroup') continue;
    const accesses = variable.space === 'storage' ? storage : undefined;
    bound[variable.name] = new Memory(variable.name, bytesOf(variable), accesses);
  }
  const races = new Set<string>();
  const [width, height, depth] = grid;
  for (let index = 0; index < width * height * depth; index++) {
    const id = [index % width, Math.floor(index / width) % height, Math.floor(index / width / height)];
    const shared = new Accesses();
    const own = { ...bound };
    for (const { name, space, type } of variables)
      if (space === 'workgroup') own[name] = new Memory(name, new ArrayBuffer(sizeOf(type)), shared);
    const invocations = Array.from({ length: nInvocations }, (_, i) => {
      const local = isReversed ? nInvocations - 1 - i : i;
      const steps = program.start(own, {
        workgroup_id: id,
        num_workgroups: grid,
        local_invocation_index: local,
        local_invocation_id: [local, 0, 0],
        global_invocation_id: [id[0]! * nInvocations + local, id[1]!, id[2]!],
      });
      return { local, steps };
    });
    for (let isDone = false; !isDone;) {
      const stops = invocations.map(({ local, steps }) => {
        storage.currentInvocation = index * nInvocations + local;
        shared.currentInvocation = local;
        const { done, value } = steps.next();
        return done ? null : value;
      });
      if (stops.some((stop) => stop !== stops[0])) throw new Error('Not all invocations reach a barrier.');
      isDone = stops[0] === null;
      for (const race of shared.takeRaces()) races.add(race);
    }
  }
  return [...races, ...storage.takeRaces()];
}
