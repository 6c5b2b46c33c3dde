// Upload: files and the recipe, made from what the server can do.
import { type Wanted, fitsEngine, fitsFormats, label, list, say, usual, value, wrong } from '../recipe';
import type { Capabilities, RecipeOption } from '../shapes';
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

function Field({ option, now, can }: { option: RecipeOption; now: Wanted; can: Capabilities }) {
  const set = (text: string) => wanted.set(say(now, option, text));
  const words = option.words ?? [];
  if (option.takes === 'words') {
    const chosen = list(value(option, now));
    const flip = (word: string) =>
      set(words.filter((one) => (one === word) !== chosen.includes(one)).join(','));
    return (
      <fieldset class="formats" title={option.what}>
        <legend>{label(option)}</legend>
        {words.map((one) => (
          <label key={one}>
            <input type="checkbox" checked={chosen.includes(one)} onChange={() => flip(one)} />
            <span>{one}</span>
          </label>
        ))}
      </fieldset>
    );
  }
  const text = (event: Event) => (event.currentTarget as HTMLInputElement).value;
  return (
    <label class="field" title={option.what}>
      <span>{label(option)}</span>
      {option.takes === 'word' ? (
        <select value={value(option, now)} onChange={(event) => set(text(event))}>
          {usual(option, now) === '' && <option value="">by the picture</option>}
          {words.map((one) => (
            <option key={one}>{one}</option>
          ))}
        </select>
      ) : (
        <input
          type="number"
          min={option.minimum}
          max={option.maximum}
          step={option.step}
          value={now[option.name] ?? ''}
          placeholder={usual(option, now)}
          disabled={!fitsFormats(option, now, can)}
          onInput={(event) => set(text(event))}
        />
      )}
    </label>
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
  if (!can)
    return (
      <section class="panel new" aria-busy="true">
        <h2>New model</h2>
      </section>
    );
  const fields = can.recipe.filter((one) => fitsEngine(one, now, can));
  const field = (option: RecipeOption) => <Field key={option.name} option={option} now={now} can={can} />;
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
        <div>{fields.filter((one) => !one.rare).map(field)}</div>
        <details class="rare">
          <summary>More</summary>
          <div>{fields.filter((one) => one.rare).map(field)}</div>
        </details>
        {nonsense && (
          <p class="bad small" role="alert">
            {nonsense}
          </p>
        )}
      </details>
    </section>
  );
}
