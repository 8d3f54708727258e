import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, onTestFinished, test } from 'vitest';
import { folderFiles } from '../../demo/engine/files/folderFiles.js';
import { Checkpoint, type StoredRows, type StoredTensor } from '../../demo/engine/files/safetensors.js';
import { fileOf, MemoryFiles, safetensorsBytes, type MadeTensor } from './memoryFiles.js';

/** A tensor of bytes that count up. */
function counting(dtype: string, shape: readonly number[], bytesPerElement: number): MadeTensor {
  const length = shape.reduce((product, n) => product * n, bytesPerElement);
  return { dtype, shape, bytes: Uint8Array.from({ length }, (_, i) => i) };
}

const tensors = {
  matrix: counting('F16', [5, 3], 2),
  vector: counting('BF16', [7], 2),
  scalar: counting('F32', [], 4),
  empty: counting('F32', [0, 4], 4),
  ids: counting('I64', [2], 8),
};
const whole = { 'model.safetensors': safetensorsBytes(tensors) };

async function piecesOf(tensor: StoredTensor, maxBytes: number): Promise<StoredRows[]> {
  const pieces: StoredRows[] = [];
  for await (const piece of tensor.rows(maxBytes)) pieces.push(piece);
  return pieces;
}

describe('a checkpoint', () => {
  test.each([
    { maxBytes: 1, firstRows: [0, 1, 2, 3, 4], why: 'a row that is longer than a piece' },
    { maxBytes: 13, firstRows: [0, 2, 4], why: 'two whole rows of 6 bytes, and a rest' },
    { maxBytes: 1000, firstRows: [0], why: 'all at once' },
  ])('gives a matrix by rows: $why', async ({ maxBytes, firstRows }) => {
    const checkpoint = await Checkpoint.open(new MemoryFiles(whole));
    const matrix = checkpoint.tensor('matrix');
    expect(matrix).toMatchObject({ dtype: 'f16', shape: [5, 3], bytes: 30 });
    const pieces = await piecesOf(matrix, maxBytes);
    expect(pieces.map(({ firstRow }) => firstRow)).toEqual(firstRows);
    expect(pieces.flatMap(({ bytes }) => [...bytes])).toEqual([...tensors.matrix.bytes]);
  });

  test('gives a vector and a scalar in one piece, and nothing of an empty tensor', async () => {
    const checkpoint = await Checkpoint.open(new MemoryFiles(whole));
    for (const name of ['vector', 'scalar'] as const) {
      const pieces = await piecesOf(checkpoint.tensor(name), 1);
      expect(pieces).toEqual([{ firstRow: 0, bytes: tensors[name].bytes }]);
    }
    expect(await piecesOf(checkpoint.tensor('empty'), 1)).toEqual([]);
  });

  test('reads one piece ahead, and no more', async () => {
    const files = new MemoryFiles(whole);
    const checkpoint = await Checkpoint.open(files);
    files.reads.length = 0;
    for await (const { firstRow } of checkpoint.tensor('matrix').rows(6)) {
      expect(files.reads.length).toBe(Math.min(firstRow + 2, 5));
      if (firstRow === 1) break;
    }
    expect(files.reads.length).toBe(3);
  });

  test('lies in several files with an index', async () => {
    const files = new MemoryFiles({
      'model.safetensors.index.json': {
        metadata: { total_size: 44 },
        weight_map: { matrix: 'a-1-of-2.safetensors', vector: 'a-2-of-2.safetensors' },
      },
      'a-1-of-2.safetensors': safetensorsBytes({ matrix: tensors.matrix }),
      'a-2-of-2.safetensors': safetensorsBytes({ other: tensors.scalar, vector: tensors.vector }),
    });
    const checkpoint = await Checkpoint.open(files);
    expect(checkpoint.tensorNames).toEqual(['matrix', 'vector']);
    expect(await piecesOf(checkpoint.tensor('vector'), 100)).toEqual([
      { firstRow: 0, bytes: tensors.vector.bytes },
    ]);
  });

  test('gives the same from a folder', async () => {
    const folder = await mkdtemp(join(tmpdir(), 'pageflash-'));
    onTestFinished(() => rm(folder, { recursive: true }));
    await writeFile(join(folder, 'model.safetensors'), whole['model.safetensors']);
    const files = await folderFiles(folder);
    const checkpoint = await Checkpoint.open(files);
    const pieces = await piecesOf(checkpoint.tensor('matrix'), 13);
    expect(pieces.flatMap(({ bytes }) => [...bytes])).toEqual([...tensors.matrix.bytes]);
    expect(await files.text('config.json')).toBeUndefined();
    expect(await files.size('config.json')).toBeUndefined();
    await expect(files.read('model.safetensors', 0, 10_000)).rejects.toThrow(/ends before byte 10000/);
    await expect(folderFiles(join(folder, 'none'))).rejects.toThrow(/^There is no folder .*none\.$/);
    await expect(folderFiles(join(folder, 'model.safetensors'))).rejects.toThrow(/is a file, not the folder/);
  });
});

