// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

// What every adapter in JavaScript needs: the handshake with the engine, TLS, errors, deadlines, log lines, saved state. Nothing in it
// is about a vendor. The protocol is described in docs/adapter-protocol.md of Rounds.

import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import * as grpc from '@grpc/grpc-js';
import { loadSync } from '@grpc/proto-loader';
import { generate } from 'selfsigned';

const MAX_MESSAGE = 256 * 1024 * 1024;
const here = fileURLToPath(new URL('.', import.meta.url));
const protocol = loadSync(['adapter.proto', 'status.proto'], { includeDirs: [here], longs: String, enums: String, defaults: true });

/** An error with a meaning for the engine. Its text may be logged: method, path template and status, never a value. */
export class AdapterError extends Error {
  constructor(code, text, { after, path } = {}) {
    super(text);
    Object.assign(this, { code, after, path }); // after: milliseconds; path: of the attribute to blame
  }
}

/** Writes a line into the engine's log. No content of records, no ids, no secrets. */
export function log(level, message, attributes = {}) {
  const levels = ['DEBUG', 'INFO', 'WARN', 'ERROR'];
  if (levels.indexOf(level) < levels.indexOf(process.env.ROUNDS_LOG_LEVEL ?? 'INFO')) return;
  const line = { '@timestamp': new Date().toISOString(), '@level': level, '@message': message, attributes };
  process.stderr.write(JSON.stringify(line) + '\n');
}

// Instants and durations are milliseconds on this side.
export const toDuration = (ms) => ({ seconds: Math.floor(ms / 1000), nanos: Math.round((ms % 1000) * 1e6) });
export const toTimestamp = toDuration;
export const toMillis = (at) => at && Number(at.seconds) * 1000 + at.nanos / 1e6;

/** The wire form of an error. The text of one that is no AdapterError is withheld: it may quote what could not be read. */
export function toError(error) {
  if (!(error instanceof AdapterError)) {
    error = new AdapterError('retryable', `${error?.constructor?.name ?? typeof error} (text withheld, it may quote data)`);
  }
  return { code: error.code, text: error.message, path: error.path, after: error.after && toDuration(error.after) };
}

const strings = (values) => values.every((value) => typeof value === 'string');
const types = {
  string: (value) => typeof value === 'string',
  number: (value) => typeof value === 'number',
  integer: Number.isSafeInteger,
  bool: (value) => typeof value === 'boolean',
  duration: (value) => typeof value === 'string' && /^-?(\d+(\.\d+)?(ns|us|µs|ms|s|m|h))+$/.test(value), // 1m30s
  'list(string)': (value) => Array.isArray(value) && strings(value),
  'map(string)': (value) => value?.constructor === Object && strings(Object.values(value)),
  any: () => true,
};

/** Reads a configuration and blames the attribute that the schema does not allow. Null is the same as not given. */
function parseConfig(json, { attributes }) {
  const blame = (path, text) => { throw new AdapterError('misconfigured', text, { path }); };
  let config;
  try { config = JSON.parse(json); } catch { blame('', 'is not valid JSON'); }
  if (config?.constructor !== Object) blame('', 'must be an object');
  for (const name of Object.keys(config)) if (!attributes.some((known) => known.name === name)) blame(name, 'is not known here');
  for (const { name, type, required, values } of attributes) {
    const value = config[name] ?? undefined;
    if (value === undefined && required) blame(name, 'is required');
    if (value !== undefined && !types[type](value)) blame(name, `must be a ${type}`);
    if (value !== undefined && values && !values.includes(value)) blame(name, `must be one of ${values.join(', ')}`);
    config[name] = value;
  }
  return config;
}

// A failed call is a status whose details hold the error.
function toStatus(error) {
  const wire = toError(error);
  const value = protocol['rounds.adapter.v1.Error'].serialize(wire);
  const details = [{ type_url: 'type.googleapis.com/rounds.adapter.v1.Error', value }];
  const metadata = new grpc.Metadata();
  metadata.set('grpc-status-details-bin',
    protocol['google.rpc.Status'].serialize({ code: grpc.status.UNKNOWN, message: wire.code, details }));
  return { code: grpc.status.UNKNOWN, details: wire.code, metadata };
}

// A call gets a signal that ends it: when the engine cancels it, and a moment before its deadline, so that the error still arrives.
const unary = (method) => async (call, callback) => {
  const stop = new AbortController();
  const left = Math.min(Number(call.getDeadline()) - Date.now(), 2 ** 31 - 1);
  const late = setTimeout(() => stop.abort(new AdapterError('retryable', 'deadline exceeded')), left - Math.min(left / 10, 500));
  call.on('cancelled', () => stop.abort(new AdapterError('retryable', 'canceled')));
  try {
    callback(null, await method(call.request, stop.signal));
  } catch (error) {
    callback(toStatus(error));
  } finally {
    clearTimeout(late);
  }
};

