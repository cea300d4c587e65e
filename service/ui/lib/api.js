// Calls to the service. Paths are relative, so the page works behind a proxy's prefix too.

/** An error answer, as RFC 9457 has it. */
export class Problem extends Error {
  /**
   * @param {number} status
   * @param {Partial<ProblemDetails>} body
   */
  constructor(status, body) {
    super(body.detail || body.title || `The service answered ${status}.`);
    this.status = status;
    this.errors = body.errors || [];
  }
}

/** @implements {ApiClient} */
export class Api {
  /** @param {KeySource} keys gives the key to send, and asks the reader for another one */
  constructor(keys) {
    this.keys = keys;
  }

  /**
   * Get the answer; a 401 asks for a key and tries again. Throws Problem; TypeError: not reached.
   *
   * @param {string} path
   * @param {RequestOptions} options
   */
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

  /**
   * @param {string} path
   * @param {AbortSignal} [signal]
   */
  async get(path, signal) {
    return (await this.fetch(path, { signal })).json();
  }

  /**
   * @param {string} method
   * @param {string} path
   * @param {unknown} [value]
   */
  async send(method, path, value) {
    const headers = { "Content-Type": "application/json" };
    return (await this.fetch(path, { method, headers, body: JSON.stringify(value ?? {}) })).json();
  }
}

/** @param {Response} answer */
async function body(answer) {
  try {
    return await answer.json();
  } catch {
    return {}; // from a proxy between, perhaps
  }
}

/**
 * Say whether trying again may help: the service is not reached, or has a trouble of its own.
 *
 * @param {unknown} error
 */
export const passes = (error) => error instanceof TypeError || (error instanceof Problem && error.status >= 500);

/**
 * Say an error in words for the reader.
 *
 * @param {unknown} error
 */
export function told(error) {
  if (error instanceof TypeError) return "The service cannot be reached.";
  return (error instanceof Error && error.message) || String(error);
}
