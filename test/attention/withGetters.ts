/** An object that has nothing of its own, but each name as a getter of its prototype, as instances of classes have. */
export function withGetters<T extends object>(fields: T): T {
  const prototype = {};
  for (const name of Object.keys(fields))
    Object.defineProperty(prototype, name, { get: () => fields[name as keyof T] });
  return Object.create(prototype) as T;
}
