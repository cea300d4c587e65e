// Calls to the service. Paths are relative, so the page works behind a proxy's prefix too.

/** An answer that is an error, as RFC 9457 tells it. */
export class Problem extends Error {
  constructor(status, body) {
    super(body.detail || body.title || `The service answered ${status}.`);
    this.status = status;
    this.errors = body.errors || [];
  }
}

export class Api {
  /** `keys`: gives the key to send, and asks the reader for another one. */
  constructor(keys) {
    this.keys = keys;
  }

  /** The answer; a 401 asks for a key and tries again. Throws Problem; TypeError: not reached. */
  async fetch(path, options = {}) {
    for (;;) {
      const key = this.keys.current();
      const headers = { ...options.headers, ...(key && { Authorization: `Bearer ${key}` }) };
      const answer = await fetch(path, { ...options, headers });
      if (answer.ok) return answer;
      const problem = new Problem(answer.status, await body(answer));
      if (answer.status !== 401 || !(await this.keys.ask(key, problem.message))) throw problem;
    }
  }

  async get(path, signal) {
    return (await this.fetch(path, { signal })).json();
  }

  async send(method, path, value) {
    const headers = { "Content-Type": "application/json" };
    return (await this.fetch(path, { method, headers, body: JSON.stringify(value ?? {}) })).json();
  }
}

async function body(answer) {
  try {
    return await answer.json();
  } catch {
    return {}; // from a proxy between, perhaps
  }
}

/** Whether trying again may help: the service is not reached, or has a trouble of its own. */
export const passes = (error) => error instanceof TypeError || error.status >= 500;

/** What to tell the reader of an error. */
export function told(error) {
  if (error instanceof Problem) return error.message;
  return error instanceof TypeError ? "The service cannot be reached." : String(error.message || error);
}