/**
 * Makes the program an adapter: { info, schema, validate(config), open(config, env, signal) }. What `open` gives is a source:
 * { catalog, poll(query, signal), fetch(refs, signal), ack(feed, token, signal)?, close()? }, in the terms of adapter.proto.
 */
export async function serve({ info, schema, validate, open }) {
  if (process.env.ROUNDS_ADAPTER !== 'adapter-v1') {
    process.stderr.write(`${info.name} is an adapter of Rounds: name it in a configuration, adapter "${info.name}" { path = "…" }\n`);
    process.exit(2);
  }
  process.on('SIGTERM', () => {}); // the engine still has calls to finish, and ends its adapters itself
  const parent = process.ppid;
  setInterval(() => process.ppid !== parent && process.exit(1), 500).unref(); // it was killed

  const sources = new Map(); // by handle
  const use = (handle) => sources.get(handle)?.source ?? notOpen();
  const notOpen = () => { throw new AdapterError('retryable', 'the source is not open in the adapter'); };
  const during = (method) => async (request, signal) => { // a call that a Close waits for
    const source = use(request.handle), { calls } = sources.get(request.handle);
    const call = method(source, request, signal);
    calls.add(call);
    return call.finally(() => calls.delete(call));
  };
  const configOf = (request) => {
    const config = parseConfig(request.config, schema);
    validate(config);
    return config;
  };

  let saves; // the stream on which state is saved
  const saving = new Map(); // by number
  const saveState = (handle) => (state) => new Promise((resolve, reject) => {
    const id = String(saving.size ? Math.max(...saving.keys()) + 1 : 1);
    saving.set(Number(id), (error) => (error ? reject(new AdapterError(error.code, error.text)) : resolve()));
    saves.write({ id, handle, state });
  });

  const server = new grpc.Server({ 'grpc.max_receive_message_length': MAX_MESSAGE, 'grpc.max_send_message_length': MAX_MESSAGE });
  server.addService(protocol['rounds.adapter.v1.Adapter'], {
    Describe: unary(async () => ({ info, schema })),
    Validate: unary(async (request) => { configOf(request); return {}; }),
    Open: unary(async (request, signal) => {
      const config = configOf(request), { handle } = request;
      if (sources.has(handle)) throw new AdapterError('permanent', 'Open: the handle is in use');
      const env = { source: request.source, state: request.state, saveState: saveState(handle) };
      const opening = { calls: new Set() };
      sources.set(handle, opening);
      opening.ready = (async () => { opening.source = await open(config, env, signal); })();
      try {
        await opening.ready;
      } catch (error) {
        sources.delete(handle);
        throw error;
      }
      return opening.source.catalog;
    }),
    Poll: unary(during((source, request, signal) => source.poll({ ...request, start: toMillis(request.start),
      overlap: toMillis(request.overlap) ?? 0 }, signal))),
    Fetch: unary(during(async (source, request, signal) => ({ results: await source.fetch(request.refs, signal) }))),
    Ack: unary(during(async (source, request, signal) => { await source.ack(request.feed, request.token, signal); return {}; })),
    Close: unary(async ({ handle }) => {
      const closing = sources.get(handle);
      sources.delete(handle);
      if (closing) {
        await Promise.allSettled([closing.ready, ...closing.calls]);
        await closing.source?.close?.();
      }
      return {};
    }),
    Saves: (stream) => {
      saves = stream;
      stream.on('data', ({ id, error }) => { saving.get(Number(id))?.(error); saving.delete(Number(id)); });
      stream.on('error', () => {}); // the engine has gone
      stream.on('end', () => stream.end());
    },
  });
  // The one service of go-plugin that makes a difference: without it the engine waits two seconds at the end. Its messages are empty.
  const empty = { requestStream: false, responseStream: false, requestDeserialize: () => ({}), responseSerialize: () => Buffer.alloc(0) };
  server.addService({ Shutdown: { path: '/plugin.GRPCController/Shutdown', ...empty } }, { Shutdown: () => process.exit(0) });

  const until = new Date();
  until.setFullYear(until.getFullYear() + 10);
  const own = await generate([{ name: 'commonName', value: 'localhost' }], { keyType: 'ec', curve: 'P-256', algorithm: 'sha256',
    notAfterDate: until, extensions: [{ name: 'subjectAltName', altNames: [{ type: 2, value: 'localhost' }] }] });
  const mutual = grpc.ServerCredentials.createSsl(Buffer.from(process.env.PLUGIN_CLIENT_CERT),
    [{ private_key: Buffer.from(own.private), cert_chain: Buffer.from(own.cert) }], true);
  const socket = join(process.env.PLUGIN_UNIX_SOCKET_DIR, 'adapter.sock');
  server.bindAsync(`unix:${socket}`, mutual, (error) => {
    if (error) throw error;
    const der = own.cert.replace(/-----[^-]+-----|\s|=/g, ''); // base64 without padding
    process.stdout.write(`1|1|unix|${socket}|grpc|${der}\n`);
  });
}
