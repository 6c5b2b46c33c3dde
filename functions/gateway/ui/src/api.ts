// Calls to the gateway, with the token of this tab if there is one.

/** What the server said no to, in its own words. */
export class Refused extends Error {
  constructor(
    readonly status: number,
    message: string,
  ) {
    super(message);
  }
}

const TOKEN = 'meshwright-token';
let onLocked: () => void = () => {};

export const token = (): string | null => sessionStorage.getItem(TOKEN);
export const keepToken = (said: string): void => sessionStorage.setItem(TOKEN, said);
export const forgetToken = (): void => sessionStorage.removeItem(TOKEN);
/** Who is told when the server wants a token. */
export const whenLocked = (act: () => void): void => {
  onLocked = act;
};

export async function call(path: string, options: RequestInit = {}): Promise<Response> {
  const headers = new Headers(options.headers);
  const said = token();
  if (said) headers.set('Authorization', `Bearer ${said}`);
  const response = await fetch(path, { ...options, headers });
  if (response.ok) return response;
  if (response.status === 401) onLocked();
  const problem = await response.json().catch(() => ({}));
  throw new Refused(
    response.status,
    problem.detail || problem.title || `the server answered ${response.status}`,
  );
}

export async function api<T>(path: string, options: RequestInit = {}): Promise<T> {
  return (await call(path, options)).json() as Promise<T>;
}

/** Null where this server has no such thing: what shows it stays away. */
export async function apiIfThere<T>(path: string, signal?: AbortSignal): Promise<T | null> {
  try {
    return await api<T>(path, { signal });
  } catch (error) {
    if (error instanceof Refused && error.status === 404) return null;
    throw error;
  }
}

/** A link carries no token, so with one the file is fetched first and then saved. */
export async function save(url: string, name: string): Promise<void> {
  const blob = await (await call(url)).blob();
  const link = document.createElement('a');
  link.href = URL.createObjectURL(blob);
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}
