// The frame of the viewer: loads it and the file when they are wanted, and turns the model by keys.
import { useEffect, useRef, useState } from 'preact/hooks';
import { call } from '../api';
import type { Look, Viewer } from '../viewer';
import { Icon } from './Icon';

const LOOKS: Look[] = ['textured', 'clay', 'wireframe'];
const STEP = 0.15;
const TURNS: Record<string, [number, number, number]> = {
  ArrowLeft: [-STEP, 0, 1],
  ArrowRight: [STEP, 0, 1],
  ArrowUp: [0, STEP, 1],
  ArrowDown: [0, -STEP, 1],
  '+': [0, 0, 0.9],
  '=': [0, 0, 0.9],
  '-': [0, 0, 1.1],
};

export function Model({ url, name }: { url: string; name: string }) {
  const canvas = useRef<HTMLCanvasElement>(null);
  const viewer = useRef<Viewer | null>(null);
  const [look, setLook] = useState<Look>('textured');
  const [state, setState] = useState<'loads' | 'there' | string>('loads');
  const [triangles, setTriangles] = useState(0);
  useEffect(() => {
    const end = new AbortController();
    const open = async () => {
      const [{ view }, data] = await Promise.all([
        import('../viewer'),
        call(url, { signal: end.signal }).then((response) => response.arrayBuffer()),
      ]);
      if (end.signal.aborted || !canvas.current) return;
      const made = await view(canvas.current, data);
      if (end.signal.aborted) {
        made.dispose();
        return;
      }
      viewer.current = made;
      setTriangles(made.triangles);
      setState('there');
    };
    open().catch((error: Error) => {
      if (!end.signal.aborted) setState(`The model cannot be shown: ${error.message}`);
    });
    return () => {
      end.abort();
      viewer.current?.dispose();
      viewer.current = null;
    };
  }, [url]);
  const press = (event: KeyboardEvent) => {
    const turn = TURNS[event.key];
    if (!turn || event.ctrlKey || event.metaKey) return;
    event.preventDefault();
    event.stopPropagation();
    viewer.current?.turn(...turn);
  };
  const choose = (next: Look) => {
    setLook(next);
    viewer.current?.look(next);
  };
  return (
    <figure class="model" data-state={state === 'there' ? 'there' : undefined}>
      <canvas
        ref={canvas}
        tabIndex={0}
        role="application"
        onKeyDown={press}
        aria-label={`Model of ${name}: drag or use the arrow keys to turn it, plus and minus to zoom`}
      />
      {state !== 'there' && <p class="over quiet">{state === 'loads' ? 'Loading the model …' : state}</p>}
      <figcaption>
        <div class="segments" role="group" aria-label="Look">
          {LOOKS.map((one) => (
            <button key={one} type="button" aria-pressed={one === look} onClick={() => choose(one)}>
              {one}
            </button>
          ))}
        </div>
        <span class="quiet">{triangles > 0 && `${triangles.toLocaleString('en')} triangles`}</span>
        <button
          class="icon"
          type="button"
          title="As at first"
          aria-label="Turn the model as at first"
          onClick={() => viewer.current?.reset()}
        >
          <Icon name="turn" />
        </button>
      </figcaption>
    </figure>
  );
}
