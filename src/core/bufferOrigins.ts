const devices = new WeakMap<object, object>();

/** Remember that something belongs to a device: a buffer that pageflash has made, or what a runtime knows of its device. */
export function noteDevice(thing: object, device: object): void {
  devices.set(thing, device);
}

/** Whether two things are known to belong to different devices. WebGPU itself tells only after the work was submitted. */
export function areOfDifferentDevices(a: object, b: object): boolean {
  const [first, second] = [devices.get(a), devices.get(b)];
  return first !== undefined && second !== undefined && first !== second;
}
