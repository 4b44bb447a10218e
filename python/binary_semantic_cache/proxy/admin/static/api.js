// The admin API. A session that has ended leads to the login form.

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
  const body = await answer.json();
  if (!answer.ok) throw new ApiError(answer.status, body.error?.type, body.error?.message ?? answer.statusText);
  return body;
}

export function get(path, query = {}) {
  const given = Object.entries(query).filter(([, value]) => value !== "" && value !== undefined);
  return ask(`${path}?${new URLSearchParams(given)}`);
}

export function post(path, body = {}) {
  return ask(path, {
    method: "POST",
    headers: { "content-type": "application/json", "x-bsc-admin": "1" },
    body: JSON.stringify(body),
  });
}
