// The admin API. A session that has ended leads to the login form.

// A connection that is dead without being closed would else leave old figures on the page for ever.
const READ_SECONDS = 20;

export class ApiError extends Error {
  constructor(status, kind, message) {
    super(message);
    this.status = status;
    this.kind = kind;
  }
}

async function ask(path, options = {}) {
  const answer = await fetch(path, { credentials: "same-origin", cache: "no-store", ...options });
  if (answer.status === 401) {
    location.assign("/login");
    return new Promise(() => {}); // the page is being left
  }
  // A server in front of this one answers in its own way when it is not there.
  const body = await answer.json().catch((error) => {
    if (error.name === "TimeoutError") throw error;
    throw new ApiError(answer.status, "unreadable", `the answer has the status ${answer.status} and is no JSON`);
  });
  if (!answer.ok) throw new ApiError(answer.status, body.error?.type, body.error?.message ?? answer.statusText);
  return body;
}

export function get(path, query = {}) {
  const given = Object.entries(query).filter(([, value]) => value !== "" && value !== undefined);
  return ask(`${path}?${new URLSearchParams(given)}`, { signal: AbortSignal.timeout(1000 * READ_SECONDS) });
}

export function post(path, body = {}) {
  return ask(path, {
    method: "POST",
    headers: { "content-type": "application/json", "x-bsc-admin": "1" },
    body: JSON.stringify(body),
  });
}
