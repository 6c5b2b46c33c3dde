// Values that components watch. Changes of one frame are drawn once.
import { useEffect, useState } from 'preact/hooks';

export class Store<T> {
  private watchers = new Set<() => void>();
  private isPlanned = false;

  constructor(private value: T) {}

  get(): T {
    return this.value;
  }

  set(value: T): void {
    if (value === this.value) return;
    this.value = value;
    if (this.isPlanned) return;
    this.isPlanned = true;
    const tell = () => {
      this.isPlanned = false;
      this.watchers.forEach((watcher) => watcher());
    };
    // A hidden page has no frames, and must not fall behind for ever.
    if (document.hidden) setTimeout(tell, 100);
    else requestAnimationFrame(tell);
  }

  watch(act: () => void): () => void {
    this.watchers.add(act);
    return () => this.watchers.delete(act);
  }
}

export function useStore<T>(store: Store<T>): T {
  const [, again] = useState(0);
  useEffect(() => store.watch(() => again((n) => n + 1)), [store]);
  return store.get();
}

/**
 * Asks now and then, while the page is seen. `null` while nothing is known, or the server has no such
 * thing.
 */
export function usePolled<T>(
  ask: (signal: AbortSignal) => Promise<T | null>,
  everyMs: number,
  deps: unknown[],
): {
  value: T | null;
  error: string | null;
  isAsked: boolean;
} {
  const [state, setState] = useState<{ value: T | null; error: string | null; isAsked: boolean }>({
    value: null,
    error: null,
    isAsked: false,
  });
  useEffect(() => {
    const end = new AbortController();
    let timer = 0;
    const turn = async () => {
      if (!document.hidden) {
        try {
          const value = await ask(end.signal);
          if (!end.signal.aborted) setState({ value, error: null, isAsked: true });
        } catch (error) {
          if (!end.signal.aborted)
            setState((was) => ({ ...was, error: (error as Error).message, isAsked: true }));
        }
      }
      if (!end.signal.aborted && everyMs > 0) timer = window.setTimeout(turn, everyMs);
    };
    turn();
    return () => {
      end.abort();
      clearTimeout(timer);
    };
  }, deps);
  return state;
}
