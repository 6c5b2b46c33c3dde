// Server-sent events over fetch: an EventSource sends no header, so no token, and gives up at the first
// refusal.

export interface Message {
  id?: string;
  kind?: string;
  data?: string;
}

/** Cuts text that arrives in pieces into messages. Feed it; it keeps what is not whole yet. */
export class Parser {
  private rest = '';

  feed(text: string): Message[] {
    const blocks = (this.rest + text.replaceAll('\r\n', '\n')).split('\n\n');
    this.rest = blocks.pop() ?? '';
    return blocks.map(message).filter((one) => one.id !== undefined || one.data !== undefined);
  }
}

function message(block: string): Message {
  const found: Message = {};
  for (const line of block.split('\n')) {
    const [, name, value] = /^([a-z]+): ?(.*)$/.exec(line) ?? [];
    if (name === 'id') found.id = value;
    if (name === 'event') found.kind = value;
    if (name === 'data') found.data = found.data === undefined ? value : `${found.data}\n${value}`;
  }
  return found;
}

export async function* messages(response: Response): AsyncGenerator<Message> {
  if (!response.body) return;
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  const parser = new Parser();
  try {
    for (;;) {
      const { value, done } = await reader.read();
      if (done) return;
      yield* parser.feed(value);
    }
  } finally {
    reader.cancel().catch(() => {});
  }
}
