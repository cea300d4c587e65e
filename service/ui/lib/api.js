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

/** No answer came. */
export class Unreachable extends Error {
  /** @param {unknown} cause */
  constructor(cause) {
    super("The service cannot be reached.", { cause });
  }
}

/** @implements {ApiClient} */
export class Api {
  /** @param {KeySource} keys gives the key to send, and requests another one from the reader */
  constructor(keys) {
    this.keys = keys;
  }

  /**
   * Get the answer; on 401 the reader enters a key and it is sent again. Throws Problem or Unreachable.
   *
   * @param {string} path
   * @param {RequestOptions} options
   */
  async fetch(path, options = {}) {
    for (;;) {
      const key = this.keys.current();
      const headers = { ...options.headers, ...(key && { Authorization: `Bearer ${key}` }) };
      const answer = await reach(path, { ...options, headers });
      if (answer.ok) return answer;
      const problem = new Problem(answer.status, await body(answer));
      if (answer.status !== 401 || !(await this.keys.request(key, problem.message))) throw problem;
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

/**
 * Fetch, and separate a network's failure from a mistake in this program: both are a TypeError.
 *
 * @param {string} path
 * @param {RequestInit} options
 */
async function reach(path, options) {
  try {
    return await fetch(path, options);
  } catch (error) {
    throw error instanceof TypeError ? new Unreachable(error) : error;
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
 * Say whether trying again may help: the service is not reached, its answer breaks off, or it has a trouble of its own.
 *
 * @param {unknown} error
 */
export function passes(error) {
  if (error instanceof Problem) return error.status >= 500;
  return error instanceof Unreachable || error instanceof TypeError; // the latter from a body that is read
}

/**
 * Say an error in words for the reader.
 *
 * @param {unknown} error
 */
export function errorText(error) {
  return (error instanceof Error && error.message) || String(error);
}
