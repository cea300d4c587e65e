// Server-sent events over fetch: EventSource cannot send the header with the API key.
// The form is that of https://html.spec.whatwg.org/multipage/server-sent-events.html

import { passes } from "./api.js";
import { pause } from "./time.js";

const MAX_PAUSE_MS = 10_000;

/**
 * Yield a job's events until `done`; after a broken connection, go on behind the last one.
 *
 * @param {ApiClient} api
 * @param {string} path
 * @param {AbortSignal} signal
 * @returns {AsyncGenerator<JobEvent>}
 */
export async function* follow(api, path, signal) {
  let last = "";
  for (let tries = 0; !signal.aborted; tries++) {
    try {
      const headers = { Accept: "text/event-stream", ...(last && { "Last-Event-ID": last }) };
      const answer = await api.fetch(path, { headers, signal });
      if (answer.status === 204) return; // every event came before the connection broke
      for await (const message of messages(answer.body)) {
        [last, tries] = [message.id, 0];
        yield { ...message, data: JSON.parse(message.data) };
        if (message.event === "done") return;
      }
    } catch (error) {
      if (signal.aborted) return;
      if (!passes(error)) throw error;
    }
    await pause(Math.min(MAX_PAUSE_MS, 500 * 2 ** tries), signal);
  }
}

/**
 * Yield the messages in a stream of bytes.
 *
 * @param {ReadableStream<BufferSource> | null} stream
 */
export async function* messages(stream) {
  if (!stream) return;
  let text = "";
  const reader = stream.pipeThrough(new TextDecoderStream()).getReader();
  for (let part = await reader.read(); !part.done; part = await reader.read()) {
    const blocks = (text + part.value).split(/\r?\n\r?\n/);
    text = blocks.pop() ?? "";
    yield* blocks.map(parsed).filter((message) => message.data);
  }
}

/** @param {string} block */
function parsed(block) {
  const message = { id: "", event: "message", data: "" };
  for (const line of block.split(/\r?\n/)) {
    const [, name, value] = line.match(/^([^:]*):? ?(.*)$/) ?? [];
    if (name === "data" && message.data) message.data += "\n";
    if (name === "data") message.data += value;
    else if (name === "id" || name === "event") message[name] = value;
  }
  return message;
}
