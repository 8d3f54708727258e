import * as fc from 'fast-check';
import { engineEvent, engineOptions, type EngineEvent } from './engineEvents.js';
import { FakeEngine } from './fakeEngine.js';
import { managerOperation, pagingOptions } from './managerOperations.js';
import { allocatorOperation, ModelledAllocator } from './modelledAllocator.js';
import { ModelledManager } from './modelledManager.js';
import type { FakeEngineOptions } from './pagingModel.js';

export interface FuzzArgs {
  /** Random lists of operations, each on an allocator, manager or engine of its own. */
  readonly nRuns: number;
  readonly seed: number;
}

/** Random operations on allocators. Returns how many there were. An error has a short list that fails. */
export function fuzzAllocator({ nRuns, seed }: FuzzArgs): number {
  let nOperations = 0;
  const pool = fc.record({
    nPages: fc.integer({ min: 1, max: 14 }),
    pageSize: fc.integer({ min: 1, max: 4 }),
  });
  const property = fc.property(pool, listOf(allocatorOperation, 120), (options, operations) => {
    nOperations += operations.length;
    const allocator = new ModelledAllocator(options);
    for (const operation of operations) allocator.run(operation);
    allocator.end();
  });
  fc.assert(property, { numRuns: nRuns, seed });
  return nOperations;
}

/** Random operations on page managers, likewise. */
export function fuzzManager({ nRuns, seed }: FuzzArgs): number {
  let nOperations = 0;
  const property = fc.property(pagingOptions, listOf(managerOperation, 120), (options, operations) => {
    nOperations += operations.length;
    const manager = new ModelledManager(options);
    for (const operation of operations) manager.run(operation);
    manager.end();
  });
  fc.assert(property, { numRuns: nRuns, seed });
  return nOperations;
}

/** Random users of engines around a planner, likewise. Returns how many events and steps there were. */
export function fuzzPlanner({ nRuns, seed }: FuzzArgs): number {
  let nEvents = 0;
  const property = fc.property(engineOptions, listOf(engineEvent, 60), (options, events) => {
    nEvents += events.reduce((sum, event) => sum + (event.type === 'steps' ? event.n : 1), 0);
    replayEngine(options, events);
  });
  fc.assert(property, { numRuns: nRuns, seed });
  return nEvents;
}

/** Runs one engine until its last sequence ends. */
export function replayEngine(options: FakeEngineOptions, events: readonly EngineEvent[]): void {
  const engine = new FakeEngine(options);
  for (const event of events) engine.run(event);
  engine.end();
}

function listOf<T>(item: fc.Arbitrary<T>, maxLength: number): fc.Arbitrary<T[]> {
  return fc.array(item, { maxLength, size: 'max' });
}
