// What the form of a new job says, as far as it has a meaning. Pure.
import type { Capabilities, RecipeOption } from './shapes';

/** What was said of options, as a call says it. An option that nobody touched is not in it. */
export type Wanted = Readonly<Record<string, string>>;

const UNITS: Record<string, string> = { mm: 'mm', px: 'px', percent: '%' };

/** The name of a field: `size-mm` is "Size, mm". */
export function label({ name }: RecipeOption): string {
  const words = name.split('-');
  const unit = UNITS[words.at(-1) ?? ''];
  const text = (unit ? words.slice(0, -1) : words).join(' ');
  return text.charAt(0).toUpperCase() + text.slice(1) + (unit ? `, ${unit}` : '');
}

/** What is done where nothing is said; empty where that depends on the picture. */
export function usual(option: RecipeOption, wanted: Wanted): string {
  const curve = wanted['curve'];
  const withCurve = curve === undefined ? undefined : option.default_with_curve?.[curve];
  return (withCurve === undefined ? option.default : withCurve) ?? '';
}

export const value = (option: RecipeOption, wanted: Wanted): string =>
  wanted[option.name] ?? usual(option, wanted);

export const list = (text: string): string[] => text.split(',').filter((word) => word !== '');

function valueOf(name: string, wanted: Wanted, { recipe }: Capabilities): string {
  const option = recipe.find((one) => one.name === name);
  return option ? value(option, wanted) : '';
}

export const fitsEngine = (option: RecipeOption, wanted: Wanted, able: Capabilities): boolean =>
  option.engines.includes(valueOf('engine', wanted, able));

export function fitsFormats({ formats = [] }: RecipeOption, wanted: Wanted, able: Capabilities): boolean {
  const chosen = list(valueOf('formats', wanted, able));
  return formats.length === 0 || formats.some((one) => chosen.includes(one));
}

/** What is said of options that have a meaning together with the others. */
function said(wanted: Wanted, able: Capabilities): [RecipeOption, string][] {
  const meant = able.recipe.filter(
    (one) => fitsEngine(one, wanted, able) && fitsFormats(one, wanted, able),
  );
  return meant.flatMap((one) => {
    const text = wanted[one.name];
    return text === undefined ? [] : [[one, text] as [RecipeOption, string]];
  });
}

/** Why this recipe cannot be asked for; null when it can. */
export function wrong(wanted: Wanted, able: Capabilities): string | null {
  for (const [option, text] of said(wanted, able)) {
    if (option.takes === 'words' && list(text).length === 0) return `${label(option)}: choose at least one.`;
    if (option.takes !== 'number') continue;
    const { minimum = -Infinity, maximum = Infinity, step = 0, unit = '' } = option;
    const number = text.trim() === '' ? Number.NaN : Number(text);
    if (number >= minimum && number <= maximum && (step !== 1 || Number.isInteger(number))) continue;
    const [least, most] = [minimum, maximum].map((one) => one.toLocaleString('en'));
    return `${label(option)}: use a ${step === 1 ? 'whole ' : ''}number from ${least} to ${most} ${unit}.`;
  }
  return null;
}

export function query(wanted: Wanted, able: Capabilities, name: string): URLSearchParams {
  const query = new URLSearchParams(said(wanted, able).map(([option, text]) => [option.name, text]));
  if (name) query.set('name', name);
  return query;
}

/** The same with an option said; an empty text says nothing of one that need not be said. */
export function say(wanted: Wanted, option: RecipeOption, text: string): Wanted {
  const { [option.name]: _, ...others } = wanted;
  return text === '' && option.takes !== 'words' ? others : { ...others, [option.name]: text };
}

/** Why a file cannot be sent; null when it can. */
export function unfit(file: { type: string; size: number }, able: Capabilities): string | null {
  if (file.type && !able.input_types.includes(file.type))
    return `${file.type} is not a kind of picture that is taken`;
  if (file.size > able.upload_bytes_max) return `larger than ${(able.upload_bytes_max / 1e6).toFixed(0)} MB`;
  return null;
}