/** The header of one tensor of f32. */
const headerOf = (fields: object): string =>
  JSON.stringify({ x: { dtype: 'F32', shape: [2], data_offsets: [0, 8], ...fields } });
const eight = new Uint8Array(8);

describe('what is wrong is refused', () => {
  test.each([
    { why: 'no weights', files: {} },
    { why: 'too short', files: { 'model.safetensors': new Uint8Array(7) } },
    { why: 'no safetensors', files: { 'model.safetensors': '<!doctype html><title>404</title>' } },
    {
      why: 'a pointer',
      files: { 'model.safetensors': 'version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 9\n' },
    },
    { why: 'a header that is no JSON', files: { 'model.safetensors': fileOf('{') } },
    { why: 'a header that is a list', files: { 'model.safetensors': fileOf('[]') } },
    { why: 'a file cut short', files: { 'model.safetensors': fileOf(headerOf({}), new Uint8Array(7)) } },
    { why: 'no dtype', files: { 'model.safetensors': fileOf(headerOf({ dtype: 1 }), eight) } },
    { why: 'a length below 0', files: { 'model.safetensors': fileOf(headerOf({ shape: [-2] }), eight) } },
    {
      why: 'offsets the other way round',
      files: { 'model.safetensors': fileOf(headerOf({ data_offsets: [8, 0] }), eight) },
    },
    {
      why: 'a shape of other bytes',
      files: { 'model.safetensors': fileOf(headerOf({ shape: [3] }), eight) },
    },
    { why: 'an index without a map', files: { 'model.safetensors.index.json': {} } },
    {
      why: 'a file elsewhere',
      files: { 'model.safetensors.index.json': { weight_map: { x: '../x.safetensors' } } },
    },
    {
      why: 'a shard that is not there',
      files: { 'model.safetensors.index.json': { weight_map: { x: 'x.safetensors' } } },
    },
    {
      why: 'a shard without the tensor',
      files: {
        'model.safetensors.index.json': { weight_map: { y: 'x.safetensors' } },
        'x.safetensors': fileOf(headerOf({}), eight),
      },
    },
    { why: 'an index that is no JSON', files: { 'model.safetensors.index.json': '{' } },
  ])('$why', async ({ files }) => {
    const message = await Checkpoint.open(new MemoryFiles(files)).then(
      () => 'was accepted',
      (error: Error) => `${error.name}: ${error.message}`,
    );
    expect(message).toMatchSnapshot();
  });

  test('a tensor that is missing, or of another type', async () => {
    const checkpoint = await Checkpoint.open(new MemoryFiles(whole));
    expect(() => checkpoint.tensor('x')).toThrowErrorMatchingInlineSnapshot(
      `[EngineError: The weights of test/model have no x.]`,
    );
    expect(() => checkpoint.tensor('ids')).toThrowErrorMatchingInlineSnapshot(
      `[EngineError: ids of test/model is stored as I64; weights are read as F32, F16 or BF16. Take a version of the model that is not quantised.]`,
    );
  });
});
