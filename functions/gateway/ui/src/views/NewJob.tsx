// Upload: files and the recipe, made from what the server can do.
import { hasSize, wrong } from '../recipe';
import { useStore } from '../store';
import { able, send, uploads, wanted } from '../uploads';
import { Icon } from './Icon';

const STATES = { waits: 'waits', goes: 'sending', there: 'sent', failed: 'refused' };

function Told() {
  const all = useStore(uploads).slice(0, 5);
  return (
    <ul class="told" aria-live="polite">
      {all.map((one) => (
        <li key={one.n} class={one.state}>
          {one.job ? <a href={`#/jobs/${one.job}`}>{one.name}</a> : <span>{one.name}</span>}
          <em>{one.why ?? STATES[one.state]}</em>
        </li>
      ))}
    </ul>
  );
}

/** On a phone the jobs come first. */
const isWide = matchMedia('(min-width: 641px)').matches;

export function NewJob() {
  const can = useStore(able);
  const now = useStore(wanted);
  const choose = (event: Event) => {
    const input = event.currentTarget as HTMLInputElement;
    send([...(input.files ?? [])]);
    input.value = '';
  };
  if (!can || !now)
    return (
      <section class="panel new" aria-busy="true">
        <h2>New model</h2>
      </section>
    );
  const set = (change: Partial<typeof now>) => wanted.set({ ...now, ...change });
  const { options } = can;
  const flip = (format: string) => {
    const formats = options.formats.filter((one) => (one === format) !== now.formats.includes(one));
    set({ formats });
  };
  const value = (event: Event) => (event.currentTarget as HTMLInputElement).value;
  const nonsense = wrong(now, can);
  const kinds = can.input_types.map((one) => one.replace('image/', '')).join(', ');
  return (
    <section class="panel new" aria-labelledby="new-title">
      <h2 id="new-title">New model</h2>
      <label class="zone" for="file">
        <Icon name="up" />
        <b>Drop pictures anywhere</b>
        <span class="quiet">
          paste one, or <u>choose files</u>
        </span>
        <input id="file" type="file" accept={can.input_types.join(',')} multiple onChange={choose} />
      </label>
      <p class="quiet small">
        {kinds}, up to {(can.upload_bytes_max / 1e6).toFixed(0)} MB
        {can.matting ? '' : '; transparent or before a plain background'}
      </p>
      <Told />
      <details class="recipe" open={isWide}>
        <summary>Recipe</summary>
        <div>
          {options.engine.length > 1 && (
            <label class="field">
              <span>Engine</span>
              <select value={now.engine} onChange={(event) => set({ engine: value(event) })}>
                {options.engine.map((one) => (
                  <option key={one}>{one}</option>
                ))}
              </select>
            </label>
          )}
          <label class="field">
            <span>Quality</span>
            <select value={now.quality} onChange={(event) => set({ quality: value(event) })}>
              {options.quality.map((one) => (
                <option key={one}>{one}</option>
              ))}
            </select>
          </label>
          <label class="field">
            <span>Texture, px</span>
            <select
              value={String(now.texturePx)}
              onChange={(event) => set({ texturePx: Number(value(event)) })}
            >
              {options['texture-px'].map((one) => (
                <option key={one}>{one}</option>
              ))}
            </select>
          </label>
          <label class="field">
            <span>Printed size, mm</span>
            <input
              type="number"
              min={options['size-mm'].minimum}
              max={options['size-mm'].maximum}
              step={1}
              value={now.sizeMm}
              disabled={!hasSize(now.formats)}
              onInput={(event) => set({ sizeMm: Number(value(event)) })}
            />
          </label>
          <fieldset class="formats">
            <legend>Formats</legend>
            {options.formats.map((one) => (
              <label key={one}>
                <input type="checkbox" checked={now.formats.includes(one)} onChange={() => flip(one)} />
                <span>{one}</span>
              </label>
            ))}
          </fieldset>
        </div>
        {nonsense && (
          <p class="bad small" role="alert">
            {nonsense}
          </p>
        )}
      </details>
    </section>
  );
}
