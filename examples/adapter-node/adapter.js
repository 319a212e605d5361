#!/usr/bin/env node
// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

// An adapter for an API with GET /appointments?updatedAt_gte=2022-05-10T10:00:00.000Z, in pages and ordered by updatedAt, and
// GET /patients/{id}: json-server, say.

import { isLosslessNumber, parse, stringify } from 'lossless-json'; // JSON.parse would change numbers with many digits
import { AdapterError, log, serve, toDuration, toError, toTimestamp } from './rounds.js';

const UNIT = 1; // the precision of the server's timestamps, in ms
const MARGIN = 10 * 60_000; // how far the server's clock may be behind when a feed begins "now"
const MAX_BODY = 128 * 1024 * 1024; // of an answer, in bytes; what becomes of it has to fit into a message to the engine
const LONGEST = 7 * 86_400_000; // pause that a server can ask for

const schema = {
  doc: 'A small JSON API.',
  attributes: [
    { name: 'base_url', type: 'string', required: true, doc: 'Where the API is.' },
    { name: 'token', type: 'string', sensitive: true, doc: 'Bearer token.' },
    { name: 'page_size', type: 'integer', default: '100', doc: 'Appointments on a page.' },
  ],
};

function validate({ base_url, page_size = 100 }) {
  if (!/^https?:\/\//.test(base_url)) throw new AdapterError('misconfigured', 'must begin with http:// or https://', { path: 'base_url' });
  if (page_size < 1 || page_size > 1000) throw new AdapterError('misconfigured', 'must be from 1 to 1000', { path: 'page_size' });
}

const catalog = {
  feeds: [{ name: 'appointments', kind: 'appointment', class: 'timestamp', version: 'coarse', precision: toDuration(UNIT),
    drifts: true, why: 'The list is read in pages by number, which shift when a record changes meanwhile.' }],
  resources: [{ name: 'patient', why: 'One call for each.' }],
};

class Source {
  catalog = catalog;

  constructor({ base_url, token, page_size = 100 }, { source }) {
    Object.assign(this, { base: base_url.replace(/\/+$/, ''), token, size: page_size, name: source });
  }

  /** One page: GET /appointments. */
  async poll(query, signal) {
    if (query.feed !== 'appointments') throw new AdapterError('permanent', 'there is no such feed');
    const mark = markOf(query);
    const size = Math.min(this.size, Number(query.limit) || this.size);
    const window = windowOf(query) ?? { since: sinceOf(mark, query.overlap), page: 1, size, newest: null };
    const parameters = new URLSearchParams({ _sort: 'updatedAt,id', _order: 'asc,asc', _page: window.page, _limit: window.size });
    if (window.since !== null) parameters.set('updatedAt_gte', new Date(window.since).toISOString());
    const begun = Date.now();
    const { body: items, date, took } = await this.get(`/appointments?${parameters}`, '/appointments', signal);
    if (!Array.isArray(items)) throw new AdapterError('retryable', 'GET /appointments: the answer is not a list');
    // What the server stored while it answered may be missing: no watermark passes the begin of the window, by the server's clock.
    if (window.asked === undefined) {
      Object.assign(window, { asked: date === undefined ? begun : date - took, local: date === undefined });
      window.behind = Math.max(begun - window.asked, 0);
    }
    const changes = items.map((item) => {
      const at = instantOf(item?.updatedAt), id = idOf(item?.id);
      const change = { ref: { kind: 'appointment', id }, data: Buffer.from(stringify(item)) };
      if (id === '' || Number.isNaN(at)) {
        return { ...change, error: toError(new AdapterError('permanent', 'GET /appointments: an item without a usable id or updatedAt')) };
      }
      // This machine's clock alone moves no watermark.
      if (at <= window.asked || !window.local) window.newest = Math.max(window.newest ?? -Infinity, Math.min(at, window.asked));
      return { ...change, version: item.updatedAt, time: toTimestamp(at) };
    });
    const page = { changes, calls: 1, now: date === undefined ? undefined : toTimestamp(date) };
    log('DEBUG', 'read a page', { source: this.name, changes: changes.length });
    if (items.length < window.size) return { ...page, watermark: Buffer.from(JSON.stringify(after(mark, window))) };
    return { ...page, cursor: Buffer.from(JSON.stringify({ ...window, page: window.page + 1 })) };
  }

  /** One result for each ref, in order, eight calls at a time: GET /patients/{id}. */
  async fetch(refs, signal) {
    const results = new Array(refs.length);
    let next = 0;
    const worker = async () => {
      while (next < refs.length) {
        const n = next++, ref = refs[n];
        try {
          if (ref.kind !== 'patient') throw new AdapterError('permanent', 'there is no such resource');
          if (['', '.', '..'].includes(ref.id)) { // another path would be called
            throw new AdapterError('permanent', 'GET /patients/{id}: the identifier is empty, or a step in a path');
          }
          const { body } = await this.get(`/patients/${encodeURIComponent(ref.id)}`, '/patients/{id}', signal);
          results[n] = { ref, data: Buffer.from(stringify(body)) };
        } catch (error) {
          results[n] = { ref, error: toError(error) };
        }
      }
    };
    await Promise.all(Array.from({ length: 8 }, worker));
    return results;
  }

  /** What the server answered, its clock when it did, and how long that took. Errors name the template, never the path. */
  async get(path, template, signal) {
    const headers = { accept: 'application/json', ...(this.token && { authorization: `Bearer ${this.token}` }) };
    const begun = performance.now();
    let response, text;
    try {
      response = await fetch(this.base + path, { headers, signal, redirect: 'manual' }); // elsewhere the token would go
      text = await textOf(response, template);
    } catch (error) {
      if (error instanceof AdapterError) throw error;
      throw new AdapterError('retryable', `GET ${template}: ${signal.aborted ? signal.reason.message : 'the connection failed'}`);
    }
    const took = performance.now() - begun;
    if (!response.ok) throw refused(response, `GET ${template}: ${response.status}`);
    try {
      const date = Date.parse(response.headers.get('date'));
      return { body: parse(text), took, date: Number.isNaN(date) ? undefined : date };
    } catch {
      throw new AdapterError('retryable', `GET ${template}: the answer is not JSON`);
    }
  }
}

/** The text of an answer, if it has an end. */
async function textOf(response, template) {
  const chunks = [];
  let size = 0;
  for await (const chunk of response.body ?? []) {
    if ((size += chunk.length) > MAX_BODY) throw new AdapterError('permanent', `GET ${template}: the answer is larger than ${MAX_BODY} bytes`);
    chunks.push(chunk);
  }
  return new TextDecoder().decode(Buffer.concat(chunks));
}

const instantOf = (text) => (typeof text === 'string' && /^\d{4}-\d\d-\d\dT.*(Z|[+-]\d\d:\d\d)$/.test(text) ? Date.parse(text) : NaN);
const idOf = (id) => (typeof id === 'string' ? id : isLosslessNumber(id) ? id.value : '');

/** What a status means. */
function refused({ status, headers }, text) {
  const pause = headers.get('retry-after');
  if (status === 429 || pause !== null) {
    const after = /^\d+$/.test(pause) ? pause * 1000 : Date.parse(pause) - Date.now();
    return new AdapterError('rate_limited', text, { after: after > 0 ? Math.min(after, LONGEST) : 0 });
  }
  const codes = { 401: 'unauthorized', 403: 'forbidden', 404: 'not_found', 408: 'retryable', 410: 'gone', 425: 'retryable' };
  return new AdapterError(codes[status] ?? (status >= 500 ? 'retryable' : 'permanent'), text);
}

// The arithmetic of "changed since", as package sdk/window of Rounds has it. t is up to where whole windows were read, by the server's
// clock; from is where the first window began, before which no later one reaches.

function markOf({ watermark, start, overlap }) {
  if (!watermark) return { first: true, t: null, from: start === null || start === undefined ? null : start - overlap - MARGIN };
  try {
    const { t, from } = JSON.parse(watermark);
    if ([t, from].every((at) => at === null || Number.isFinite(at))) return { t, from };
  } catch { /* not ours either */ }
  throw new AdapterError('watermark_expired', 'the stored watermark was written by another adapter');
}

/** Where in the window to go on: all its pages use the bound that its first one had. Undefined: it begins. */
function windowOf({ cursor }) {
  if (!cursor) return undefined;
  try {
    const window = JSON.parse(cursor);
    if (Number.isInteger(window.page) && Number.isInteger(window.size) && Number.isFinite(window.asked)) return window;
  } catch { /* not ours either */ }
  throw new AdapterError('cursor_expired', 'the stored cursor was written by another adapter');
}

/** The instant to ask for, inclusive; null: the beginning. A second change may have the timestamp of one that was seen. */
function sinceOf({ t, from }, overlap) {
  const bounds = [t === null ? null : t - overlap - UNIT, from === null ? null : from - UNIT].filter((at) => at !== null);
  return bounds.length ? Math.max(...bounds) : null;
}

/** The watermark after a window. It moves to the newest change and never back. */
function after({ first, t, from }, { newest, asked, behind }) {
  // The server's clock is so far behind that the first window did not reach back to what is dated at the start: the next one does.
  if (first && from !== null && behind > MARGIN && asked < from + MARGIN) return { t, from: from + MARGIN - behind };
  return { t: newest === null ? t : Math.max(t ?? newest, newest), from };
}

serve({
  info: { name: 'node', version: '0.1.0', doc: 'A small JSON API, by an adapter in JavaScript.', ...catalog }, // the same for each source
  schema,
  validate,
  open: (config, env) => new Source(config, env),
});
