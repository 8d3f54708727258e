import type { RefObject } from 'preact';
import { useEffect, useRef } from 'preact/hooks';

export interface Drawing {
  readonly context: CanvasRenderingContext2D;
  /** Of the canvas, in the pixels of a page. */
  readonly width: number;
  /** A colour of the page, by the name of its variable. */
  readonly color: (name: string) => string;
}

/** Clears a canvas that is as wide as its place and `height` pixels of the page high, for as many pixels as a screen has. */
export function beginDrawing(canvas: HTMLCanvasElement, height: number): Drawing {
  const ratio = devicePixelRatio;
  const width = canvas.clientWidth;
  const pixels = { width: Math.round(width * ratio), height: Math.round(height * ratio) };
  if (canvas.width !== pixels.width || canvas.height !== pixels.height) {
    Object.assign(canvas, pixels);
    canvas.style.height = `${height}px`;
  }
  const context = canvas.getContext('2d')!;
  context.setTransform(ratio, 0, 0, ratio, 0, 0);
  context.clearRect(0, 0, width, height);
  const style = getComputedStyle(canvas);
  return { context, width, color: (name) => style.getPropertyValue(name).trim() };
}

export interface DrawnCanvas {
  readonly canvas: RefObject<HTMLCanvasElement | null>;
  /** Draws what is to be seen now. */
  readonly redraw: () => void;
}

/** A canvas that is drawn whenever its component is, and when its size or the page's colours change. */
export function useDrawnCanvas(draw: (canvas: HTMLCanvasElement) => void): DrawnCanvas {
  const canvas = useRef<HTMLCanvasElement>(null);
  const latest = useRef(draw);
  latest.current = draw;
  const redraw = useRef(() => {
    if (canvas.current) latest.current(canvas.current);
  }).current;
  useEffect(redraw);
  useEffect(() => {
    const scheme = matchMedia('(prefers-color-scheme: dark)');
    const observer = new ResizeObserver(redraw);
    scheme.addEventListener('change', redraw);
    observer.observe(canvas.current!);
    return () => {
      scheme.removeEventListener('change', redraw);
      observer.disconnect();
    };
  }, []);
  return { canvas, redraw };
}
